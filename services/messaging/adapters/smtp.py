"""E-mail by SMTP: connections that are kept and used in turn; every end of a call is an outcome.

What decides is whether the content had been handed over. Before it: anything may be tried again. After it, without an answer: nobody
knows, and SMTP has no way to ask.
"""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

import aiosmtplib
from aiosmtplib import SMTP, SMTPException, SMTPResponseException, SMTPSenderRefused, SMTPServerDisconnected

from services.messaging.domain.mail import Mail
from services.messaging.domain.outcome import Deferred, Failed, Outcome, Sent, Unknown
from services.messaging.domain.reasons import Reason
from shared.adapters.tls import Tls

NO_FILES: Final = Tls()
NO_STARTTLS: Final = (
    "{}:{} offers no STARTTLS, and the password of RAPPORT_SMTP_URL must not go in clear: "
    "use smtps://, or a server that offers STARTTLS, or take user and password out"
)
NOT_THE_MESSAGE: Final = frozenset({421, 530, 534, 535, 538})
"""The service goes away, or wants a login: said of us, not of one message."""


@dataclass(frozen=True)
class SmtpServer:
    """Where to hand mail over. `smtps://` is TLS from the start; `smtp://` takes STARTTLS if it is offered, and demands it for a password.

    Seconds. `trust`: what TLS checks of the server.
    """

    host: str
    port: int
    tls: bool
    user: str | None
    password: str | None = field(repr=False)
    connect_s: float = 10.0
    reply_s: float = 30.0
    trust: Tls = field(default_factory=Tls)

    @classmethod
    def parse(cls, url: str, connect_s: float = 10.0, reply_s: float = 30.0, trust: Tls = NO_FILES) -> "SmtpServer":
        """`smtp[s]://[user:password@]host[:port]`. Raises ValueError."""
        parts = urlsplit(url)
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
            raise ValueError("expected smtp[s]://[user:password@]host[:port]")
        tls = parts.scheme == "smtps"
        user = None if parts.username is None else unquote(parts.username)
        password = None if parts.password is None else unquote(parts.password)
        if (user is None) != (password is None):
            raise ValueError("expected a user with a password, or neither")
        return cls(parts.hostname, parts.port or (465 if tls else 587), tls, user, password, connect_s, reply_s, trust)


class SmtpProvider:
    """At most `connections` at once, each used by one message at a time."""

    name = "smtp"

    def __init__(self, server: SmtpServer, connections: int = 4) -> None:
        self._server = server
        self._places = asyncio.Semaphore(connections)
        self._idle: list[SMTP] = []
        self._trust: ssl.SSLContext | None = None

    async def send(self, message: Mail, may_begin: Callable[[], bool]) -> Outcome:
        async with self._places:
            client = await self._client()
            if isinstance(client, Deferred):
                return client
            if not may_begin():
                self._idle.append(client)
                return Deferred(Reason.HELD_UP, "it took too long until the provider could be called")
            outcome = await _hand_over(client, message)
            if client.is_connected:
                self._idle.append(client)
            return outcome

    async def close(self) -> None:
        idle, self._idle = self._idle, []
        for client in idle:
            client.close()

    async def _client(self) -> SMTP | Deferred:
        """A connection that has just answered: one that was left idle may have been closed at the other end."""
        while self._idle:
            client = self._idle.pop()
            try:
                await client.rset()
            except (SMTPException, OSError):
                client.close()
            else:
                return client
        server = self._server
        client = SMTP(hostname=server.host, port=server.port, use_tls=server.tls, start_tls=False, timeout=server.reply_s)
        try:
            await self._open(client)
        except (SMTPException, OSError, TimeoutError) as error:  # a wrong password too is the installation's trouble, not the message's
            client.close()
            return Deferred(Reason.PROVIDER_AWAY, _said(error), away=True)
        return client

    async def _open(self, client: SMTP) -> None:
        """Connect, with TLS before any password is said."""
        server = self._server
        if self._trust is None:
            self._trust = server.trust.context()
        await client.connect(timeout=server.connect_s, tls_context=self._trust if server.tls else None)
        await client.ehlo()
        if not server.tls:
            if client.supports_extension("starttls"):
                await client.starttls(tls_context=self._trust)
                await client.ehlo()
            elif server.password is not None:  # whoever is on the way may have taken the offer out
                raise SMTPException(NO_STARTTLS.format(server.host, server.port))
        if server.user is not None and server.password is not None:
            await client.login(server.user, server.password)


async def _hand_over(client: SMTP, mail: Mail) -> Outcome:
    try:
        await client.mail(mail.sender)
        await client.rcpt(mail.to.addr_spec)
    except SMTPSenderRefused as refusal:  # our sender or our login, never this message: nothing is lost by waiting for somebody to mend it
        client.close()
        return Deferred(Reason.PROVIDER_AWAY, _said(refusal), away=True)
    except SMTPResponseException as refusal:
        return _refused(client, refusal)
    except (SMTPException, OSError, TimeoutError) as error:
        client.close()
        return Deferred(Reason.PROVIDER_AWAY, _said(error), away=True)
    try:
        response = await client.data(mail.content)
    except SMTPServerDisconnected as error:
        client.close()
        return Unknown(Reason.REPLY_LOST, _said(error))
    except SMTPResponseException as refusal:  # an answer, to DATA or to the content: it was not taken
        return _refused(client, refusal)
    except (SMTPException, OSError, TimeoutError) as error:
        client.close()
        return Unknown(Reason.REPLY_LOST, _said(error))
    return Sent(_queue_id(response.message))


def _refused(client: SMTP, refusal: SMTPResponseException) -> Outcome:
    """4xx: later; 5xx: never; anything else breaks the protocol, and after a reply that is no refusal nobody knows."""
    said = _said(refusal)
    if refusal.code in NOT_THE_MESSAGE:
        client.close()
        return Deferred(Reason.PROVIDER_AWAY, said, away=True)
    if 400 <= refusal.code < 500:
        return Deferred(Reason.TRY_LATER, said)
    if 500 <= refusal.code < 600:
        return Failed(Reason.REFUSED, said)
    client.close()
    return Unknown(Reason.REPLY_LOST, said)


def _said(error: BaseException) -> str:
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return _writable(f"{error.code} {error.message}"[:500])
    return _writable(f"{type(error).__name__}: {error}"[:500])


def _writable(text: str) -> str:
    """The client hands on bytes that are no UTF-8 as half characters, which no log and no record can hold."""
    return text.encode("utf-8", "backslashreplace").decode()


def _queue_id(message: str) -> str | None:
    """The server's own name of the message, where its reply ends in one (`250 2.0.0 Ok: queued as 4Xy2`)."""
    _, found, rest = message.partition("queued as ")
    return _writable(rest.split()[0].rstrip(".,;")[:100]) if found and rest.split() else None
