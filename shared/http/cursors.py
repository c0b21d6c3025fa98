"""Where the next page of a list begins. Outside, a cursor is one opaque text (adapters/sealing.py); inside, one of these."""

import msgspec


class MemberCursor(msgspec.Struct, array_like=True, frozen=True, tag="m"):
    """After this member of `segment`, in the order (since, profile id)."""

    segment: str
    since: int
    profile_id: str


class RowCursor(msgspec.Struct, array_like=True, frozen=True, tag="r"):
    """After the row with these sort keys, in the list `of` (its name and filters): another list's cursor is refused."""

    of: str
    after: tuple[int | str, ...]


class LogCursor(msgspec.Struct, array_like=True, frozen=True, tag="l"):
    """Older than these offsets: partition -> the first offset that has been shown or passed over."""

    of: str
    before: dict[int, int]


class NameCursor(msgspec.Struct, array_like=True, frozen=True, tag="n"):
    """After this name, in the list `of`."""

    of: str
    after: str


Cursor = MemberCursor | RowCursor | LogCursor | NameCursor

decode_cursor = msgspec.msgpack.Decoder(Cursor).decode
encode_cursor = msgspec.msgpack.Encoder().encode
