"""What history says: which versions a definition has had, and what each set changed."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from shared.contracts.definitions import DefinitionSet, SegmentState, SetDefinition
from shared.definitions.sets import Change, Changed, ChangedFile, changes
from shared.definitions.text_diff import text_diff

MOST_COMPARED: Final = 50_000
"""Lines of both sides of all files that a plan compares: it costs up to the square of a file's."""


class Stood(NamedTuple):
    """A version of a definition: the first kept set with it, and when it ended, epoch ms; None: it stands."""

    definition: SetDefinition
    first: DefinitionSet
    until: int | None


def stood(sets: Sequence[DefinitionSet], kind: str, name: str) -> list[Stood]:
    """Versions of a definition, newest first. `sets`: oldest first."""
    found: list[Stood] = []
    standing: Stood | None = None
    for one in sets:
        here = one.by_name.get((kind, name))
        if standing is not None and (here is None or here.since != standing.definition.since):
            found.append(standing._replace(until=one.activated_at))
            standing = None
        if here is not None and standing is None:
            standing = Stood(here, one, None)
    return [*([] if standing is None else [standing]), *reversed(found)]


def changed_by(sets: Sequence[DefinitionSet], place: int) -> tuple[Changed, ...] | None:
    """What the set at `place` changed; None: the one before it is no longer kept."""
    one = sets[place]
    if place == 0:
        return changes(None, one) if one.base == 0 else None
    return changes(sets[place - 1], one)


def messages(changed: Sequence[Changed], before: DefinitionSet | None, after: DefinitionSet) -> list[str]:
    """What whoever applies should know, in plain sentences."""
    found = []
    if before is not None and before.zone != after.zone:
        found.append(f"The time zone changes from {before.zone} to {after.zone}: windows in days go by it from now on.")
    for one in changed:
        if one.kind == "journey" and one.after is None:
            found.append(
                f"Journey {one.name} is taken away: nobody enters it any more. Those inside go on to its end, "
                f"as long as its templates are there."
            )
        if one.kind == "template" and one.after is None:
            found.append(f"Template {one.name} is taken away: whoever is inside a journey and still waits for its message does not get it.")
        if one.kind == "segment" and one.after is None:
            found.append(
                f"Segment {one.name} is taken away: its members leave it, and what only its rule asks is counted no more. "
                f"If it comes back, by a rollback too, it has no history."
            )
        if one.kind != "segment" or one.after is None:
            continue
        was = None if one.before is None else one.before.state
        if one.after.state is SegmentState.FILLING and (was is not SegmentState.FILLING or one.change is Change.CHANGED):
            found.append(
                f"Segment {one.name} asks what was not counted before, so it is filling: it has no members, and nobody enters by it. "
                f"Nothing reads its history in yet: to start it with what comes from now on, accept that: from_now {one.name}."
            )
        if one.after.state is SegmentState.FROM_NOW and was is not SegmentState.FROM_NOW:
            found.append(f"Segment {one.name} starts from now: what people did before counts for nothing in it.")
        if was is SegmentState.LIVE and one.after.state is SegmentState.FILLING:
            found.append(f"Segment {one.name} has members now: they leave it while it is filling.")
    return found


def diffs(
    files: Sequence[ChangedFile], before: Mapping[str, str], after: Mapping[str, str], most_lines: int
) -> list[tuple[ChangedFile, list[str]]]:
    """Each changed file with the lines of its diff, `most_lines` together. Of what goes beyond it, or beyond MOST_COMPARED, is said that it
    is left out.
    """
    found, left, work = [], most_lines, MOST_COMPARED
    for file in files:
        old, new = before.get(file.path), after.get(file.path)
        work -= (old or "").count("\n") + (new or "").count("\n")
        left = left if work > 0 else 0
        lines = text_diff(file.path, old, new) if left > 0 else []
        if len(lines) > left:
            lines = lines[:left]
        left -= len(lines)
        found.append((file, lines if left > 0 else [*lines, "the rest is left out: the plan has too many lines"]))
    return found
