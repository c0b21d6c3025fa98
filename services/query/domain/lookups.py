"""From what somebody asks by to the typed id under which the resolver keeps it."""

from typing import Final

from shared.contracts import ids
from shared.contracts.ids import TypedId
from shared.http.reasons import Code, Refused

LOOKUP_PARAMETERS: Final = ("user_id", "anonymous_id", "email", "phone", "external_id")


def typed_id(given: dict[str, str | None], phone_region: str | None = None) -> TypedId:
    """The typed id that the one parameter given stands for, normalised as ingest does. Raises Refused (400)."""
    named = [(name, value) for name, value in given.items() if value is not None]
    if len(named) != 1:
        raise _refused(f"give exactly one of {', '.join(LOOKUP_PARAMETERS)}", None)
    ((name, value),) = named
    match name:
        case "user_id" | "anonymous_id":
            if not ids.is_usable(value):
                raise _refused("this id stands for nobody", name)
            return ids.user(value) if name == "user_id" else ids.anonymous(value)
        case "email" | "phone":
            return _external(name, value, name, phone_region)
        case _:
            kind, colon, rest = value.partition(":")
            if not colon or not kind or kind in ("u", "a"):
                raise _refused("expected kind:value, such as wecom:wx_123", name)
            return _external(kind, rest, name, phone_region)


def _external(kind: str, value: str, field: str, phone_region: str | None) -> TypedId:
    normal = ids.normalise(kind, value, phone_region)
    if normal is None:
        raise _refused(f"this is no {kind}", field)
    return ids.external(kind, normal)


def _refused(message: str, field: str | None) -> Refused:
    return Refused(400, Code.INVALID_ID, message, field)
