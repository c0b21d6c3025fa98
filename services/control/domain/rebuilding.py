"""How far an order to rebuild has come, from what each view notes beside what it keeps; what an order could not bring back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from shared.contracts.kept_rows import ADOPTED, Noted, latest
from shared.contracts.rebuilds import STAGES, RebuildChanged, View, holding, newest
from shared.reading.inputs import Where, inputs, partitions
from shared.runtime.archived import ARCHIVED
from shared.runtime.meta import Meta

WAREHOUSE = "warehouse"


class State(StrEnum):
    """Of an order. `replaced`: a newer one of the same view holds. `expired`: its life ended before all of it had begun."""

    ASKED = "asked"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    REPLACED = "replaced"
    EXPIRED = "expired"


@dataclass(frozen=True)
class Progress:
    """`parts`: slots (the warehouse's: partitions), of which `begun` have begun and `done` are through. Records: read, and in all.

    Rows of ClickHouse that a slot is folded from count as records, once it has begun: before nobody knows where the log takes over.
    """

    parts: int
    begun: int
    done: int
    read: int
    records: int


def readers(view: View) -> tuple[str, ...]:
    """Who reads the log for a view."""
    return STAGES.get(view, (WAREHOUSE,))


def of_slots(generation: int, metas: Mapping[str, Sequence[Meta]], starts: Mapping[Where, int], ends: Mapping[Where, int]) -> Progress:
    """Of stages whose slots have these metas."""
    begun = done = read = records = parts = 0
    for stage, slots in metas.items():
        for partition, meta in enumerate(slots):
            parts += 1
            began = meta.generation >= generation
            whole = began and meta.stored is not None and not meta.rebuilding
            begun, done = begun + began, done + whole
            below = began and meta.cut is not None and not meta.cut.done
            if began and meta.cut is not None:
                folded, about = meta.rows
                records += about
                read += min(folded, about) if below else about
            for topic in inputs(stage):
                where = (topic, partition)
                first, end = starts.get(where, 0), ends.get(where, 0)
                come = end if whole else meta.fences.get(topic, first) if began and not below else first
                records += end - first
                read += min(max(come - first, 0), end - first)
    return Progress(parts, begun, done, read, records)


def of_rows(generation: int, noted: Mapping[Where, Noted]) -> Progress:
    """Of the warehouse, by its notes."""
    ours = {where: noted.get(where) for where in partitions(inputs(WAREHOUSE))}
    begun = [one for one in ours.values() if one is not None and one.generation >= generation]
    return Progress(
        parts=len(ours),
        begun=len(begun),
        done=sum(one.next >= one.target for one in begun),
        read=sum(min(one.next, one.target) for one in begun),
        records=sum(one.target for one in begun),
    )


def state(order: RebuildChanged, orders: Sequence[RebuildChanged], progress: Progress | None, now_ms: int) -> State:
    """What is to be said of an order at `now_ms`. What has begun goes on, though nobody heeds the order any more."""
    if progress is not None and progress.parts and progress.done == progress.parts:
        return State.DONE
    at_rest = progress is not None and progress.done == progress.begun
    if order.cancelled_at is not None and (progress is None or at_rest):
        return State.CANCELLED
    newer = newest(orders, order.view)
    if newer is not None and newer.generation > order.generation:
        return State.REPLACED
    if at_rest and holding(orders, order.view, now_ms) != order:
        return State.EXPIRED
    return State.RUNNING if progress is not None and progress.begun else State.ASKED


def next_generation(orders: Sequence[RebuildChanged], now_ms: int) -> int:
    """Greater than every one before, also if this host's clock is late."""
    return max([now_ms, *(order.generation + 1 for order in orders)])


def gone(view: View, starts: Mapping[Where, int]) -> int:
    """Records that the log no longer has."""
    return sum(starts.get(where, 0) for reader in readers(view) for where in partitions(inputs(reader)))


def topics_of_rows(view: View) -> tuple[str, ...]:
    """Topics of which a view's stages read rows in ClickHouse where the log no longer has them."""
    read = {topic for stage in STAGES.get(view, ()) for topic in inputs(stage)}
    return tuple(topic for topic in ARCHIVED if topic in read)


def not_in_rows(
    view: View, starts: Mapping[Where, int], noted: Sequence[Noted] | None, hole: str | None, metas: Sequence[Meta]
) -> str | None:
    """Why ClickHouse cannot give a view what has left the log; None if it can. `noted` None: it does not answer."""
    if not all(meta.archive or meta.held for meta in metas):  # one that lost its meta says nothing of it
        return "not all its workers know where ClickHouse is (RAPPORT_CLICKHOUSE_URL)"
    if noted is None:
        return "ClickHouse does not answer, so nobody knows what it has"
    if hole is not None:
        return hole
    known, adopted = latest(noted), any(one.topic == ADOPTED for one in noted)
    for topic in topics_of_rows(view):
        for where in partitions((topic,)):
            one = known.get(where)
            if any(other.gap for other in noted if (other.topic, other.partition) == where):
                return f"ClickHouse has once lost rows of {topic}, and had them again only as far as the log went then"
            if one is None and (adopted or not starts.get(where, 0)):
                continue
            if one is None or one.next < max(starts.get(where, 0), one.target):
                return f"ClickHouse has not all of {topic}"
    return None


def held_for_good(metas: Mapping[str, Sequence[Meta]]) -> int:
    """Slots that stand still, since a part of them is lost, and of which ClickHouse has no rows: an order would forget the rest."""
    return sum(meta.held for stage, slots in metas.items() if not set(ARCHIVED) & set(inputs(stage)) for meta in slots)


def loses(view: View, gone_records: int, not_kept: str | None, held: int = 0) -> bool:
    """Whether a view would lack what nobody can give back."""
    return view is not View.WAREHOUSE and (held > 0 or (gone_records > 0 and not_kept is not None))


_FOLDED: Final = {
    View.PROFILE: (
        "profiles are folded from them and from the log. Links are rebuilt only in slots whose log is whole; elsewhere they stay as they "
        "are, since which ids are one person is read from event.received alone. With accept_loss those are forgotten, too, and a device "
        "not seen since then begins a new person"
    ),
    View.SEGMENTATION: "features, traits and memberships are folded from them and from the log; nobody enters or leaves a segment by it",
    View.MESSAGING: "contact facts, consents and passages are folded from them and from the log; nobody is mailed again",
}
"""What becomes of a view where ClickHouse has what left the log."""


def words(view: View, gone_records: int, began: str | None, kept_rows: int | None, not_kept: str | None = None, held: int = 0) -> str:
    """What an order of this view does, and what it cannot bring back. `not_kept`: as `not_in_rows` says; `held`: as `held_for_good`."""
    return _said(view, gone_records, began, kept_rows, not_kept) + (_HELD.format(held=held) if held else "")


_HELD: Final = (
    " Slots of the resolver that stand still, as Redis lost a part of them: {held}. A backup of Redis makes them whole. Without one an "
    "order that is to move them needs accept_loss. Lost are then the links of all ids that have not come since the log begins, also in "
    "every other slot of the resolver whose log is shorter than history."
)


def _said(view: View, gone_records: int, began: str | None, kept_rows: int | None, not_kept: str | None) -> str:
    since = f"{gone_records} records have left the log" + (f", which begins at {began}" if began else "")
    if view is View.WAREHOUSE:
        if not gone_records:
            return "the log has everything: all rows are loaded again, and what is there twice counts once"
        rows = "an unknown number of" if kept_rows is None else str(kept_rows)
        held = f"ClickHouse has {rows} events from before"
        return f"{since}. {held}: they stay. Rows from before that ClickHouse has lost cannot be loaded again."
    if not gone_records:
        return (
            "the log has everything: slots forget what they have and read it from the beginning, one after another; nobody is mailed again"
        )
    if not_kept is None:
        rows = "" if kept_rows is None else f"{kept_rows} "
        return (
            f"{since}. ClickHouse has {rows}events from before: {_FOLDED[view]}. A message sent a second time after more than a day counts "
            "once there. While ClickHouse is away slots wait."
        )
    lost = "What is known of people from those records alone would be lost: counts, traits, memberships and passages begin there."
    return f"{since}. {not_kept[0].upper()}{not_kept[1:]}. {lost}"
