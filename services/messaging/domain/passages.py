"""Passages through journeys: their ids, which of them hold, and the steps that are due. Pure; every instant is handed in.

All transitions that a person has made are kept as a set, and which of them hold follows from the set alone: so any order of arrival,
and any order of merges, ends in the same.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import msgspec

from shared.contracts.journey_blob import Entry, SendStep, Step, WaitStep

ID_BYTES: Final = 16
MOST_KEPT: Final = 32
"""Passages remembered of one journey; beyond it the earliest that have ended go."""


def _hash(*parts: str) -> bytes:
    whole = hashlib.blake2b(digest_size=ID_BYTES)
    for part in parts:
        raw = part.encode()
        whole.update(len(raw).to_bytes(4, "big") + raw)
    return whole.digest()


def entry_id(journey: str, profile: str, at: int) -> bytes:
    """The id of a passage: fixed by the journey, who entered, and the instant (epoch ms) at which the transition became true."""
    return _hash("entry", journey, profile, str(at))


def dispatch_id(entry: bytes, step_key: str) -> str:
    """The id of one message: the same whatever crashes, and wherever the passage has moved since."""
    return _hash("dispatch", entry.hex(), step_key).hex()


class Plan(NamedTuple):
    """A journey as it is run. `guard`: ms within which a person enters once, 0 for no limit."""

    journey: str
    version: int
    segment: str
    guard: int
    steps: tuple[Step, ...]


def enter(plan: Plan, profile: str, at: int, ready: int) -> Entry:
    """A new passage: the first step falls due at `at`, and is held back until the stage's time has reached `ready`."""
    return Entry(
        entry_id(plan.journey, profile, at), plan.journey, plan.version, profile, plan.segment, at, plan.guard, ready, 0, at, plan.steps
    )


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


def _progress(entry: Entry) -> tuple[bool, int, int, int, int]:
    return not entry.steps, entry.done, entry.due, -entry.ready, -entry.version


def holding(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The passages that hold: of one journey the earliest, and each later one that keeps its guard's distance to the last that holds."""
    last: Entry | None = None
    for entry in sorted(entries, key=_order):
        if last is None or last.journey != entry.journey or entry.at - last.at >= entry.guard:
            last = entry
            yield entry


def next_due(entries: Iterable[Entry]) -> int | None:
    """When the next step of any passage that holds may run, epoch ms."""
    return min((max(entry.due, entry.ready) for entry in holding(entries) if entry.steps), default=None)


class Asked(NamedTuple):
    """A message that falls due at `due` in passage `entry`."""

    entry: Entry
    step: SendStep
    due: int


def advance(entries: tuple[Entry, ...], now: int) -> tuple[tuple[Entry, ...], list[Asked]]:
    """Run every step that is due at `now`. Passages that do not hold stand still."""
    running = {entry.id for entry in holding(entries) if entry.steps and max(entry.due, entry.ready) <= now}
    asked: list[Asked] = []
    after = tuple(_run(entry, now, asked) if entry.id in running else entry for entry in entries)
    return tidy(after), asked


def _run(entry: Entry, now: int, asked: list[Asked]) -> Entry:
    done, due, steps = entry.done, entry.due, entry.steps
    while steps and due <= now:
        match steps[0]:
            case SendStep() as send:
                asked.append(Asked(entry, send, due))
            case WaitStep(ms=ms):
                due += ms
        done, steps = done + 1, steps[1:]
    return msgspec.structs.replace(entry, done=done, due=due, steps=steps)


def tidy(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Forget what no longer matters: ended passages without a guard, and beyond MOST_KEPT the earliest with all that they kept out."""
    kept = tuple(entry for entry in entries if entry.steps or entry.guard)
    for journey in {entry.journey for entry in kept}:
        own = [entry for entry in kept if entry.journey == journey]
        while len(own) > MOST_KEPT and not own[0].steps:
            first = own[0]
            gone = {entry.id for entry in own if entry.at - first.at < max(entry.guard, 1)}
            own = [entry for entry in own if entry.id not in gone]
            kept = tuple(entry for entry in kept if entry.id not in gone)
    return kept
