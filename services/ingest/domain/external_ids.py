"""External ids of a person: found in context.externalIds, and in an identify's traits; normalised (shared/contracts/ids.py)."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from services.ingest.domain import wire
from shared.contracts import ids

SPELLINGS: Final = {
    "wecom": "wecom",
    "wecomid": "wecom",
    "wecomexternaluserid": "wecom",
    "externaluserid": "wecom",
    "phone": "phone",
    "phonenumber": "phone",
    "mobile": "phone",
    "email": "email",
}
"""How clients name the kinds, lower-cased and without `_`, `-` and `.`; WeCom's own name is external_userid."""


def from_context(view: wire.ContextView) -> Iterator[tuple[str, Any]]:
    """(type, id) of each entry of externalIds (Segment) or externalId (Rudder); entries of another shape are passed over."""
    for listed in (view.external_ids, view.external_id):
        if isinstance(listed, list):
            for entry in listed:
                if isinstance(entry, dict):
                    yield str(entry.get("type", "")), entry.get("id")


def from_traits(traits: msgspec.Raw, kinds: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """(name, value) of each trait that is named like a kind of external id."""
    for name, value in wire.decode_fields(traits).items():
        if name in kinds or _kind(name) in kinds:
            yield name, msgspec.json.decode(value)


def normalised(found: Iterator[tuple[str, Any]], kinds: Sequence[str], region: str | None) -> dict[str, str]:
    """Kind -> value of the usable ones of `kinds`; the first of a kind holds."""
    result: dict[str, str] = {}
    for name, value in found:
        kind = name if name in kinds else _kind(name)
        if kind is None or kind not in kinds or kind in result or isinstance(value, bool) or not isinstance(value, str | int):
            continue
        usable = ids.normalise(kind, str(value), region)
        if usable is not None and len(usable) <= 254:
            result[kind] = usable
    return result


def _kind(name: str) -> str | None:
    return SPELLINGS.get(name.lower().replace("_", "").replace("-", "").replace(".", ""))
