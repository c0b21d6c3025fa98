"""A block that somebody meant to write and perhaps wrote, made again: by its ranges and the causes committed beside each of them."""

from collections.abc import Mapping
from dataclasses import dataclass

from services.warehouse.domain.block import Block
from services.warehouse.domain.chunk import chunk_again
from services.warehouse.domain.progress import Causes, Place, Ranges
from services.warehouse.ports import Log


@dataclass(frozen=True)
class Restored:
    """`block`: to be inserted unless it is `written`. `whole`: it is the block that was meant, and so has its token."""

    block: Block
    written: bool
    whole: bool


def restore(log: Log, topic: str, meant: Ranges, ours: Mapping[Place, Causes]) -> Restored:
    """The block with all its partitions, whoever has them now; `ours` are those that are ours, with the causes before the block.

    Who went on behind the block with one of its partitions has written all of it: then only ours are made again, for the causes in
    them. So too if somebody has set the offsets of others back by hand: their part of the block cannot be made again.
    Raises LogAway.
    """
    ranges = {Place(topic, partition): one for partition, one in meant}
    standing = log.committed(list(ranges))
    whole = all(standing[place].intent == meant for place in ranges)
    before = {place: standing[place].causes for place in ranges} if whole else ours
    records = log.again({place: ranges[place] for place in before})
    chunks = {place.partition: chunk_again(place, ranges[place], before[place], records[place]) for place in sorted(before)}
    return Restored(Block(topic, chunks), any(standing[place].next > one.last for place, one in ranges.items()), whole)
