"""The SMTP adapter and TLS: no password goes in clear, and no server is believed whose certificate nobody vouches for."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from deploy.local.ports import HOST, free_port
from services.messaging.adapters.smtp import SmtpProvider, SmtpServer
from services.messaging.domain.outcome import Deferred, Outcome, Sent
from shared.adapters.tls import Tls
from tests.certificates import Authority
from tests.integration.test_dispatcher_smtp import send


class Office:
    """A mail server that lets in whoever gives the password. It would take it in clear."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        pair = self.authority.sign("mail", HOST)
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(pair.certificate, pair.key)
        self.passwords: list[str] = []
        self.got: list[bytes] = []
        self.made: list[SMTP] = []
        self._servers: list[asyncio.Server] = []

    async def open(self, *, starttls: bool = False, tls: bool = False, login: bool = True) -> int:
        """A port of it."""
        loop = asyncio.get_running_loop()
        port = free_port()

        def connection() -> SMTP:
            auth: dict[str, Any] = {"authenticator": self._check, "auth_require_tls": False} if login else {}
            self.made.append(SMTP(self, loop=loop, ident="test", tls_context=self._context if starttls else None, **auth))
            return self.made[-1]

        self._servers.append(await loop.create_server(connection, HOST, port, ssl=self._context if tls else None))
        return port

    def _check(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.passwords.append(data.password.decode())
        return AuthResult(success=data.password == b"p:w", handled=False)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 aiosmtpd's name
        assert isinstance(envelope.content, bytes)
        self.got.append(envelope.content)
        return "250 ok"

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        for one in self.made:
            if one.transport is not None:
                one.transport.abort()
            if one._handler_coroutine is not None:
                one._handler_coroutine.cancel()
                await asyncio.gather(one._handler_coroutine, return_exceptions=True)


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    office = Office(tmp_path)
    yield office
    await office.close()


async def sent_by(url: str, ca_file: Path | None = None) -> Outcome:
    provider = SmtpProvider(SmtpServer.parse(url, 5, 5, Tls(ca_file)), 1)
    try:
        return await send(provider)
    finally:
        await provider.close()


def refusal(outcome: Outcome) -> str:
    """The words of a provider that is away."""
    assert isinstance(outcome, Deferred)
    assert outcome.away
    return outcome.detail


async def test_a_password_is_said_only_after_starttls(office: Office) -> None:
    port = await office.open(starttls=True)
    assert isinstance(await sent_by(f"smtp://me:p%3Aw@{HOST}:{port}", office.authority.certificate), Sent)
    assert office.passwords == ["p:w"]
    assert len(office.got) == 1


async def test_a_server_without_starttls_gets_no_password_and_the_words_say_what_to_set(office: Office) -> None:
    port = await office.open()
    said = refusal(await sent_by(f"smtp://me:p%3Aw@{HOST}:{port}", office.authority.certificate))
    assert f"{HOST}:{port} offers no STARTTLS" in said
    assert "RAPPORT_SMTP_URL" in said
    assert "smtps://" in said
    assert "p:w" not in said
    assert (office.passwords, office.got) == ([], [])


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
async def test_a_server_whose_certificate_nobody_vouches_for_gets_neither_password_nor_mail(office: Office, scheme: str) -> None:
    port = await office.open(starttls=scheme == "smtp", tls=scheme == "smtps")
    said = refusal(await sent_by(f"{scheme}://me:p%3Aw@{HOST}:{port}"))
    assert "CERTIFICATE_VERIFY_FAILED" in said
    assert (office.passwords, office.got) == ([], [])


async def test_smtps_with_a_file_of_authorities(office: Office) -> None:
    port = await office.open(tls=True)
    assert isinstance(await sent_by(f"smtps://me:p%3Aw@{HOST}:{port}", office.authority.certificate), Sent)
    assert office.passwords == ["p:w"]


async def test_a_wrong_password_is_the_installations_trouble(office: Office) -> None:
    port = await office.open(starttls=True)
    assert "535" in refusal(await sent_by(f"smtp://me:wrong@{HOST}:{port}", office.authority.certificate))
    assert office.got == []


@pytest.mark.parametrize("starttls", [False, True])
async def test_without_a_password_starttls_is_taken_where_it_is_offered(office: Office, starttls: bool) -> None:
    port = await office.open(starttls=starttls, login=False)
    assert isinstance(await sent_by(f"smtp://{HOST}:{port}", office.authority.certificate), Sent)
    assert (office.made[-1].session.ssl is not None) is starttls
