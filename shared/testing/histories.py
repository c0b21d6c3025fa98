"""Made-up histories of people: events as ingest writes them, and what identities must come of them."""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from hypothesis import strategies as st

from shared.contracts.events import EVENT_ENCODER, EventType, ReceivedEvent
from shared.contracts.ids import DEFAULT_EXTERNAL_KINDS, anonymous, external, user

EPOCH = 1_700_000_000_000
TRAITS = ("city", "plan", "firstName")
MINUTE = 60_000


def key_of(event: ReceivedEvent) -> str:
    """The key under which ingest writes the event (topics.py: event.received)."""
    if event.type is EventType.ALIAS and event.previous_id is not None:
        return anonymous(event.previous_id) if event.anonymous_id == event.previous_id else user(event.previous_id)
    if event.anonymous_id is not None:
        return anonymous(event.anonymous_id)
    if event.user_id is not None:
        return user(event.user_id)
    return next(external(kind, event.ids[kind]) for kind in DEFAULT_EXTERNAL_KINDS if kind in event.ids)


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def event(type_: str, message_id: str, at: int = EPOCH, **fields: Any) -> ReceivedEvent:
    """An event; properties, traits and context may be given as plain objects."""
    for name in ("properties", "traits", "context"):
        if name in fields:
            fields[name] = raw(fields[name])
    kind = EventType(type_)
    if kind is EventType.TRACK:
        fields.setdefault("event", "Product Viewed")
    fields = {"source_id": "s1", "received_at": EPOCH + 10**9, **fields}
    return ReceivedEvent(type=kind, message_id=message_id, timestamp=at, **fields)


def encoded(one: ReceivedEvent) -> bytes:
    return EVENT_ENCODER.encode(one)


class Ids(msgspec.Struct, frozen=True):
    """The ids that one person's events draw from."""

    users: tuple[str, ...]
    devices: tuple[str, ...]
    emails: tuple[str, ...]


def person(number: int) -> st.SearchStrategy[Ids]:
    """A person with ids of their own, none of them another's. Names are such that either may win a merge."""

    def named(prefix: str, least: int, most: int) -> st.SearchStrategy[tuple[str, ...]]:
        return st.integers(least, most).map(lambda count: tuple(f"{prefix}{number}-{i}" for i in range(count)))

    return st.builds(Ids, named("u", 0, 3), named("d", 1, 3), named("m", 0, 2).map(lambda names: tuple(f"{n}@x.org" for n in names)))


def identities(ids: Ids) -> st.SearchStrategy[dict[str, Any]]:
    """Some identity that an event of this person can carry."""
    device = st.sampled_from(ids.devices)
    ways: list[st.SearchStrategy[dict[str, Any]]] = [st.fixed_dictionaries({"anonymous_id": device})]
    if ids.users:
        known = st.sampled_from(ids.users)
        ways += [st.fixed_dictionaries({"anonymous_id": device, "user_id": known}), st.fixed_dictionaries({"user_id": known})]
    if ids.emails:
        ways.append(st.sampled_from(ids.emails).map(lambda email: {"ids": {"email": email}}))
    return st.one_of(ways)


@st.composite
def calls(draw: st.DrawFn, ids: Ids, message_id: str) -> ReceivedEvent:
    """One call of this person: any type but alias, any content, any time within some minutes (ties are likely)."""
    who = draw(identities(ids))
    at = EPOCH + draw(st.integers(0, 5)) * MINUTE
    source = draw(st.sampled_from(("s1", "s2")))
    match draw(st.sampled_from(("track", "order", "refund", "identify", "page"))):
        case "identify":
            traits = draw(st.dictionaries(st.sampled_from(TRAITS), st.sampled_from(("a", "b", 1, None)), max_size=2))
            if draw(st.booleans()) and ids.emails:
                who = {**who, "ids": {"email": draw(st.sampled_from(ids.emails))}}
            return event("identify", message_id, at, source_id=source, traits=traits, **who)
        case "order":
            amount = draw(st.sampled_from((1, 12.5, "3.1415", -2, "abc", None, 1e300)))
            properties = {"revenue": amount, "currency": draw(st.sampled_from(("EUR", "cny", "?")))}
            return event("track", message_id, at, source_id=source, event="Order Completed", properties=properties, **who)
        case "refund":
            return event("track", message_id, at, source_id=source, event="Order Refunded", properties={"total": 5}, **who)
        case "page":
            campaign = {"source": draw(st.sampled_from(("news", "ads")))}
            return event("page", message_id, at, source_id=source, context={"campaign": campaign}, **who)
        case _:
            name = draw(st.sampled_from(("Product Viewed", "Unsubscribed", "Signed Up")))
            return event("track", message_id, at, source_id=source, event=name, **who)


@st.composite
def aliases(draw: st.DrawFn, ids: Ids, one: str, two: str, message_id: str) -> ReceivedEvent:
    """`one` is `two`, said by a server or by a device of theirs."""
    device = draw(st.one_of(st.none(), st.sampled_from(ids.devices)))
    at = EPOCH + draw(st.integers(0, 5)) * MINUTE
    return event("alias", message_id, at, user_id=two, previous_id=one, anonymous_id=device)


@st.composite
def histories(draw: st.DrawFn, people: int = 3, most: int = 12) -> list[ReceivedEvent]:
    """Events of some people who share nothing, each person's users aliased to one another, and devices aliased here and there."""
    found: list[ReceivedEvent] = []

    def next_id() -> str:
        return f"m{len(found)}"

    for number in range(draw(st.integers(1, people))):
        ids = draw(person(number))
        for _ in range(draw(st.integers(1, most))):
            found.append(draw(calls(ids, next_id())))
        for place, name in enumerate(ids.users[1:]):
            one, two = draw(st.permutations((draw(st.sampled_from(ids.users[: place + 1])), name)))
            found.append(draw(aliases(ids, one, two, next_id())))
        if draw(st.booleans()) and ids.users:
            device, owner = draw(st.sampled_from(ids.devices)), draw(st.sampled_from(ids.users))
            by = draw(st.sampled_from((None, device)))
            found.append(event("alias", next_id(), user_id=owner, previous_id=device, anonymous_id=by))
    return found


@st.composite
def shared_calls(draw: st.DrawFn, message_id: str) -> ReceivedEvent:
    """A call in a place where everybody uses everybody's devices and e-mail addresses; some users alias themselves."""
    ids = Ids(("ann", "bob", "cyd", "dan"), ("d1", "d2", "d3"), ("m1@x.org", "m2@x.org"))
    if draw(st.integers(0, 5)) == 0:
        one, two = draw(st.permutations(ids.users))[:2]
        return draw(aliases(ids, one, two, message_id))
    if draw(st.integers(0, 9)) == 0:
        device, owner = draw(st.sampled_from(ids.devices)), draw(st.sampled_from(ids.users))
        return event("alias", message_id, user_id=owner, previous_id=device, anonymous_id=draw(st.sampled_from((None, device))))
    return draw(calls(ids, message_id))


class Classes:
    """Which things are one: union and find."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}

    def find(self, one: str) -> str:
        while (parent := self._parents.setdefault(one, one)) != one:
            one = parent
        return one

    def unite(self, one: str, two: str) -> None:
        self._parents[self.find(one)] = self.find(two)


def alias_classes(events: Iterable[ReceivedEvent]) -> Callable[[str], str]:
    """User id -> its class, where nothing but an alias between user ids joins two."""
    classes = Classes()
    for one in events:
        if one.type is EventType.ALIAS and one.previous_id is not None and one.user_id is not None:
            classes.unite(one.previous_id, one.user_id)
    return classes.find


def people_of(events: Iterable[ReceivedEvent]) -> Callable[[ReceivedEvent], str]:
    """Event -> whose it is, if everything that stands together in one event is one person's."""
    classes = Classes()
    for one in events:
        together = typed_ids(one)
        for other in together[1:]:
            classes.unite(together[0], other)
    return lambda one: classes.find(typed_ids(one)[0])


def typed_ids(one: ReceivedEvent) -> list[str]:
    """Every id that one event names."""
    found: list[str] = [external(kind, value) for kind, value in one.ids.items()]
    if one.anonymous_id is not None:
        found.append(anonymous(one.anonymous_id))
    if one.user_id is not None:
        found.append(user(one.user_id))
    if one.previous_id is not None:
        found += [user(one.previous_id), anonymous(one.previous_id)]
    return found
