"""The state of stage `resolver` for one typed id: where it leads, and which messages have come under it.

msgpack; the runtime's envelope stands around it (shared/runtime/envelope.py). Written by the resolver, read by query for lookups.
"""

from typing import Final

import msgspec

from shared.contracts.versions import opened, stamped

HASH_BYTES: Final = 8
"""Length of each hash in `asked` and `seen`."""


class Links(msgspec.Struct, array_like=True, gc=False):
    """One typed id's.

    `forward`: the profile it belongs to, for good; that profile may itself have one. None: the id stands for itself, if `had`.
    `had`: events were given to the profile of this very id. `asked`: hashes of what has been asked of other slots. `seen`: (hour of
    log-append time, hashes of (source, message id)), oldest first. `duplicates`: events dropped because they were among these.
    """

    forward: str | None = None
    had: bool = False
    asked: bytes = b""
    seen: list[tuple[int, bytes]] = []
    duplicates: int = 0


VERSION: Final = 1
"""Written and read (versions.py). Any change of the fields above is a new version."""
_decoder: Final = msgspec.msgpack.Decoder(Links)
_encoder: Final = msgspec.msgpack.Encoder()


def encode_links(links: Links) -> bytes:
    """Equal values give equal bytes."""
    return stamped(_encoder.encode(links), VERSION)


def decode_links(raw: bytes) -> Links:
    """No bytes are the state of an unknown id. Raises NewerVersion, msgspec.DecodeError or msgspec.ValidationError if it cannot be read."""
    return _decoder.decode(opened(raw, VERSION, "the state of an id")[1]) if raw else Links()
