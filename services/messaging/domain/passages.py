"""Passages through journeys: their ids, which of them hold, and the steps that are due. Pure; every instant is handed in.

The transitions that a person has made are kept as a set, and which of them hold follows from the set alone: so any order of arrival,
and any order of merges, ends in the same. The set has bounds (`bounded`), which keep to that.

Of each 30 days the 10 earliest passages are kept, 130 in all (13 months, the longest wait), and 32 once the earliest has ended. Given up
are the latest: who enters a segment more than ten times in 30 days may enter the journey again only by a transition of the next 30 days;
they are counted (`rapport_stage_refused_total`). That is at most 40 KB of a person in one journey, however many steps it has. Somebody who
comes and goes all day is still written to once within `once_per`.

A passage names the version that it entered, and its steps are found by it (`StepsOf`): whoever began under version N goes by N's steps. If
the version cannot be found, the passage neither ends nor moves on: it stands still, is counted, and looks again later (`_later`).
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, assert_never

import msgspec

from shared.contracts.days import DAY_MS
from shared.contracts.journey_blob import Entry, SendStep, Step, WaitStep

ID_BYTES: Final = 16
MOST_ENDED: Final = 32
"""Passages remembered of one journey; beyond it the earliest that have ended go."""
MOST_A_MONTH: Final = 10
MOST_PASSAGES: Final = 130
"""Passages of one person in one journey that are kept: those of 13 months, and so of the longest wait."""
MONTH_MS: Final = 30 * DAY_MS
SHORTEST_LOOK_MS: Final = 60_000
LONGEST_LOOK_MS: Final = DAY_MS

StepsOf = Callable[[str, int], Sequence[Step] | None]
"""Journey and version -> its steps; None: no set of definitions is known that has it."""


def _hash(*parts: str) -> bytes:
    whole = hashlib.blake2b(digest_size=ID_BYTES)
    for part in parts:
        raw = part.encode()
        whole.update(len(raw).to_bytes(4, "big") + raw)
    return whole.digest()


def entry_id(journey: str, profile: str, at: int) -> bytes:
    """The id of a passage: fixed by the journey, who entered, and the instant (epoch ms) at which the transition became true."""
    return _hash("entry", journey, profile, str(at))


def dispatch_id(entry: bytes, step_id: str) -> str:
    """The id of one message: the same whatever crashes, and wherever the passage has moved since."""
    return _hash("dispatch", entry.hex(), step_id).hex()


class Plan(NamedTuple):
    """A journey as it is run. `guard`: ms within which a person enters once, 0 for no limit.

    `existing`: whoever a new definition of the segment finds in it enters too.
    """

    journey: str
    version: int
    segment: str
    guard: int
    steps: tuple[Step, ...]
    existing: bool = False


def enter(plan: Plan, profile: str, at: int, ready: int) -> Entry:
    """A new passage: the first step falls due at `at`, and is held back until the stage's time has reached `ready`."""
    first = (0,) if plan.steps else ()
    return Entry(entry_id(plan.journey, profile, at), plan.journey, plan.version, profile, plan.segment, at, plan.guard, ready, first, at)


def united(one: Iterable[Entry], other: Iterable[Entry]) -> tuple[Entry, ...]:
    """Both sets as one; of the same passage the copy that has come further."""
    by_id: dict[bytes, Entry] = {}
    for entry in (*one, *other):
        known = by_id.get(entry.id)
        if known is None or _progress(entry) > _progress(known):
            by_id[entry.id] = entry
    return tuple(sorted(by_id.values(), key=_order))


def _order(entry: Entry) -> tuple[str, int, bytes]:
    return entry.journey, entry.at, entry.id


def _progress(entry: Entry) -> tuple[bool, tuple[int, ...], int, int, int, int]:
    return entry.ended, entry.path, entry.due, -entry.ready, -entry.version, len(entry.carried)


def holding(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The passages that hold: of one journey the earliest, and each later one that keeps its guard's distance to the last that holds."""
    last: Entry | None = None
    for entry in sorted(entries, key=_order):
        if last is None or last.journey != entry.journey or entry.at - last.at >= entry.guard:
            last = entry
            yield entry


def next_due(entries: Iterable[Entry]) -> int | None:
    """When the next step of any passage that holds may run, epoch ms."""
    return min((max(entry.due, entry.ready) for entry in holding(entries) if not entry.ended), default=None)


class Asked(NamedTuple):
    """A message that falls due at `due` in passage `entry`."""

    entry: Entry
    step: SendStep
    due: int


class Advanced(NamedTuple):
    """The passages after their steps have run, the messages asked for, and how many passages stood still for want of their version."""

    entries: tuple[Entry, ...]
    asked: list[Asked]
    stuck: int


def advance(entries: tuple[Entry, ...], now: int, steps_of: StepsOf) -> Advanced:
    """Run every step that is due at `now`. Passages that do not hold stand still."""
    running = {entry.id for entry in holding(entries) if not entry.ended and max(entry.due, entry.ready) <= now}
    asked: list[Asked] = []
    after: list[Entry] = []
    stuck = 0
    for entry in entries:
        if entry.id not in running:
            after.append(entry)
        elif (steps := _remaining(entry, steps_of)) is None:
            stuck += 1
            after.append(_later(entry, now))
        else:
            after.append(_run(entry, steps, now, asked))
    return Advanced(forgotten(tuple(after)), asked, stuck)


def _remaining(entry: Entry, steps_of: StepsOf) -> Sequence[Step] | None:
    """The steps that are before a passage which has not ended."""
    if entry.carried:
        return entry.carried
    steps = steps_of(entry.journey, entry.version)
    return None if steps is None else steps[entry.path[0] :]


def _later(entry: Entry, now: int) -> Entry:
    """Look again after as long as the step has waited already, within bounds.

    A slot may get a passage by a merge before it has read the set that the passage entered by: that is soon over. A version that is gone
    from the log costs one look a day.
    """
    return msgspec.structs.replace(entry, ready=now + min(max(now - entry.due, SHORTEST_LOOK_MS), LONGEST_LOOK_MS))


def _run(entry: Entry, steps: Sequence[Step], now: int, asked: list[Asked]) -> Entry:
    due, ran = entry.due, 0
    while ran < len(steps) and due <= now:
        match steps[ran]:
            case SendStep() as send:
                asked.append(Asked(entry, send, due))
            case WaitStep(ms=ms):
                due += ms
            case other:
                assert_never(other)
        ran += 1
    path = (entry.path[0] + ran,) if ran < len(steps) else ()
    return msgspec.structs.replace(entry, path=path, due=due, carried=entry.carried[ran:])


def forgotten(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Forget what has ended: passages without a guard, and beyond MOST_ENDED the earliest with all that they kept out.

    The last that holds is kept with its guard; of those that it keeps out, MOST_ENDED at most.
    """
    kept = tuple(entry for entry in entries if entry.guard or not entry.ended)
    for journey in {entry.journey for entry in kept}:
        own = [entry for entry in kept if entry.journey == journey]
        if len(own) > MOST_ENDED and own[0].ended:
            remembered = {entry.id for entry in _without_past(own)}
            kept = tuple(entry for entry in kept if entry.journey != journey or entry.id in remembered)
    return kept


def _without_past(own: list[Entry]) -> list[Entry]:
    """Passages of one journey, without the earliest that have ended."""
    while len(own) > MOST_ENDED and own[0].ended:
        first, *later = own
        after = next((place for place, entry in enumerate(later, 1) if entry.at - first.at >= entry.guard), None)
        if after is None:  # the guard of the first still keeps all others out
            return own[:MOST_ENDED]
        own = own[after:]
    return own


def bounded(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Of each journey the earliest MOST_A_MONTH of each 30 days, and of those the earliest MOST_PASSAGES.

    Which they are follows from the set alone: bounding parts of a set before they are united changes nothing. Given up are the latest: who
    enters a segment more often than that within 30 days may enter the journey again only by a transition of the next 30 days.
    """
    kept: list[Entry] = []
    of_journey: Counter[str] = Counter()
    of_month: Counter[tuple[str, int]] = Counter()
    for entry in sorted(entries, key=_order):
        month = (entry.journey, entry.at // MONTH_MS)
        if of_month[month] < MOST_A_MONTH and of_journey[entry.journey] < MOST_PASSAGES:
            of_month[month] += 1
            of_journey[entry.journey] += 1
            kept.append(entry)
    return tuple(kept)


class TakenIn(NamedTuple):
    """The passages of two sets as one, within the bounds; `refused`: how many the bounds have left out."""

    entries: tuple[Entry, ...]
    refused: int


def taken_in(one: Iterable[Entry], other: Iterable[Entry]) -> TakenIn:
    """Both sets as one, without what no longer matters."""
    whole = forgotten(united(one, other))
    within = bounded(whole)
    return TakenIn(within, len(whole) - len(within))
