"""profiles: one person, found by id or by what they are known by; their segments, tags and last events."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from services.query.adapters import people
from services.query.adapters.http.profile_shapes import ProfileShape, RecentShape, profile_shape, recent_shape
from services.query.adapters.people import Held
from services.query.domain.lookups import typed_id
from services.query.parts import Parts
from shared.contracts.membership_blob import Membership
from shared.contracts.profile_blob import Profile
from shared.contracts.tag_blob import TAGS, TagFact, decode_tags
from shared.http.access import Access
from shared.http.bearer import Reader
from shared.http.envelope import ProfileId
from shared.http.instants import instant, instant_or_none
from shared.http.personal import View
from shared.http.problems import documented
from shared.http.reasons import Code, Refused
from shared.http.shapes import Instant, ProfileMeta

_Id = Annotated[str | None, Query(min_length=1, max_length=1024)]


class MembershipShape(BaseModel):
    segment: str
    since: Instant


class LeftShape(BaseModel):
    segment: str
    at: Instant


class ProfileSegments(BaseModel):
    """The segments that a person is in, and those left. While `merging`, decisions wait for the other half."""

    profile_id: str
    data: list[MembershipShape]
    left: list[LeftShape]
    next_cursor: str | None = None
    meta: ProfileMeta


class TagShape(BaseModel):
    """A tag that holds. `until`: none if it holds until somebody takes it; `source`: the source of the event that gave it."""

    tag: str
    since: Instant
    until: Instant | None
    reason: str
    by: str
    source: str


class ProfileTags(BaseModel):
    """The tags that a person has, by name. While `merging`, those of the other half may be missing."""

    profile_id: str
    data: list[TagShape]
    next_cursor: str | None = None
    meta: ProfileMeta


class RecentEvents(BaseModel):
    """The last 50 events at most, newest first."""

    data: list[RecentShape]
    next_cursor: str | None = None
    meta: ProfileMeta


def router(parts: Parts) -> APIRouter:
    routes = APIRouter(tags=["profiles"])
    _add_people(routes, parts)
    _add_what_is_theirs(routes, parts)
    return routes


def _add_people(routes: APIRouter, parts: Parts) -> None:
    """A person by what they are known by, and by id."""

    def shown(found: tuple[Held, Profile] | None, access: Access) -> ProfileShape:
        if found is None:
            raise unknown_profile()
        return profile_shape(*found, parts.view(access))

    @routes.get("/profiles:lookup", operation_id="lookupProfile", summary="The profile that an id leads to", responses=documented(404))
    async def lookup(
        access: Reader,
        user_id: _Id = None,
        anonymous_id: _Id = None,
        email: _Id = None,
        phone: _Id = None,
        external_id: Annotated[str | None, Query(min_length=3, max_length=1024, description="kind:value")] = None,
    ) -> ProfileShape:
        """Exactly one parameter. Merges are followed; `meta.merging` says that the other half is still on its way."""
        asked = {"user_id": user_id, "anonymous_id": anonymous_id, "email": email, "phone": phone, "external_id": external_id}
        return shown(await parts.people.known_by(typed_id(asked, parts.phone_region)), access)

    @routes.get("/profiles/{profile_id}", operation_id="getProfile", summary="One profile", responses=documented(404))
    async def profile(access: Reader, profile_id: ProfileId) -> ProfileShape:
        """By any id of the person. Merges are followed: the answer's `profile_id` is the one that holds now."""
        return shown(await parts.people.person(profile_id), access)


def _add_what_is_theirs(routes: APIRouter, parts: Parts) -> None:
    """A person's segments, tags and last events."""

    @routes.get(
        "/profiles/{profile_id}/segments",
        operation_id="listProfileSegments",
        summary="The segments that a person is in",
        responses=documented(404),
    )
    async def segments(access: Reader, profile_id: ProfileId) -> ProfileSegments:
        held, state = await _membership(parts, profile_id)
        return ProfileSegments(
            profile_id=parts.view(access).profile_id(held.profile_id),
            data=[MembershipShape(segment=name, since=instant(since)) for name, since in sorted(state.members.items())],
            left=[LeftShape(segment=name, at=instant(at)) for name, at in sorted(state.left.items()) if name not in state.members],
            meta=ProfileMeta(rebuilding=held.rebuilding, merging=held.merging),
        )

    @routes.get(
        "/profiles/{profile_id}/tags",
        operation_id="listProfileTags",
        summary="The tags that a person has",
        responses=documented(404),
    )
    async def tags(access: Reader, profile_id: ProfileId) -> ProfileTags:
        """Those that hold now, by name: neither removed ones nor those whose `until` has come."""
        held, state = await _membership(parts, profile_id)
        view, now = parts.view(access), parts.now_ms()
        facts = sorted(decode_tags(state.kept.get(TAGS)).items())
        return ProfileTags(
            profile_id=view.profile_id(held.profile_id),
            data=[_tag_shape(name, fact, view) for name, fact in facts if fact.holds(now)],
            meta=ProfileMeta(rebuilding=held.rebuilding, merging=held.merging),
        )

    @routes.get(
        "/profiles/{profile_id}/events:recent",
        operation_id="listRecentEvents",
        summary="The last events, from the live view",
        responses=documented(404),
    )
    async def recent(access: Reader, profile_id: ProfileId) -> RecentEvents:
        """At most 50, milliseconds after they came in; `listProfileEvents` has all of them, with their contents."""
        found = await parts.people.person(profile_id)
        if found is None:
            raise unknown_profile()
        held, _ = found
        events = await people.recent(parts.space, held.profile_id)
        return RecentEvents(
            data=[recent_shape(at, event, parts.view(access)) for at, event in events],
            meta=ProfileMeta(rebuilding=held.rebuilding, merging=held.merging),
        )


async def _membership(parts: Parts, profile_id: str) -> tuple[Held, Membership]:
    """What segmentation holds of a person by any of their ids; of somebody whom no rule has touched yet nothing. Raises Refused (404)."""
    found = await parts.people.membership(profile_id)
    if found is not None:
        return found
    known = await parts.people.person(profile_id)
    if known is None:
        raise unknown_profile()
    return await parts.people.membership(known[0].profile_id) or (known[0], Membership())


def _tag_shape(name: str, fact: TagFact, view: View) -> TagShape:
    """Reason and giver are words of people about people: masked without the scope `personal`."""
    return TagShape(
        tag=view.text(name),
        since=instant(fact.at),
        until=instant_or_none(fact.until),
        reason=view.hidden(fact.reason),
        by=view.hidden(fact.by),
        source=fact.source_id,
    )


def unknown_profile() -> Refused:
    return Refused(404, Code.UNKNOWN_PROFILE, "nobody is known by that id")
