"""What an event's context says of where the person came from and on which device. A context of another shape says nothing."""

from typing import Any, Final, NamedTuple

import msgspec

from shared.contracts.profile_blob import Device, Touch

MAX_TEXT: Final = 200
_DIRECT: Final = "$direct"
"""What RudderStack's browser SDK sends as the referrer where there is none."""


class _Campaign(msgspec.Struct, frozen=True, gc=False):
    name: Any = None
    source: Any = None
    medium: Any = None
    term: Any = None
    content: Any = None


class _Referrer(msgspec.Struct, frozen=True, gc=False):
    url: Any = None
    link: Any = None


class _Page(msgspec.Struct, frozen=True, gc=False):
    url: Any = None
    referrer: Any = None


class _Device(msgspec.Struct, frozen=True, gc=False):
    id: Any = None
    type: Any = None
    manufacturer: Any = None
    model: Any = None


class _System(msgspec.Struct, frozen=True, gc=False):
    name: Any = None
    version: Any = None


class _Context(msgspec.Struct, frozen=True, gc=False):
    campaign: _Campaign | None = None
    referrer: _Referrer | None = None
    page: _Page | None = None
    device: _Device | None = None
    os: _System | None = None


_decode: Final = msgspec.json.Decoder(_Context).decode


class Arrival(NamedTuple):
    """`device`: (its id, what it is)."""

    touch: Touch | None = None
    device: tuple[str, Device] | None = None


NOTHING: Final = Arrival()


def arrival(context: bytes, at: int, message_id: str) -> Arrival:
    """What this event's context says; most say nothing, and are not read."""
    if b'"campaign"' not in context and b'"referrer"' not in context and b'"device"' not in context:
        return NOTHING
    try:
        view = _decode(context)
    except msgspec.DecodeError:
        return NOTHING
    return Arrival(_touch(view, at, message_id), _device(view, at))


def _touch(view: _Context, at: int, message_id: str) -> Touch | None:
    """A campaign, or a referrer that is not of the site itself."""
    referrer = _referrer(view)
    campaign = view.campaign
    if campaign is None:
        return Touch(at, message_id, referrer=referrer) if referrer else None
    said = (_text(campaign.source), _text(campaign.medium), _text(campaign.name), _text(campaign.term), _text(campaign.content), referrer)
    return Touch(at, message_id, *said) if any(said) else None


def _referrer(view: _Context) -> str:
    """The page that led here, if it is of another site; empty if none did."""
    if view.referrer is not None and (said := _text(view.referrer.url) or _text(view.referrer.link)):
        return said
    page = view.page
    if page is None or not page.referrer or page.referrer == _DIRECT:
        return ""
    said = _text(page.referrer)
    return "" if _host(said) == _host(_text(page.url)) else said


def _device(view: _Context, at: int) -> tuple[str, Device] | None:
    device = view.device
    if device is None:
        return None
    kind, maker, model = _text(device.type), _text(device.manufacturer), _text(device.model)
    system = "" if view.os is None else f"{_text(view.os.name)} {_text(view.os.version)}".strip()
    key = _text(device.id) or model
    return (key, Device(at, kind, maker, model, system)) if key else None


def _host(url: str) -> str:
    return url.partition("://")[2].partition("/")[0].partition("?")[0].lower()


def _text(value: object) -> str:
    """A string, cut; a number as text; anything else is nothing."""
    if isinstance(value, str):
        return value.strip()[:MAX_TEXT]
    return str(value)[:MAX_TEXT] if isinstance(value, int | float) and not isinstance(value, bool) else ""
