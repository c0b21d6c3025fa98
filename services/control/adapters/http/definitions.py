"""definitions: planned, applied, rolled back, and read with their history. The log is the truth about them; slots switch by it."""

from collections.abc import Mapping
from typing import Final

from fastapi import APIRouter, Request

from services.control.adapters.definitions import AppliedDefinitions, base_moved
from services.control.adapters.http import definition_shapes as shapes
from services.control.adapters.http.keys import IdempotencyKey
from services.control.domain.applying import Proposal
from services.control.domain.versions import changed_by, diffs, messages, stood
from services.control.parts import Parts
from shared.adapters.definition_topic import DefinitionTopic, MissingText
from shared.contracts.definitions import DefinitionSet
from shared.contracts.redis_keys import meta_key
from shared.contracts.slots import partition_count
from shared.definitions.sets import Order, file_changes
from shared.definitions.yaml_text import DefinitionError
from shared.http.access import Access
from shared.http.bearer import Applier, Reader
from shared.http.cursors import NameCursor
from shared.http.problems import documented
from shared.http.reasons import Code, Refused
from shared.http.sealing import bad_cursor
from shared.http.shapes import CursorText, Limit, Page
from shared.reading.away import LiveAway
from shared.runtime.meta import Meta

SWITCHING: Final = ("resolver", "segmentation", "journeys")
"""The stages whose slots go by definitions."""
_LIST: Final = "definitions"


class _Definitions:
    """What the routes do."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    @property
    def applied(self) -> AppliedDefinitions:
        assert self._parts.definitions is not None  # a process without it has no such routes
        return self._parts.definitions

    async def followed(self) -> DefinitionTopic:
        return await self.applied.followed()

    def order(self, access: Access, why: str, from_now: list[str], back: int | None = None) -> Order:
        zone, locale = self._parts.zone, self._parts.default_locale
        return Order(access.id, access.name, why, zone, locale, frozenset(from_now), back)

    async def proposal(self, head: DefinitionSet | None, files: Mapping[str, str], order: Order) -> Proposal:
        try:
            return await self.applied.proposal(head, files, order)
        except DefinitionError as error:
            count = len(error.problems)
            message = f"{count} {'thing is' if count == 1 else 'things are'} wrong with the definitions: {error.problems[0]}"
            raise Refused(400, Code.WRONG_DEFINITIONS, message, "files", problems=error.problems) from None

    async def apply(self, base: int, files: Mapping[str, str], order: Order) -> shapes.AppliedShape:
        """Raises Refused: 400 with all that is wrong, 409 unless `base` is the newest set."""
        topic = await self.followed()
        head = topic.head
        number = 0 if head is None else head.number
        proposal = await self.proposal(head, files, order)
        if not proposal.differs:
            return shapes.AppliedShape(**shapes.set_fields(head), applied=False, changes=[], messages=[])
        if base != number:
            raise base_moved(base, number)
        done = await self.applied.calculated(lambda: _applied(proposal))
        await self.applied.apply(proposal)
        return done

    async def active(self, head: DefinitionSet | None) -> shapes.ActiveShape | None:
        """How many slots go by the newest set; None while Redis does not answer."""
        keys = [meta_key(stage, slot) for stage in SWITCHING for slot in range(partition_count())]
        try:
            hashes = await self._parts.space.hashes(keys)
        except LiveAway:
            return None
        activated_at = 0 if head is None else head.activated_at
        metas = [Meta.decode(fields) for fields in hashes] if activated_at else []
        active = sum(meta.definitions >= activated_at for meta in metas)
        return shapes.ActiveShape(slots=len(keys), active=active, sweeping=sum(meta.sweep is not None for meta in metas))


def router(parts: Parts) -> APIRouter:
    routes, definitions = APIRouter(tags=["definitions"]), _Definitions(parts)
    _writes(routes, definitions, parts)
    _reads(routes, definitions, parts)
    return routes


def _writes(routes: APIRouter, definitions: _Definitions, parts: Parts) -> None:
    @routes.post("/definitions:plan", operation_id="planDefinitions", summary="What applying files would change", responses=documented())
    async def plan(access: Applier, wanted: shapes.PlanRequest) -> shapes.DefinitionsPlanShape:
        """400 `wrong_definitions` names every mistake with file, line and path."""
        topic = await definitions.followed()
        head = topic.head
        proposal = await definitions.proposal(head, wanted.files, definitions.order(access, "", wanted.from_now))
        return await definitions.applied.calculated(lambda: _planned(topic, proposal))

    @routes.post("/definitions:apply", operation_id="applyDefinitions", summary="Apply files", responses=documented(409))
    async def apply(
        access: Applier, request: Request, wanted: shapes.ApplyRequest, idempotency_key: IdempotencyKey = None
    ) -> shapes.AppliedShape:
        """All files become the newest set, or nothing is changed. 409 `base_moved` unless `base` is the newest set."""
        order = definitions.order(access, wanted.why, wanted.from_now)
        make = lambda: definitions.apply(wanted.base, wanted.files, order)  # noqa: E731 - it is called at most once
        return await parts.answered.once(access.id, "applyDefinitions", idempotency_key, await request.body(), make)

    @routes.post(
        "/definitions:rollback", operation_id="rollBackDefinitions", summary="Apply an older set's files", responses=documented(404, 409)
    )
    async def roll_back(
        access: Applier, request: Request, wanted: shapes.RollbackRequest, idempotency_key: IdempotencyKey = None
    ) -> shapes.AppliedShape:
        """They become a set of their own, by today's checks; history stays as it is."""

        async def make() -> shapes.AppliedShape:
            topic = await definitions.followed()
            files = _texts(topic, _kept(topic, wanted.number))
            return await definitions.apply(wanted.base, files, definitions.order(access, wanted.why, wanted.from_now, wanted.number))

        return await parts.answered.once(access.id, "rollBackDefinitions", idempotency_key, await request.body(), make)


def _reads(routes: APIRouter, definitions: _Definitions, parts: Parts) -> None:
    @routes.get("/definitions", operation_id="getDefinitions", summary="The newest set", responses=documented())
    async def newest(access: Reader) -> shapes.DefinitionsShape:
        head = (await definitions.followed()).head
        return shapes.DefinitionsShape(**shapes.whole_fields(head), active_in=await definitions.active(head))

    @routes.get("/definitions/versions", operation_id="listDefinitionSets", summary="Sets, newest first", responses=documented())
    async def history(access: Reader, limit: Limit = 100, cursor: CursorText = None) -> Page[shapes.HistoryShape]:
        after = parts.sealer.open(cursor, NameCursor)
        if after is not None and after.of != _LIST:
            raise bad_cursor()
        sets = (await definitions.followed()).sets
        places = [place for place in reversed(range(len(sets))) if after is None or sets[place].number < int(after.after)]
        shown = places[:limit]
        more = NameCursor(_LIST, str(sets[shown[-1]].number)) if len(places) > limit else None
        data = await definitions.applied.calculated(lambda: [_history(sets, place) for place in shown])
        return Page(data=data, next_cursor=None if more is None else parts.sealer.seal(more))

    @routes.get(
        "/definitions/versions/{number}", operation_id="getDefinitionSet", summary="A set with its texts", responses=documented(404)
    )
    async def version(access: Reader, number: shapes.NumberPath) -> shapes.VersionedSetShape:
        topic = await definitions.followed()
        one = _kept(topic, number)
        files = [shapes.FileShape(path=path, text=text) for path, text in _texts(topic, one).items()]
        return shapes.VersionedSetShape(**shapes.whole_fields(one), files=files)

    @routes.get(
        "/definitions/{kind}/{name}", operation_id="getDefinition", summary="A definition and its versions", responses=documented(404)
    )
    async def definition(access: Reader, kind: shapes.Kind, name: shapes.NamePath) -> shapes.TextsShape:
        topic = await definitions.followed()
        head = topic.head
        found = None if head is None else head.by_name.get((kind.value, name))
        if head is None or found is None:
            raise Refused(404, Code.UNKNOWN_DEFINITION, f"there is no {kind.value} of that name")
        texts = _texts(topic, head)
        return shapes.TextsShape(
            **shapes.definition_fields(found),
            texts=[shapes.FileShape(path=path, text=texts[path]) for path in found.files],
            used_by=shapes.named(await definitions.applied.users(head, texts, (kind.value, name))),
            versions=[shapes.stood(one) for one in stood(topic.sets, kind.value, name)],
        )


def _applied(proposal: Proposal) -> shapes.AppliedShape:
    """What is told once it has been applied."""
    told = messages(proposal.changes, proposal.head, proposal.wanted)
    return shapes.AppliedShape(**shapes.set_fields(proposal.wanted), applied=True, changes=shapes.changed(proposal), messages=told)


def _planned(topic: DefinitionTopic, proposal: Proposal) -> shapes.DefinitionsPlanShape:
    """Raises Refused (404)."""
    head = proposal.head
    before = {} if head is None else _texts(topic, head)
    files = diffs(file_changes(head, proposal.wanted), before, proposal.texts, shapes.MOST_DIFF_LINES)
    return shapes.DefinitionsPlanShape(
        base=0 if head is None else head.number,
        differs=proposal.differs,
        zone_before=None if head is None else head.zone,
        zone=proposal.wanted.zone,
        changes=shapes.changed(proposal),
        files=[shapes.FileChangeShape(path=one.path, change=shapes.file_change(one), diff=lines) for one, lines in files],
        messages=messages(proposal.changes, head, proposal.wanted),
    )


def _kept(topic: DefinitionTopic, number: int) -> DefinitionSet:
    """Raises Refused (404)."""
    found = topic.get(number)
    if found is None:
        raise Refused(404, Code.UNKNOWN_VERSION, "there is no set of that number, or it is no longer kept")
    return found


def _texts(topic: DefinitionTopic, of: DefinitionSet) -> dict[str, str]:
    """Raises Refused (404): a set that is being deleted has lost its texts."""
    try:
        return topic.texts(of)
    except MissingText as missing:
        raise Refused(404, Code.UNKNOWN_VERSION, str(missing)) from missing


def _history(sets: list[DefinitionSet], place: int) -> shapes.HistoryShape:
    changed = changed_by(sets, place)
    named = None if changed is None else [shapes.ChangedNameShape(kind=one.kind, name=one.name, change=one.change) for one in changed]
    return shapes.HistoryShape(**shapes.set_fields(sets[place]), changed=named)
