"""Masking of personal fields for keys without the scope `personal`: enough is left to tell two people apart, too little to reach one."""

import re
from collections.abc import Mapping
from typing import Any, Final

from shared.contracts.ids import is_anonymous, is_user

PERSONAL_STEMS: Final = (
    "email", "phone", "mobile", "address", "birth", "firstname", "lastname", "fullname", "nickname", "username", "realname", "wecom",
    "wechat", "openid", "unionid", "passport", "password", "token", "secret", "latitude", "longitude", "postalcode", "postcode", "zipcode",
    "externalid", "advertisingid", "useragent", "deviceid", "idnumber", "手机", "电话", "邮箱", "姓名", "地址", "生日", "微信", "身份证",
)  # fmt: skip
"""What a name contains, lower-cased and without `_`, `-`, `$`, space, whose value may tell who somebody is."""

PERSONAL_NAMES: Final = frozenset(
    {"age", "avatar", "city", "gender", "idfa", "ip", "location", "ssn", "street", "tel", "to", "zip", "名字"}
)
"""Whole names, spelled the same way, of which that is true too."""

PERSONAL_TRAITS: Final = PERSONAL_NAMES | {"name"}
"""Of a person `name` is personal; of a product, a page, a campaign, a library it is not."""

HIDDEN: Final = "***"
_PHONE: Final = re.compile(r"\+\d[\d ()-]{6,18}")
_SHORT: Final = 6


def masked_text(value: str) -> str:
    """`a***@example.com` of an address, the last four of anything longer than eight that is mostly digits, else first and last."""
    if not value:
        return value
    local, at, domain = value.rpartition("@")
    if at and local:
        return f"{local[0]}{HIDDEN}@{domain}"
    if len(value) < _SHORT:
        return HIDDEN
    if len(value) > 8 and sum(c.isdigit() for c in value) >= 0.6 * len(value):
        return HIDDEN + value[-4:]
    return f"{value[0]}{HIDDEN}{value[-1]}"


def masked_profile_id(profile_id: str) -> str:
    """A profile that is known by a contact point only shows that masked; ids that the customer gave stay, for they lead on."""
    if is_user(profile_id) or is_anonymous(profile_id):
        kind, _, value = profile_id.partition(":")
        return f"{kind}:{masked_text(value)}" if "@" in value else profile_id
    kind, colon, value = profile_id.partition(":")
    return f"{kind}:{masked_text(value)}" if colon else profile_id


def masked(value: Any, names: frozenset[str] = PERSONAL_NAMES) -> Any:
    """A JSON value with every field that is personal by its name masked, at any depth, and every text that looks like an address."""
    if isinstance(value, Mapping):
        return {
            name: _hidden(inner) if is_personal(name, names) else masked(inner, PERSONAL_TRAITS if name == "traits" else names)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [masked(inner, names) for inner in value]
    if isinstance(value, str) and ("@" in value or _PHONE.fullmatch(value)):
        return masked_text(value)
    return value


def is_personal(name: str, names: frozenset[str] = PERSONAL_NAMES) -> bool:
    """Whether a field of this name may hold what tells who somebody is."""
    bare = name.translate(_SEPARATORS).lower()
    return bare in names or any(stem in bare for stem in PERSONAL_STEMS)


_SEPARATORS: Final = str.maketrans("", "", "_-$ ")


def _hidden(value: Any) -> Any:
    """The shape stays (objects and lists), every leaf goes."""
    match value:
        case None | bool():
            return value
        case str():
            return masked_text(value)
        case list():
            return [_hidden(inner) for inner in value]
        case Mapping():
            return {name: _hidden(inner) for name, inner in value.items()}
        case _:
            return HIDDEN
