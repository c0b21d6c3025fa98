"""The outputs of one commit, kept beside the states until the next commit replaces them."""

import msgspec

from shared.runtime.stage import Output


class Outbox(msgspec.Struct, array_like=True):
    """`topic`: the input whose records the outputs without a value pass on."""

    topic: str
    outputs: list[Output]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Outbox)


def encode_outbox(outbox: Outbox) -> bytes:
    return _encoder.encode(outbox)


def decode_outbox(raw: bytes) -> Outbox:
    """Raises msgspec.DecodeError if `raw` is no outbox."""
    return _decoder.decode(raw)
