"""A profile as the API shows it; personal fields masked for keys without the scope `personal`."""

from typing import Any

import msgspec
from pydantic import BaseModel, Field

from services.query.adapters.http.shapes import Instant, ProfileMeta
from services.query.adapters.people import Held
from services.query.domain.instants import instant, instant_or_none
from services.query.domain.personal import PERSONAL_TRAITS, masked, masked_profile_id, masked_text
from shared.contracts.profile_blob import CONSENT, CONTACT, TRAIT, Device, Money, Profile, RecentEvent, Touch


class TraitShape(BaseModel):
    value: Any
    at: Instant
    source_id: str


class ConsentShape(BaseModel):
    granted: bool
    at: Instant
    source_id: str


class ExternalId(BaseModel):
    kind: str
    value: str
    last_seen: Instant | None


class MoneyShape(BaseModel):
    """Exact decimals, as text."""

    currency: str = Field(description="empty where none was said")
    orders: int
    refunds: int
    cancellations: int
    ordered: str
    returned: str
    net: str


class TouchShape(BaseModel):
    at: Instant
    source: str
    medium: str
    campaign: str
    term: str
    content: str
    referrer: str


class DeviceShape(BaseModel):
    id: str
    last_seen: Instant
    kind: str
    maker: str
    model: str
    system: str


class ProfileShape(BaseModel):
    """One person. `profile_id` is the one that holds now: after a merge another than was asked for."""

    profile_id: str
    user_id: str | None
    user_ids: list[str]
    anonymous_ids: list[str]
    external_ids: list[ExternalId]
    traits: dict[str, TraitShape]
    contacts: dict[str, TraitShape] = Field(description="contact points by kind")
    consents: dict[str, ConsentShape] = Field(description="by channel")
    events: int
    first_seen: Instant | None
    last_seen: Instant | None
    event_counts: dict[str, int]
    orders: int = Field(description="orders in `currency`")
    revenue: str = Field(description="ordered less returned, in `currency`")
    currency: str | None = Field(description="the currency of most orders")
    money: list[MoneyShape]
    first_touch: TouchShape | None
    last_touch: TouchShape | None
    devices: list[DeviceShape]
    ignored: dict[str, int] = Field(description="reason to how often something unusable was sent")
    meta: ProfileMeta


class RecentShape(BaseModel):
    """One of the last events; its whole row may reach ClickHouse a moment later."""

    message_id: str
    type: str
    name: str = Field(description="the event's or page's name, cut to 32 characters")
    timestamp: Instant
    partition: int
    offset: int


def profile_shape(held: Held, profile: Profile, clear: bool) -> ProfileShape:
    """`clear`: personal fields are shown."""
    main = profile.currency
    money = Money() if main is None else profile.money[main]
    return ProfileShape(
        profile_id=shown_id(held.profile_id, clear),
        user_id=None if profile.user_id is None else _id_text(profile.user_id, clear),
        user_ids=[_id_text(one, clear) for one in profile.user_ids],
        anonymous_ids=[_id_text(one, clear) for one in profile.anonymous_ids],
        external_ids=[_external(typed, at, clear) for typed, at in profile.external_ids.items()],
        traits=_facts(profile, TRAIT, clear),
        contacts={name: _hidden(fact, clear) for name, fact in _facts(profile, CONTACT, True).items()},
        consents=_consents(profile),
        events=profile.events,
        first_seen=instant_or_none(profile.first_seen),
        last_seen=instant_or_none(profile.last_seen),
        event_counts=profile.counts,
        orders=money.orders,
        revenue=f"{money.net:f}",
        currency=main,
        money=[_money(code, one) for code, one in sorted(profile.money.items())],
        first_touch=_touch(profile.first_touch),
        last_touch=_touch(profile.last_touch),
        devices=[_device(name, one, clear) for name, one in profile.devices.items()],
        ignored=profile.ignored,
        meta=ProfileMeta(rebuilding=held.rebuilding, merging=held.merging),
    )


def recent_shape(at: int, event: RecentEvent) -> RecentShape:
    return RecentShape(
        message_id=event.message_id,
        type=event.type,
        name=event.name,
        timestamp=instant(at),
        partition=event.partition,
        offset=event.offset,
    )


def shown_id(profile_id: str, clear: bool) -> str:
    """A profile id as this key may see it."""
    return profile_id if clear else masked_profile_id(profile_id)


def _id_text(value: str, clear: bool) -> str:
    return value if clear or "@" not in value else masked_text(value)


def _external(typed: str, at: int, clear: bool) -> ExternalId:
    kind, _, value = typed.partition(":")
    return ExternalId(kind=kind, value=value if clear else masked_text(value), last_seen=instant_or_none(at))


def _facts(profile: Profile, kind: str, clear: bool) -> dict[str, TraitShape]:
    found = {name: (msgspec.json.decode(raw), said) for name, (raw, said) in profile.facts(kind).items()}
    values = {name: value for name, (value, _) in found.items()}
    shown = values if clear else masked(values, PERSONAL_TRAITS)
    return {name: TraitShape(value=shown[name], at=instant(said.at), source_id=said.source_id) for name, (_, said) in found.items()}


def _hidden(fact: TraitShape, clear: bool) -> TraitShape:
    return fact if clear else fact.model_copy(update={"value": masked_text(str(fact.value))})


def _consents(profile: Profile) -> dict[str, ConsentShape]:
    return {
        name: ConsentShape(granted=raw == b"true", at=instant(said.at), source_id=said.source_id)
        for name, (raw, said) in profile.facts(CONSENT).items()
    }


def _money(code: str, money: Money) -> MoneyShape:
    return MoneyShape(
        currency=code,
        orders=money.orders,
        refunds=money.refunds,
        cancellations=money.cancellations,
        ordered=f"{Money(ordered=money.ordered).net:f}",
        returned=f"{Money(ordered=money.returned).net:f}",
        net=f"{money.net:f}",
    )


def _touch(touch: Touch | None) -> TouchShape | None:
    if touch is None:
        return None
    return TouchShape(
        at=instant(touch.at),
        source=touch.source,
        medium=touch.medium,
        campaign=touch.campaign,
        term=touch.term,
        content=touch.content,
        referrer=touch.referrer,
    )


def _device(name: str, device: Device, clear: bool) -> DeviceShape:
    return DeviceShape(
        id=name if clear else masked_text(name),
        last_seen=instant(device.at),
        kind=device.kind,
        maker=device.maker,
        model=device.model,
        system=device.system,
    )
