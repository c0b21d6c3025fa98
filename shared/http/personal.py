"""What a key without the scope `personal` is shown: what the catalogue calls public. Of everything else enough is left to tell two people
apart, too little to reach one. A text that holds an address, a phone number or an identity number is never shown, wherever it stands.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from shared.contracts.ids import is_anonymous, is_user
from shared.definitions.catalogue import NOTHING_PUBLIC, Catalogue

HIDDEN: Final = "***"
_ADDRESS: Final = re.compile(r"[^\s@]+@[^\s@]+")
_PERSONAL: Final = re.compile(
    r"""@|%40                                  # an address, as it is and as a part of a URL
      | (?:\+|%2B)\d[\d ().-]{6,18}            # a phone number with its country
      | (?<!\d)1[3-9]\d{9}(?!\d)               # a mobile number of China
      | (?<!\d)\d{17}[\dXx](?!\d)              # an identity number of China
      | (?<!\d)\d{3}-\d{2}-\d{4}(?!\d)         # a social security number
    """,
    re.VERBOSE | re.IGNORECASE,
)
_RUN: Final = re.compile(r"(?<!\d)(?:\d(?:[ -]{0,3}\d){11,}|1[ -]{0,3}[3-9](?:[ -]{0,3}\d){9}(?!\d))")
"""As many digits as a card has, also with spaces and dashes between them; a mobile number of China spelled so."""
_UUID: Final = re.compile(r"(?<![0-9a-f])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![0-9a-f])", re.IGNORECASE)
_URL: Final = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://|^/|[?#].*=")
_LONG_NUMBER: Final = re.compile(r"\+?(?:\d[ ().-]?){9,20}")
"""Longer than a date: of a birthday nothing but its first and last digit is shown."""
_SHORT: Final = 6
_SECTIONS: Final = frozenset({"traits", "properties", "context"})


def masked_text(value: str) -> str:
    """`a***@example.com` of an address, the last four digits of a number as long as a phone's, else the first and the last character."""
    if not value:
        return value
    if _ADDRESS.fullmatch(value):
        local, _, domain = value.rpartition("@")
        return f"{local[0]}{HIDDEN}@{domain}"
    if len(value) < _SHORT or "@" in value:
        return HIDDEN
    if _LONG_NUMBER.fullmatch(value):
        return HIDDEN + value[-4:]
    return f"{value[0]}{HIDDEN}{value[-1]}"


def masked_profile_id(profile_id: str) -> str:
    """A profile that is known by a contact point only shows that masked; ids that the customer gave stay, for they lead on."""
    kind, colon, value = profile_id.partition(":")
    if is_user(profile_id) or is_anonymous(profile_id):
        return f"{kind}:{public_id(value)}"
    return f"{kind}:{masked_text(value)}" if colon else profile_id


def public_id(value: str) -> str:
    """An id that the customer gave, unless it reaches a person by itself."""
    return masked_text(value) if _PERSONAL.search(value) else value


def public_text(value: str) -> str:
    """A text that is public unless it holds what reaches a person. A URL loses its query, its fragment and who logs in."""
    if _URL.search(value):
        return _public_url(value)
    return masked_text(value) if _reaches(value) else value


def _reaches(text: str) -> bool:
    """Whether a text reaches a person. An id that the customer gave may be a long number; one by chance may look like one."""
    return bool(_PERSONAL.search(text) or _RUN.search(_UUID.sub("", text)))


def _public_url(value: str) -> str:
    try:
        parts = urlsplit(value)
    except ValueError:
        return HIDDEN
    origin = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else f"{parts.scheme}:" if parts.scheme else ""
    path = "/".join(HIDDEN if _reaches(unquote(step)) else step for step in parts.path.split("/"))
    return f"{origin}{path}{'?' + HIDDEN if parts.query else ''}{'#' + HIDDEN if parts.fragment else ''}"


@dataclass(frozen=True)
class View:
    """How one key sees people. `clear`: everything as it is."""

    clear: bool = False
    catalogue: Catalogue = NOTHING_PUBLIC

    def profile_id(self, value: str) -> str:
        return value if self.clear else masked_profile_id(value)

    def id(self, value: str) -> str:
        """An id that the customer gave: of a user, a device, a message."""
        return value if self.clear else public_id(value)

    def text(self, value: str) -> str:
        """What is public by its kind: the name of an event or a page, a campaign."""
        return value if self.clear else public_text(value)

    def hidden(self, value: str) -> str:
        """What is personal by its kind: a contact point, a device."""
        return value if self.clear else masked_text(value)

    def contents(self, section: str, value: Any) -> Any:
        """A JSON value: the traits of a person or of a call, the properties or the context of a call (`section` says which)."""
        return value if self.clear else self._shown(section, (), value)

    def leaf(self, section: str, path: tuple[str, ...], value: Any) -> Any:
        """One value that stood at `path` of that section."""
        return value if self.clear else self._shown(section, path, value)

    def _shown(self, section: str, path: tuple[str, ...], value: Any) -> Any:
        """Objects and lists keep their shape; of a leaf the catalogue says whether it is shown."""
        match value:
            case Mapping():
                return {public_id(name): self._below(section, path, name, inner) for name, inner in value.items()}
            case list():
                return [self._shown(section, path, inner) for inner in value]
            case None:
                return None
        if not self.catalogue.is_public(section, path):
            return masked_text(value) if isinstance(value, str) else HIDDEN
        if isinstance(value, str):
            return public_text(value)
        return HIDDEN if isinstance(value, int) and _PERSONAL.search(str(value)) else value

    def _below(self, section: str, path: tuple[str, ...], name: str, inner: Any) -> Any:
        """An identify keeps its person's traits in the context too."""
        if section == "context" and not path and name == "traits":
            return self._shown("traits", (), inner)
        return self._shown(section, (*path, name), inner)


def contents(view: View, event: Mapping[str, Any]) -> dict[str, Any]:
    """The `properties`, `traits` and `context` of an event."""
    return {name: view.contents(name, value) for name, value in event.items() if name in _SECTIONS}
