"""The SMTP adapter against a server that misbehaves at each point of the conversation."""

import asyncio
import email
import email.policy
from collections.abc import AsyncIterator
from email.headerregistry import Address

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from deploy.local.ports import HOST, free_port
from services.messaging.adapters.smtp import SmtpProvider, SmtpServer
from services.messaging.domain.mail import Mail, Sender, compose
from services.messaging.domain.outcome import Deferred, Failed, Outcome, Sent, Unknown
from services.messaging.domain.reasons import Reason
from services.messaging.domain.rendering import Rendered

SENDER = Sender.parse("Shop <shop@example.com>")
TO = Address(username="ann", domain="example.com")


class Post:
    """What the server answers; `DROP` closes the connection instead of answering, `HANG` never answers."""

    def __init__(self) -> None:
        self.mail = self.rcpt = "250 ok"
        self.data = "250 2.0.0 Ok: queued as 4Xy2"
        self.got: list[bytes] = []
        self.connections = 0

    async def handle_MAIL(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:  # noqa: N802 aiosmtpd's name
        answer = await self._answer(server, self.mail)
        envelope.mail_from = address
        return answer

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:  # noqa: N802 aiosmtpd's name
        answer = await self._answer(server, self.rcpt)
        envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 aiosmtpd's name
        assert isinstance(envelope.content, bytes)
        if self.data.startswith("2") or self.data in ("DROP", "HANG"):
            self.got.append(envelope.content)
        return await self._answer(server, self.data)

    async def _answer(self, server: SMTP, answer: str) -> str:
        if answer == "DROP":
            server.transport.abort()
        if answer == "HANG":
            await asyncio.Event().wait()
        return answer


@pytest.fixture
def post() -> Post:
    return Post()


@pytest.fixture
async def provider(post: Post) -> AsyncIterator[SmtpProvider]:
    loop = asyncio.get_running_loop()
    made: list[SMTP] = []

    def connection() -> SMTP:
        post.connections += 1
        made.append(SMTP(post, loop=loop, ident="test"))
        return made[-1]

    port = free_port()
    server = await loop.create_server(connection, HOST, port)
    provider = SmtpProvider(SmtpServer.parse(f"smtp://{HOST}:{port}", connect_s=5, reply_s=0.5), connections=2)
    yield provider
    await provider.close()
    server.close()
    for one in made:
        if one.transport is not None:
            one.transport.abort()
        if one._handler_coroutine is not None:
            one._handler_coroutine.cancel()
            await asyncio.gather(one._handler_coroutine, return_exceptions=True)
    await server.wait_closed()


def outgoing(number: int = 1) -> Mail:
    content = compose(Rendered({"subject": "Grüße 你好"}, "你好\n.\nend", "<p>你好</p>"), SENDER, TO, f"{number:032x}", 1_700_000_000_000)
    return Mail(f"{number:032x}", SENDER.addr_spec, TO, content)


async def send(provider: SmtpProvider, number: int = 1) -> Outcome:
    return await provider.send(outgoing(number), lambda: True)


async def test_a_message_arrives_whole_with_an_id_made_of_its_dispatch_id(provider: SmtpProvider, post: Post) -> None:
    assert await send(provider) == Sent("4Xy2")
    message = email.message_from_bytes(post.got[0], policy=email.policy.default)
    assert message["Message-ID"] == f"<{1:032x}@example.com>"
    assert message["Subject"] == "Grüße 你好"
    assert message["From"] == "Shop <shop@example.com>"
    assert message["List-Unsubscribe"] is None
    text, html = (message.get_body((kind,)) for kind in ("plain", "html"))
    assert text is not None
    assert text.get_content().splitlines() == ["你好", ".", "end"]
    assert html is not None
    assert html.get_content().splitlines() == ["<p>你好</p>"]
    assert post.got[0].isascii()


async def test_a_connection_is_used_again_and_made_anew_when_it_was_closed(provider: SmtpProvider, post: Post) -> None:
    for number in range(5):
        assert isinstance(await send(provider, number), Sent)
    assert post.connections == 1
    post.rcpt = "DROP"
    assert isinstance(await send(provider), Deferred)
    post.rcpt = "250 ok"
    assert isinstance(await send(provider), Sent)
    assert post.connections == 2


async def test_at_most_so_many_connections_are_open_at_once(provider: SmtpProvider, post: Post) -> None:
    outcomes = await asyncio.gather(*(send(provider, number) for number in range(20)))
    assert all(isinstance(outcome, Sent) for outcome in outcomes)
    assert len(post.got) == 20
    assert post.connections <= 2


@pytest.mark.parametrize("answer", ["DROP", "HANG"])
async def test_a_reply_lost_after_the_content_is_unknown(provider: SmtpProvider, post: Post, answer: str) -> None:
    post.data = answer
    outcome = await send(provider)
    assert isinstance(outcome, Unknown)
    assert outcome.reason is Reason.REPLY_LOST
    assert len(post.got) == 1


@pytest.mark.parametrize(
    ("step", "answer", "expected", "away"),
    [
        ("mail", "451 try later", Deferred, True),
        ("mail", "530 log in first", Deferred, True),
        ("mail", "DROP", Deferred, True),
        ("mail", "HANG", Deferred, True),
        ("rcpt", "450 greylisted", Deferred, False),
        ("rcpt", "421 going away", Deferred, True),
        ("rcpt", "550 no such user", Failed, None),
        ("rcpt", "DROP", Deferred, True),
        ("data", "452 full", Deferred, False),
        ("data", "554 looks like spam", Failed, None),
    ],
)
async def test_what_was_certainly_not_taken_is_put_off_or_failed(
    provider: SmtpProvider, post: Post, step: str, answer: str, expected: type[Outcome], away: bool | None
) -> None:
    setattr(post, step, answer)
    outcome = await send(provider)
    assert isinstance(outcome, expected)
    assert post.got == []
    if isinstance(outcome, Deferred):
        assert outcome.away is away
    setattr(post, step, "250 ok")
    assert isinstance(await send(provider), Sent)


async def test_a_server_that_is_not_there_is_away() -> None:
    provider = SmtpProvider(SmtpServer.parse(f"smtp://{HOST}:{free_port()}"))
    outcome = await send(provider)
    assert isinstance(outcome, Deferred)
    assert outcome.away
    await provider.close()


async def test_nothing_is_said_to_the_server_once_it_is_too_late(provider: SmtpProvider, post: Post) -> None:
    outcome = await provider.send(outgoing(), lambda: False)
    assert outcome == Deferred(Reason.HELD_UP, "it took too long until the provider could be called")
    assert post.got == []
    assert isinstance(await send(provider), Sent)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mail.example.com", ("mail.example.com", 587, False, None, None)),
        ("smtps://me%40x:p%3Aw@mail.example.com", ("mail.example.com", 465, True, "me@x", "p:w")),
        ("smtp://127.0.0.1:8025", ("127.0.0.1", 8025, False, None, None)),
    ],
)
def test_the_address_of_the_server_is_read(url: str, expected: tuple[str, int, bool, str | None, str | None]) -> None:
    server = SmtpServer.parse(url)
    assert (server.host, server.port, server.tls, server.user, server.password) == expected


@pytest.mark.parametrize("url", ["mail.example.com", "http://mail.example.com", "smtp://"])
def test_a_wrong_address_of_the_server_is_said(url: str) -> None:
    with pytest.raises(ValueError, match="expected smtp"):
        SmtpServer.parse(url)
