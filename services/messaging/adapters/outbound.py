"""HTTP calls to addresses that an installation was told of: checked, bounded, and with an answer that says whether anything was written.

A name is resolved once, what it resolves to is checked, and the connection goes to that very address: nobody can point a name at our own
network between the check and the call. No redirects, no proxies, no cookies; what is read has a bound in bytes and in time.
"""

import asyncio
import ipaddress
import logging
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from shared.adapters.tls import Tls

MOST_REPLY_BYTES: Final = 64 * 1024
KEPT_S: Final = 5.0
"""A connection is kept so long for the next call: shorter than most servers keep theirs."""
logging.getLogger("httpx").setLevel(logging.WARNING)  # at level INFO it writes each URL, and with it the key of a robot
_GLOBAL_UNICAST: Final = ipaddress.ip_network("2000::/3")
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_WRITING: Final = "http11.send_request_headers.started"


@dataclass(frozen=True)
class Answer:
    """`whole`: all of the body is there; else it was too large, or broke off."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool = True


@dataclass(frozen=True)
class NotWritten:
    """Certainly nothing of the request was written. `detail` names neither URL nor key."""

    detail: str


@dataclass(frozen=True)
class NoAnswer:
    """The request was written, at least in part, and no answer came."""

    detail: str


@dataclass(frozen=True)
class TooLate:
    """`may_begin` said no; nothing was written."""


Called = Answer | NotWritten | NoAnswer | TooLate


class AddressRefused(Exception):
    """A name leads to an address that must not be called."""


@dataclass(frozen=True)
class Target:
    """Where calls go. `private`: the address may be one of our own network, and the call in clear. Seconds."""

    url: str = field(repr=False)
    private: bool = False
    ca_file: Path | None = None
    connect_s: float = 10.0
    reply_s: float = 20.0
    keeps: bool = True


def checked_url(url: str, *, private: bool) -> str:
    """`url` if it can be called. Raises ValueError; the message does not hold the URL, which may be a secret."""
    try:
        parts = urlsplit(url)
        port_is_good = parts.port is None or parts.port > 0
    except ValueError:
        raise ValueError("expected a URL such as https://example.com/path") from None
    if parts.scheme not in ("https", "http") or not parts.hostname or not port_is_good or not url.isascii() or not url.isprintable():
        raise ValueError("expected a URL such as https://example.com/path")
    if parts.username is not None or parts.fragment:
        raise ValueError("expected a URL without user, password and fragment")
    if parts.scheme == "http" and not private:
        raise ValueError("expected https: in clear only with `private: true`, inside your own network")
    return url


def is_public(address: str) -> bool:
    """Whether an address is one of the public internet, also where it holds another one. Raises ValueError if it is none."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv4Address):
        return found.is_global and not (found.is_multicast or found.is_reserved)
    inner = [found.ipv4_mapped, found.sixtofour, *(found.teredo or ())]
    if found in _NAT64:
        inner.append(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF))
    held = [one for one in inner if one is not None]
    plain = found in _GLOBAL_UNICAST and found.is_global and not found.is_multicast
    return (plain or bool(held)) and all(is_public(str(one)) for one in held)


async def resolved(host: str, port: int, *, private: bool) -> str:
    """One address of `host`, once all of them may be called. Raises AddressRefused and OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(one[4][0]) for one in found]
    if not addresses:
        raise OSError("the name has no address")
    if not private and not all(map(is_public, addresses)):
        raise AddressRefused("its address is not one of the public internet, and its setting does not say `private: true`")
    return addresses[0]


class HttpCaller:
    """Calls one target. Connections are kept for a few seconds if `target.keeps`."""

    def __init__(self, target: Target) -> None:
        self._target = target
        parts = urlsplit(target.url)
        assert parts.hostname is not None
        self._tls, self._host = parts.scheme == "https", parts.hostname
        self._port = parts.port or (443 if self._tls else 80)
        self._netloc = parts.netloc
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._client: httpx.AsyncClient | None = None

    async def post(self, body: bytes, headers: Mapping[str, str], may_begin: Callable[[], bool]) -> Called:
        """Never raises. `may_begin` is asked once the address is known, right before the connection is made or used again."""
        target = self._target
        try:
            async with asyncio.timeout(target.connect_s):
                address = await resolved(self._host, self._port, private=target.private)
            client = self._connected()
        except (OSError, TimeoutError, AddressRefused, UnicodeError) as error:
            return NotWritten(_told(error))
        if not may_begin():
            return TooLate()
        return await self._call(client, address, body, headers)

    async def _call(self, client: httpx.AsyncClient, address: str, body: bytes, headers: Mapping[str, str]) -> Called:
        target, is_written = self._target, False

        async def trace(name: str, info: Any) -> None:
            nonlocal is_written
            is_written |= name == _WRITING

        place = f"[{address}]" if ":" in address else address
        url = f"{'https' if self._tls else 'http'}://{place}:{self._port}{self._path}"
        sent = {"User-Agent": "rapport", "Accept-Encoding": "identity", **headers, "Host": self._netloc}
        extensions = {"trace": trace, "sni_hostname": self._host}
        try:
            async with asyncio.timeout(target.connect_s + target.reply_s):
                async with client.stream("POST", url, content=body, headers=sent, extensions=extensions) as response:
                    return await _read(response)
        except (httpx.HTTPError, OSError, TimeoutError) as error:
            return NoAnswer(_told(error)) if is_written else NotWritten(_told(error))

    def _connected(self) -> httpx.AsyncClient:
        if self._client is None:
            target = self._target
            verify: ssl.SSLContext | bool = Tls(target.ca_file).context() if self._tls else True
            self._client = httpx.AsyncClient(
                verify=verify,
                trust_env=False,
                follow_redirects=False,
                timeout=httpx.Timeout(target.reply_s, connect=target.connect_s),
                limits=httpx.Limits(max_keepalive_connections=None if target.keeps else 0, keepalive_expiry=KEPT_S),
            )
        return self._client

    async def close(self) -> None:
        """Let go of the connections."""
        if self._client is not None:
            await self._client.aclose()


async def _read(response: httpx.Response) -> Answer:
    """The status decides most; a body that is too large or breaks off is told apart."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    body = bytearray()
    try:
        async for part in response.aiter_raw():
            body += part
            if len(body) > MOST_REPLY_BYTES:
                return Answer(response.status_code, headers, bytes(body[:MOST_REPLY_BYTES]), whole=False)
    except (httpx.HTTPError, OSError):
        return Answer(response.status_code, headers, bytes(body), whole=False)
    return Answer(response.status_code, headers, bytes(body))


def _told(error: BaseException) -> str:
    """What happened, without words of others: they may name the URL."""
    match error:
        case AddressRefused():
            return str(error)
        case httpx.HTTPError() if isinstance(error.__cause__, ssl.SSLError) or "certificate" in str(error).lower():
            return f"{type(error).__name__}: TLS"
        case _:
            return type(error).__name__
