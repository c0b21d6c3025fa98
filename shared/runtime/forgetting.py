"""A slot whose store has lost a part of what it kept: made whole again from the rest, forgotten and folded anew, or left as it is.

The meta says how far the states have been folded: without it records would be folded twice. Timers that are gone never fire. An outbox that
is gone may not have been published. So each commit writes down how many timers and how many bytes of outbox it leaves, and a takeover
compares. Lost timers are made again from the states, which hold them too. After any other loss the slot forgets the rest and is folded
anew, if the log still has all its inputs. If not, the slot stands still until an operator orders what is to be done. Single states are not
counted: DECISIONS.md says why.

What is noted (`kept`, one field of the meta) is compared at a takeover, at each commit and every two seconds. Forgetting deletes what the
slot still has, in pages of 500 keys, each under the owner's token; the meta goes first, so whoever dies on the way is followed by one who
begins again.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

import structlog

from shared.contracts.rebuilds import Ordered, view_of
from shared.contracts.versions import newer
from shared.runtime.ports import NewerRelease, PartlyLost, RolledBack, StateStore

HELD_AT = "hg"
"""Field of the meta of a slot that stands still: the newest order to rebuild when that was noticed. Only one given since ends it."""
_log = structlog.get_logger("runtime")


class Asking(NamedTuple):
    """What is asked before anything is forgotten.

    `standing`: what has been ordered, None while not all orders are known. `shortened`: which inputs have lost their beginning, in words;
    None if the log has all. `gives_back`: the archive has what has left the log.
    """

    standing: Callable[[], Ordered | None]
    shortened: Callable[[], Awaitable[str | None]]
    gives_back: bool = False


class Place(NamedTuple):
    """A slot, and the newest version of its stage that can be read."""

    stage: str
    partition: int
    reads: int = 1


def damage(seq: int | None, kept: str | None, timers: int, outbox: int | None) -> str | None:
    """What is gone, by `kept` (`<seq>|<timers>|<bytes of outbox>`). A note of another commit than the last says nothing: a step back
    by a release commits without one."""
    if seq is None or kept is None:
        return None
    at, had_timers, had_outbox = (int(part) for part in kept.split("|"))
    if at != seq:
        return None
    if timers != had_timers:
        return f"{timers} timers are there, {had_timers} were left"
    if outbox is not None and outbox != had_outbox:
        return f"an outbox of {outbox} bytes is there, one of {had_outbox} was left"
    return None


async def open_slot(store: StateStore, token: str, place: Place, asking: Asking) -> tuple[dict[str, str], bytes]:
    """Take over; answer meta and outbox of a slot that is whole. One that is not has been made so, or forgotten.

    A meta without a commit's number says that nothing is kept, or that somebody died while forgetting: what there is goes.
    Raises NewerRelease where a version above what the place reads has written, PartlyLost where nobody may decide but an operator.
    """
    fields, outbox = await store.take_over(token)
    written = int(fields.get("v", "1"))
    if written > place.reads:
        raise NewerRelease(str(newer(f"slot {place.partition} of stage {place.stage}", written, place.reads)))
    gone = await store.damage() if "seq" in fields else "the meta is gone"
    if gone is not None and "seq" in fields and HELD_AT not in fields:
        gone = await _mended(store, token, place, gone)
    if gone is None:
        if HELD_AT in fields:  # somebody has put back what was missing
            await store.hold(token, None)
        return fields, outbox
    standing = await _allowed(store, token, place, asking, fields, gone)
    await store.forget(token, max(int(fields.get("g", "0")), standing))
    return await store.take_over(token)


async def _mended(store: StateStore, token: str, place: Place, gone: str) -> str | None:
    """What is gone still, when timers have been made again from the states."""
    if await store.damage(outbox=False) is None:
        return gone  # no timers
    await store.restore_timers(token)
    left = await store.damage()
    if left is None:
        words = "Redis lost timers of a slot: they stand in the states, and have been made again"
        _log.warning(words, stage=place.stage, slot=place.partition, detail=gone)
    return left


async def _allowed(store: StateStore, token: str, place: Place, asking: Asking, fields: Mapping[str, str], gone: str) -> int:
    """The generation for which a slot is forgotten: all that has been ordered is done with it. Raises PartlyLost if it must not be."""
    ordered = asking.standing()  # before it is forgotten: an order that comes later is carried out
    newest = 0 if ordered is None else ordered.generation
    if "seq" not in fields and "rb" in fields:
        return newest  # somebody died while forgetting
    shortened, held_at = await asking.shortened(), fields.get(HELD_AT)
    if shortened is None:
        if "seq" in fields:
            _tell(place, "Redis lost a part of a slot: forgetting the rest, refolding from the log (RUNBOOK.md, Rebuild a view)", gone)
    elif "seq" not in fields and held_at is None and not await store.keeps_anything():
        _tell(place, "Redis has nothing of a slot, and the log has lost its beginning (RUNBOOK.md, Rebuild a view)", shortened)
    elif held_at is None or ordered is None or not _answers(ordered, int(held_at), asking.gives_back):
        if held_at is None and ordered is not None:
            await store.hold(token, newest)
        raise PartlyLost(_partly(place, gone, shortened, asking.gives_back))
    return newest


def _answers(ordered: Ordered, held_at: int, gives_back: bool) -> bool:
    """Whether an order has been given since that forgets the rest: any, if the archive gives it back; else one that accepts the loss."""
    return (ordered.generation if gives_back else ordered.accepted) > held_at


def _partly(place: Place, gone: str, shortened: str, gives_back: bool) -> str:
    order = f"rapport rebuild {view_of(place.stage)}" + ("" if gives_back else " --accept-loss")
    return (
        f"Redis lost a part of slot {place.partition} of stage {place.stage} ({gone}), and the log has lost the beginning of what the rest "
        f"was made of ({shortened}): put a backup of Redis back, or run `{order}`, which forgets the rest "
        "(RUNBOOK.md, Rebuild a view)"
    )


def _tell(place: Place, words: str, detail: str) -> None:
    _log.error(words, stage=place.stage, slot=place.partition, detail=detail)


async def still_held(store: StateStore, token: str | None, seq: int) -> None:
    """Raises RolledBack unless the store holds what commit `seq` of owner `token` left. Its outbox is published, and not missed."""
    if token is None or await store.holds() != (token, seq):
        raise RolledBack("the store holds another commit than the last one")
    gone = await store.damage(outbox=False)
    if gone is not None:
        raise RolledBack(gone)


def log_loss(stage: str, partition: int, detail: str) -> None:
    """Tell whoever reads the log what happens to a slot whose store went back, and where to read on."""
    _log.error(
        "Redis lost what was committed: taking the slot over anew (RUNBOOK.md, Rebuild a view)", stage=stage, slot=partition, detail=detail
    )
