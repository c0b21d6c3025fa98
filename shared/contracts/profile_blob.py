"""The state of stage `folder` for one person, and the members of its second blob, the last events.

msgpack; the runtime's envelope stands around it (shared/runtime/envelope.py). Written by the folder, read by query.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from shared.contracts.versions import newer, opened, stamped

TRAIT, CONTACT, CONSENT, SHOWN_USER = ".", "@", "?", "="
"""First letter of a fact's name: a trait, a contact point by kind, a consent by channel; `=` alone is the user id last aliased to."""

OVERFLOWED: Final = ""
"""The name under which events are counted whose own name found no room."""


class Said(msgspec.Struct, array_like=True, gc=False):
    """What one event said that nothing newer has replaced: name -> JSON. `at`: event time, epoch ms. null: taken back."""

    at: int
    message_id: str
    source_id: str
    facts: dict[str, bytes]


class Money(msgspec.Struct, array_like=True, gc=False):
    """Orders of one currency. Amounts in ten-thousandths: of orders, and given back; text where 64 bits do not hold them."""

    orders: int = 0
    refunds: int = 0
    cancellations: int = 0
    ordered: int | str = 0
    returned: int | str = 0

    @property
    def net(self) -> Decimal:
        """Ordered less returned, exactly."""
        return Decimal(self.net_text)

    @property
    def net_text(self) -> str:
        """`net` as a decimal number with four places."""
        net = int(self.ordered) - int(self.returned)
        whole, rest = divmod(abs(net), 10_000)
        return f"{'-' if net < 0 else ''}{whole}.{rest:04}"


class Touch(msgspec.Struct, array_like=True, frozen=True, order=True, gc=False):
    """An arrival from outside: UTM campaign or referrer. Empty where nothing was said."""

    at: int
    message_id: str
    source: str = ""
    medium: str = ""
    campaign: str = ""
    term: str = ""
    content: str = ""
    referrer: str = ""


class Device(msgspec.Struct, array_like=True, frozen=True, order=True, gc=False):
    """As last seen; `at` epoch ms."""

    at: int
    kind: str = ""
    maker: str = ""
    model: str = ""
    system: str = ""


class Profile(msgspec.Struct, array_like=True):
    """One person's. Times are epoch ms of events; 0 if there were none.

    `user_ids`, `anonymous_ids`, `external_ids` (typed), by when last seen. `said`: oldest first. `counts`: event name -> how often.
    `money`: by currency, "" if none was said. `ignored`: reason -> how often something unusable was sent.
    """

    events: int = 0
    first_seen: int = 0
    last_seen: int = 0
    user_ids: dict[str, int] = {}
    anonymous_ids: dict[str, int] = {}
    external_ids: dict[str, int] = {}
    said: list[Said] = []
    counts: dict[str, int] = {}
    money: dict[str, Money] = {}
    first_touch: Touch | None = None
    last_touch: Touch | None = None
    devices: dict[str, Device] = {}
    ignored: dict[str, int] = {}

    def facts(self, kind: str) -> dict[str, tuple[bytes, Said]]:
        """All that stands of one kind, without what was taken back: name -> (JSON, who said it)."""
        return {
            name[1:]: (value, said)
            for said in self.said
            for name, value in said.facts.items()
            if name.startswith(kind) and value != b"null"
        }

    @property
    def user_id(self) -> str | None:
        """The user id to show: the last aliased to, else the one there is (the smallest, should it be more)."""
        for said in self.said:
            if SHOWN_USER in said.facts:
                return msgspec.json.decode(said.facts[SHOWN_USER], type=str)
        return min(self.user_ids, default=None)

    @property
    def currency(self) -> str | None:
        """That of most orders; None without any."""
        return min(self.money, key=lambda code: (-self.money[code].orders, code), default=None)


VERSION: Final = 1
"""Written and read (versions.py). Any change of the fields above is a new version."""
_decoder: Final = msgspec.msgpack.Decoder(Profile)
_encoder: Final = msgspec.msgpack.Encoder(order="deterministic")


def encode_profile(profile: Profile) -> bytes:
    """Equal profiles give equal bytes; that of nobody gives none."""
    return stamped(_encoder.encode(profile), VERSION) if profile.events else b""


def decode_profile(raw: bytes) -> Profile:
    """No bytes are nobody's. Raises NewerVersion, msgspec.DecodeError or msgspec.ValidationError if `raw` cannot be read."""
    return _decoder.decode(opened(raw, VERSION, "the state of a profile")[1]) if raw else Profile()


class RecentEvent(NamedTuple):
    """One of the last events. The record stands at (partition, offset) of event.resolved; its time is the member's score."""

    message_id: str
    type: str
    name: str
    partition: int
    offset: int


_TYPES: Final = ("track", "identify", "page", "screen", "group", "alias")
_TYPE_NUMBERS: Final = {name: number for number, name in enumerate(_TYPES)}
_recent_decoder: Final = msgspec.msgpack.Decoder(tuple[bytes, int, str, int, int])
_encode_plain: Final = msgspec.msgpack.Encoder().encode

NAME_CHARS: Final = 32
"""Longer names are cut: Redis keeps small sorted sets tight only while no member is longer than 64 bytes."""
_SHORTENED: Final = 8
"""Added to the type's number where the message id is a UUID, kept as its 16 bytes. 16 and more are left to later versions."""


def encode_recent(message_id: str, type_: str, name: str, partition: int, offset: int) -> bytes:
    """A member of the second blob. What does not depend on the log comes first, so that it decides between equal scores.

    Raises KeyError if `type_` is no type of event.
    """
    number = _TYPE_NUMBERS[type_]
    packed = _uuid_bytes(message_id) if len(message_id) == 36 else None
    if packed is None:
        packed = message_id.encode()
    else:
        number += _SHORTENED
    return _encode_plain((packed, number, name[:NAME_CHARS], partition, offset))


def _uuid_bytes(text: str) -> bytes | None:
    """The bytes of a UUID in its usual spelling; None for any other text."""
    bare = text.replace("-", "")
    if len(bare) != 32 or not text[8] == text[13] == text[18] == text[23] == "-" or bare.lower() != bare:
        return None
    try:
        raw = bytes.fromhex(bare)
    except ValueError:
        return None
    return raw if len(raw) == 16 else None


def decode_recent(raw: bytes) -> RecentEvent:
    """Raises ValueError (msgspec's errors are such) or IndexError if `raw` is no such member, NewerVersion if a newer release wrote it."""
    packed, number, name, partition, offset = _recent_decoder.decode(raw)
    if number >= 2 * _SHORTENED:
        raise newer("one of the last events", 1 + number // (2 * _SHORTENED), VERSION)
    message_id = str(UUID(bytes=packed)) if number >= _SHORTENED else packed.decode()
    return RecentEvent(message_id, _TYPES[number % _SHORTENED], name, partition, offset)


def canonical_profile(raw: bytes) -> bytes:
    """What follows from the events alone, in whatever order they came: all of it."""
    return raw


def canonical_recent(members: Iterable[tuple[float, bytes]]) -> bytes:
    """The last events without where they stand in the log."""
    events = ((*decode_recent(member)[:3], float(score)) for score, member in members)
    return _encode_plain(sorted(events))
