"""What is asked and answered about definitions."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Final, Literal

from fastapi import Path
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, StringConstraints

from services.control.domain.applying import Proposal
from services.control.domain.versions import Stood
from shared.contracts.bodies import MAX_FILES
from shared.contracts.definitions import MAX_WHY, DefinitionSet, SetDefinition
from shared.definitions.files import MAX_PATH
from shared.definitions.kinds import KINDS
from shared.definitions.sets import Change, Changed, ChangedFile
from shared.definitions.template import TemplateHead
from shared.http.instants import instant, instant_or_none
from shared.http.shapes import Instant

MOST_NAMED: Final = 2_000
MOST_DIFF_LINES: Final = 5_000
"""Lines of all diffs of a plan together."""

State = Literal["live", "filling", "from_now"]
"""Of a segment, by its set: shared.contracts.definitions.SegmentState."""
Kind = StrEnum("Kind", {kind.upper(): kind for kind in (*KINDS, TemplateHead.kind)})  # type: ignore[misc]
NamePath = Annotated[str, Path(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
NumberPath = Annotated[int, Path(ge=1, le=999_999_999)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Files = Annotated[
    dict[Annotated[str, StringConstraints(max_length=MAX_PATH)], str],
    Field(max_length=MAX_FILES, description="path below the folder, with slashes -> text; all files, also those that have not changed"),
]
Why = Annotated[str, StringConstraints(min_length=1, max_length=MAX_WHY, pattern=r"^[^\x00-\x09\x0b-\x1f\x7f]+$")]
FromNow = Annotated[
    list[Name],
    Field(max_length=MOST_NAMED, description="segments that may start without the history of what they ask: nobody was in before"),
]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PlanRequest(Body):
    files: Files
    from_now: FromNow = []


def _whole(value: object) -> object:
    """48.0 is a whole number in JSON Schema."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, Strict(), BeforeValidator(_whole)]


class ApplyRequest(Body):
    files: Files
    base: Whole = Field(ge=0, description="number of the set that the plan was made on; 0: there was none")
    why: Why
    from_now: FromNow = []


class RollbackRequest(Body):
    number: Whole = Field(ge=1, description="the set whose files are applied again, as a set of its own")
    base: Whole = Field(ge=0, description="number of the set that the plan was made on")
    why: Why
    from_now: FromNow = []


class NamedShape(BaseModel):
    kind: Kind
    name: str


class DefinitionShape(NamedShape):
    version: int = Field(description="32 bits of what it does: titles and comments do not change it")
    since: Instant = Field(description="from when on this version has stood without a break")
    state: State | None = Field(description="of a segment: live, filling (it has no history yet, no members), or from_now")
    files: list[str]


class SetShape(BaseModel):
    number: int = Field(description="0: nothing was ever applied")
    base: int
    activated_at: Instant | None
    applied_at: Instant | None
    applied_by: str = Field(description="id of the key")
    applied_by_name: str
    why: str
    rolled_back_to: int | None = Field(description="number of the set whose files these are, after a rollback")


class ActiveShape(BaseModel):
    """How many slots of the stages that go by definitions go by this set, and in how many of them people are still being decided anew."""

    slots: int
    active: int
    sweeping: int


class DefinitionsShape(SetShape):
    zone: str | None
    default_locale: str | None
    definitions: list[DefinitionShape]
    active_in: ActiveShape | None = Field(description="null while the store that knows it does not answer")


class FileShape(BaseModel):
    path: str
    text: str


class VersionedSetShape(SetShape):
    zone: str | None
    default_locale: str | None
    definitions: list[DefinitionShape]
    files: list[FileShape]


class ChangeShape(NamedShape):
    change: Change
    version_before: int | None
    version: int | None
    state_before: State | None
    state: State | None
    used_by: list[NamedShape]


class ChangedNameShape(NamedShape):
    change: Change


class HistoryShape(SetShape):
    changed: list[ChangedNameShape] | None = Field(description="against the set before; null where that one is no longer kept")


class FileChangeShape(BaseModel):
    path: str
    change: Change
    diff: list[str] = Field(description="lines of a unified diff")


class DefinitionsPlanShape(BaseModel):
    """What applying these files would change. Nothing has been changed."""

    base: int = Field(description="number of the set that this is compared with: send it with apply; 0: there is none")
    differs: bool
    zone_before: str | None
    zone: str
    changes: list[ChangeShape]
    files: list[FileChangeShape]
    messages: list[str]


class AppliedShape(SetShape):
    """The newest set. `applied`: whether it has just been made; false: it had these files already."""

    applied: bool
    changes: list[ChangeShape]
    messages: list[str]


class StoodShape(BaseModel):
    version: int
    since: Instant
    until: Instant | None
    number: int = Field(description="the first set with it that is kept")
    applied_by_name: str
    why: str


class TextsShape(DefinitionShape):
    texts: list[FileShape]
    used_by: list[NamedShape]
    versions: list[StoodShape] = Field(description="newest first, as far as sets are kept")


def set_fields(one: DefinitionSet | None) -> dict[str, object]:
    """The fields of SetShape."""
    if one is None:
        nothing = {"applied_by": "", "applied_by_name": "", "why": "", "rolled_back_to": None}
        return {"number": 0, "base": 0, "activated_at": None, "applied_at": None, **nothing}
    return {
        "number": one.number,
        "base": one.base,
        "activated_at": instant_or_none(one.activated_at),
        "applied_at": instant_or_none(one.applied_at),
        "applied_by": one.applied_by,
        "applied_by_name": one.applied_by_name,
        "why": one.why,
        "rolled_back_to": one.rolled_back_to,
    }


def whole_fields(one: DefinitionSet | None) -> dict[str, object]:
    """Also what stands in the set."""
    definitions = [] if one is None else [DefinitionShape(**definition_fields(each)) for each in one.definitions]
    zone, locale = (None, None) if one is None else (one.zone, one.default_locale)
    return {**set_fields(one), "zone": zone, "default_locale": locale, "definitions": definitions}


def definition_fields(one: SetDefinition) -> dict[str, object]:
    """The fields of DefinitionShape."""
    return {
        "kind": one.kind,
        "name": one.name,
        "version": one.version,
        "since": instant(one.since),
        "state": one.state,
        "files": list(one.files),
    }


def changed(proposal: Proposal) -> list[ChangeShape]:
    return [_change(one, proposal.users.get((one.kind, one.name), ())) for one in proposal.changes]


def _change(one: Changed, users: Iterable[tuple[str, str]]) -> ChangeShape:
    return ChangeShape(
        kind=one.kind,
        name=one.name,
        change=one.change,
        version_before=None if one.before is None else one.before.version,
        version=None if one.after is None else one.after.version,
        state_before=None if one.before is None else one.before.state,
        state=None if one.after is None else one.after.state,
        used_by=named(users),
    )


def named(names: Iterable[tuple[str, str]]) -> list[NamedShape]:
    return [NamedShape(kind=kind, name=name) for kind, name in names]


def file_change(one: ChangedFile) -> Change:
    if one.before is None:
        return Change.ADDED
    return Change.REMOVED if one.after is None else Change.CHANGED


def stood(one: Stood) -> StoodShape:
    return StoodShape(
        version=one.definition.version,
        since=instant(one.definition.since),
        until=instant_or_none(one.until),
        number=one.first.number,
        applied_by_name=one.first.applied_by_name,
        why=one.first.why,
    )
