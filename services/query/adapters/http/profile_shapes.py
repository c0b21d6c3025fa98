"""A profile as the API shows it; personal fields masked for keys without the scope `personal`."""

from typing import Any

import msgspec
from pydantic import BaseModel, Field

from services.query.adapters.people import Held
from shared.contracts.profile_blob import CONSENT, CONTACT, TRAIT, Device, Money, Profile, RecentEvent, Touch
from shared.http.instants import instant, instant_or_none
from shared.http.personal import View
from shared.http.shapes import Instant, ProfileMeta


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


def profile_shape(held: Held, profile: Profile, view: View) -> ProfileShape:
    """The profile as `view` shows it."""
    main = profile.currency
    money = Money() if main is None else profile.money[main]
    return ProfileShape(
        profile_id=view.profile_id(held.profile_id),
        user_id=None if profile.user_id is None else view.id(profile.user_id),
        user_ids=[view.id(one) for one in profile.user_ids],
        anonymous_ids=[view.id(one) for one in profile.anonymous_ids],
        external_ids=[_external(typed, at, view) for typed, at in profile.external_ids.items()],
        traits=_traits(profile, view),
        contacts=_contacts(profile, view),
        consents=_consents(profile),
        events=profile.events,
        first_seen=instant_or_none(profile.first_seen),
        last_seen=instant_or_none(profile.last_seen),
        event_counts=_counts(profile, view),
        orders=money.orders,
        revenue=f"{money.net:f}",
        currency=main,
        money=[_money(code, one) for code, one in sorted(profile.money.items())],
        first_touch=_touch(profile.first_touch, view),
        last_touch=_touch(profile.last_touch, view),
        devices=[_device(name, one, view) for name, one in profile.devices.items()],
        ignored=profile.ignored,
        meta=ProfileMeta(rebuilding=held.rebuilding, merging=held.merging),
    )


def recent_shape(at: int, event: RecentEvent, view: View) -> RecentShape:
    return RecentShape(
        message_id=view.id(event.message_id),
        type=event.type,
        name=view.text(event.name),
        timestamp=instant(at),
        partition=event.partition,
        offset=event.offset,
    )


def _counts(profile: Profile, view: View) -> dict[str, int]:
    """Names of events that look alike once masked are counted together."""
    counts: dict[str, int] = {}
    for name, times in profile.counts.items():
        counts[view.text(name)] = counts.get(view.text(name), 0) + times
    return counts


def _external(typed: str, at: int, view: View) -> ExternalId:
    kind, _, value = typed.partition(":")
    return ExternalId(kind=kind, value=view.hidden(value), last_seen=instant_or_none(at))


def _traits(profile: Profile, view: View) -> dict[str, TraitShape]:
    found = {name: (msgspec.json.decode(raw), said) for name, (raw, said) in profile.facts(TRAIT).items()}
    return {
        shown: TraitShape(value=value, at=instant(said.at), source_id=said.source_id)
        for name, (raw, said) in found.items()
        for shown, value in view.contents("traits", {name: raw}).items()
    }


def _contacts(profile: Profile, view: View) -> dict[str, TraitShape]:
    return {
        name: TraitShape(value=view.hidden(str(msgspec.json.decode(raw))), at=instant(said.at), source_id=said.source_id)
        for name, (raw, said) in profile.facts(CONTACT).items()
    }


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


def _touch(touch: Touch | None, view: View) -> TouchShape | None:
    if touch is None:
        return None
    return TouchShape(
        at=instant(touch.at),
        source=view.text(touch.source),
        medium=view.text(touch.medium),
        campaign=view.text(touch.campaign),
        term=view.text(touch.term),
        content=view.text(touch.content),
        referrer=view.text(touch.referrer),
    )


def _device(name: str, device: Device, view: View) -> DeviceShape:
    return DeviceShape(
        id=view.hidden(name),
        last_seen=instant(device.at),
        kind=view.text(device.kind),
        maker=view.text(device.maker),
        model=view.text(device.model),
        system=view.text(device.system),
    )
