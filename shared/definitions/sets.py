"""Sets of definitions: the next one from the one before, what differs between two, and which of the old ones may go. No I/O, no clock."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from shared.contracts.definitions import KEPT_MS, DefinitionSet, FileRef, SegmentState, SetDefinition, text_hash
from shared.definitions.files import TEMPLATE_SUFFIX
from shared.definitions.folder import Definitions
from shared.definitions.models import short_hash
from shared.definitions.segment import Segment
from shared.definitions.template import HTML_SUFFIX, TemplateHead

MAX_SETS: Final = 2_000
"""Older sets than the newest so many are deleted once they are older than KEPT_MS."""
MOST_SETS: Final = 10_000
"""Twenty-five a day for KEPT_MS. With so many that may not be deleted nothing further is applied."""
MAX_HISTORY_BYTES: Final = 128 * 1024 * 1024
"""Texts of all kept sets, compressed: each process that follows the definitions holds them. Beyond it nothing further is applied."""

Name = tuple[str, str]
"""Kind and name."""
Asked = Mapping[str, frozenset[str]]
"""Segment -> ids of the features that its rule asks, each followed by `:` and how many of its buckets the rule reaches back, if any."""


@dataclass(frozen=True)
class Order:
    """What is to be applied beside the files. `by`, `by_name`: the key. `from_now`: segments that may start without history."""

    by: str
    by_name: str
    why: str
    zone: str = "UTC"
    default_locale: str = "en"
    from_now: frozenset[str] = field(default_factory=frozenset)
    rolled_back_to: int | None = None


def next_set(
    head: DefinitionSet | None, read: Definitions, texts: Mapping[str, str], asked: Asked, order: Order, now_ms: int
) -> DefinitionSet:
    """The set that follows `head`: of `texts` (path -> text), which were `read` without a problem."""
    activated_at = now_ms if head is None else max(now_ms, head.activated_at + 1)
    before = _reaching({} if head is None else head.features)
    since_when = 0 if head is None else activated_at
    features = {one: _asked_since(one, before, since_when) for one in sorted(frozenset().union(*asked.values()))}
    states = _states(head, read, asked, features, order.from_now)
    files = {path: text_hash(text.encode()) for path, text in texts.items()}
    found = []
    for (kind, name), version, paths in sorted(_versions(read, files)):
        known = None if head is None else head.by_name.get((kind, name))
        wanted = tuple(sorted(asked.get(name, ()))) if kind == Segment.kind else ()
        state = states[name] if kind == Segment.kind else None
        stood = known is not None and (known.version, known.features) == (version, wanted) and _speaks(known.state) == _speaks(state)
        since = known.since if known is not None and stood else activated_at
        found.append(SetDefinition(kind=kind, name=name, version=version, since=since, files=paths, state=state, features=wanted))
    return DefinitionSet(
        number=1 if head is None else head.number + 1,
        base=0 if head is None else head.number,
        activated_at=activated_at,
        applied_at=now_ms,
        applied_by=order.by,
        applied_by_name=order.by_name,
        why=order.why,
        zone=order.zone,
        default_locale=order.default_locale,
        rolled_back_to=order.rolled_back_to,
        files=tuple(FileRef(path, files[path]) for path in sorted(files)),
        definitions=tuple(found),
        features=features,
    )


def _reaching(features: Mapping[str, int]) -> dict[str, list[tuple[int, int]]]:
    """Feature -> (reach, since) of all that ask it."""
    found: dict[str, list[tuple[int, int]]] = {}
    for one, since in features.items():
        name, _, reach = one.partition(":")
        found.setdefault(name, []).append((int(reach or 0), since))
    return found


def _asked_since(one: str, before: Mapping[str, Sequence[tuple[int, int]]], now: int) -> int:
    """Since when a feature has been asked as far back: what only shorter windows asked has dropped what lies behind them."""
    name, _, reach = one.partition(":")
    return min((since for other, since in before.get(name, ()) if other >= int(reach or 0)), default=now)


def _speaks(state: SegmentState | None) -> bool:
    return state is not SegmentState.FILLING


def _versions(read: Definitions, files: Mapping[str, str]) -> Iterator[tuple[Name, int, tuple[str, ...]]]:
    """(Kind and name, version, paths) of every definition. A template is all its locales together."""
    for one in read.found:
        yield (one.definition.kind, one.definition.name), one.definition.version, (one.file,)
    for name in read.templates.names:
        paths = []
        for template in read.templates.of(name).values():
            html = template.file.removesuffix(TEMPLATE_SUFFIX) + HTML_SUFFIX
            paths += [path for path in (template.file, html) if path in files]
        said = "|".join(f"{path.rpartition('/')[2]}:{files[path]}" for path in sorted(paths, key=lambda path: path.rpartition("/")[2]))
        yield (TemplateHead.kind, name), short_hash(said), tuple(sorted(paths))


def _states(
    head: DefinitionSet | None, read: Definitions, asked: Asked, features: Mapping[str, int], accepted: frozenset[str]
) -> dict[str, SegmentState]:
    """What each segment can answer."""
    states: dict[str, SegmentState] = {}
    for name, wanted in asked.items():
        young = {one for one in wanted if features[one]}
        known = None if head is None else head.by_name.get((Segment.kind, name))
        accepted_before = known is not None and known.state is SegmentState.FROM_NOW and young <= set(known.features)
        if not young:
            states[name] = SegmentState.LIVE
        elif name in accepted or accepted_before:
            states[name] = SegmentState.FROM_NOW
        else:
            states[name] = SegmentState.FILLING
    _fill_what_names_them(read, states, accepted)
    return states


def _fill_what_names_them(read: Definitions, states: dict[str, SegmentState], accepted: frozenset[str]) -> None:
    """A segment that names one that is filling is filling too; one that names one that starts from now knows no more than that."""
    named = {one.definition.name: {r.name for r in one.definition.references() if r.kind == Segment.kind} for one in read.of(Segment)}
    waiting = [name for name, state in states.items() if state is SegmentState.FILLING]
    while waiting:
        filling = waiting.pop()
        for name, others in named.items():
            if filling in others and states[name] is not SegmentState.FILLING and name not in accepted:
                states[name] = SegmentState.FILLING
                waiting.append(name)
    waiting = [name for name, state in states.items() if state is SegmentState.FROM_NOW]
    while waiting:
        young = waiting.pop()
        for name, others in named.items():
            if young in others and states[name] is SegmentState.LIVE:
                states[name] = SegmentState.FROM_NOW
                waiting.append(name)


def differs(head: DefinitionSet | None, other: DefinitionSet) -> bool:
    """Whether applying `other` on `head` would change anything."""
    if head is None:
        return bool(other.files)
    return _says(head) != _says(other)


def _says(one: DefinitionSet) -> object:
    states = {name: definition.state for name, definition in one.by_name.items() if definition.state is not None}
    return one.files, one.zone, one.default_locale, states


class Change(StrEnum):
    """What became of a definition. reworded: its files differ, and it does the same. unchanged: only its state differs."""

    ADDED = "added"
    CHANGED = "changed"
    REWORDED = "reworded"
    REMOVED = "removed"
    UNCHANGED = "unchanged"


class Changed(NamedTuple):
    """One definition that differs between two sets. Versions and states are None where it is not there, states also where it has none."""

    kind: str
    name: str
    change: Change
    before: SetDefinition | None
    after: SetDefinition | None


class ChangedFile(NamedTuple):
    """One file that differs; None: it is not there."""

    path: str
    before: str | None
    after: str | None


def changes(before: DefinitionSet | None, after: DefinitionSet) -> tuple[Changed, ...]:
    """Every definition that differs, by kind and name."""
    old, new = ({} if before is None else before.by_name), after.by_name
    moved = {path for path, _, _ in file_changes(before, after)}
    found = [Changed(*name, _change(old.get(name), new.get(name), moved), old.get(name), new.get(name)) for name in sorted({*old, *new})]
    return tuple(one for one in found if one.change is not Change.UNCHANGED or _state(one.before) != _state(one.after))


def _change(before: SetDefinition | None, after: SetDefinition | None, moved: set[str]) -> Change:
    if before is None or after is None:
        return Change.ADDED if before is None else Change.REMOVED
    if (before.version, before.features) != (after.version, after.features):
        return Change.CHANGED
    return Change.REWORDED if moved & {*before.files, *after.files} else Change.UNCHANGED


def _state(one: SetDefinition | None) -> SegmentState | None:
    return None if one is None else one.state


def file_changes(before: DefinitionSet | None, after: DefinitionSet) -> tuple[ChangedFile, ...]:
    """Every file that differs, by path."""
    old: dict[str, str] = {} if before is None else {file.path: file.sha256 for file in before.files}
    new = {file.path: file.sha256 for file in after.files}
    return tuple(ChangedFile(path, old.get(path), new.get(path)) for path in sorted({*old, *new}) if old.get(path) != new.get(path))


def used_by(read: Definitions) -> dict[Name, tuple[Name, ...]]:
    """Definition -> those that name it."""
    found: dict[Name, set[Name]] = {}
    for one in read.found:
        for _, kind, name in one.definition.references():
            found.setdefault((kind, name), set()).add((one.definition.kind, one.definition.name))
    return {name: tuple(sorted(users)) for name, users in found.items()}


def to_delete(sets: Sequence[DefinitionSet], now_ms: int) -> list[DefinitionSet]:
    """Sets beyond the newest MAX_SETS that are old enough. `sets`: oldest first, with the one that is about to be written."""
    return [one for one in sets[: max(0, len(sets) - MAX_SETS)] if now_ms - one.activated_at > KEPT_MS]


def without_set(texts: Iterable[str], kept: Iterable[DefinitionSet]) -> list[str]:
    """Of these hashes those that no set names."""
    named = {file.sha256 for one in kept for file in one.files}
    return sorted(set(texts) - named)
