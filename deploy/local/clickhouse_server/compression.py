"""Content codings of bodies, both ways: gzip and deflate always; lz4 and zstd by the libraries clickhouse-connect brings."""

import zlib
from collections.abc import Callable
from typing import Any, Final, Protocol

import lz4.frame  # type: ignore[import-untyped]
from backports import zstd

from deploy.local.clickhouse_server import errors

GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS


class Coder(Protocol):
    """Turns chunks into chunks, in one direction."""

    def feed(self, chunk: bytes) -> bytes:
        """What is ready after `chunk`; raises ClickHouseError when it is not of this coding."""

    def end(self) -> bytes:
        """The rest. Raises ClickHouseError when the body was cut short."""


class Identity:
    """No coding."""

    def feed(self, chunk: bytes) -> bytes:
        return chunk

    def end(self) -> bytes:
        return b""


class _Decoder:
    def __init__(self, make: Callable[[], Any]) -> None:
        self._make, self._decoder, self._begun = make, make(), False

    def feed(self, chunk: bytes) -> bytes:
        out = []
        try:
            while chunk:
                if self._decoder.eof:  # several members one after the other are one body
                    self._decoder = self._make()
                self._begun = True
                out.append(self._decoder.decompress(chunk))
                chunk = self._decoder.unused_data or b"" if self._decoder.eof else b""
        except (zlib.error, zstd.ZstdError, RuntimeError) as bad:
            raise errors.refused(errors.INCORRECT_DATA, f"The body cannot be decompressed: {bad}.") from None
        return b"".join(out)

    def end(self) -> bytes:
        if self._begun and not self._decoder.eof:
            raise errors.refused(errors.INCORRECT_DATA, "The compressed body ends before its end.")
        return b""


class _Zlib:
    def __init__(self, window: int, level: int) -> None:
        self._coder = zlib.compressobj(level, wbits=window)

    def feed(self, chunk: bytes) -> bytes:
        return self._coder.compress(chunk)

    def end(self) -> bytes:
        return self._coder.flush()


class _Zstd:
    def __init__(self, level: int) -> None:
        self._coder = zstd.ZstdCompressor(level=level)

    def feed(self, chunk: bytes) -> bytes:
        return bytes(self._coder.compress(chunk))

    def end(self) -> bytes:
        return bytes(self._coder.flush())


class _Lz4:
    def __init__(self) -> None:
        self._coder = lz4.frame.LZ4FrameCompressor()
        self._begun = False

    def feed(self, chunk: bytes) -> bytes:
        head = b"" if self._begun else self._coder.begin()
        self._begun = True
        return head + bytes(self._coder.compress(chunk))

    def end(self) -> bytes:
        return self.feed(b"") + bytes(self._coder.flush())


def decoder(coding: str) -> Coder:
    """Undoes a request's Content-Encoding. Raises ClickHouseError for one that is not known."""
    match coding.strip().lower():
        case "" | "identity":
            return Identity()
        case "gzip" | "x-gzip":
            return _Decoder(lambda: zlib.decompressobj(GZIP_WINDOW))
        case "deflate":
            return _Decoder(zlib.decompressobj)
        case "zstd":
            return _Decoder(zstd.ZstdDecompressor)
        case "lz4":
            return _Decoder(lz4.frame.LZ4FrameDecompressor)
        case other:
            raise errors.refused(errors.NOT_IMPLEMENTED, f"Unknown Content-Encoding: {other}.")


def encoder(accepted: str, level: int) -> tuple[str, Coder]:
    """The first coding of `accepted` (an Accept-Encoding header) in the server's order that is known, and its coder."""
    names = {part.split(";")[0].strip().lower() for part in accepted.split(",") if not part.replace(" ", "").endswith(";q=0")}
    if "zstd" in names:
        return "zstd", _Zstd(min(level, 3))
    if "lz4" in names:
        return "lz4", _Lz4()
    if "gzip" in names:
        return "gzip", _Zlib(GZIP_WINDOW, level)
    if "deflate" in names:
        return "deflate", _Zlib(zlib.MAX_WBITS, level)
    return "", Identity()
