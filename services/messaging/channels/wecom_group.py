"""The group robot of WeCom: notices to a group chat of staff. It addresses nobody; its key is the only secret.

HTTP 200 is no success: `errcode` decides. There is no id in the answer and no repeat key, so after the request was written only an
answer counts. A robot takes 20 messages a minute. Errors are those that the provider publishes; `unverified` marks one that is not.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Annotated, Final, Literal, assert_never

import msgspec
from pydantic import Field, field_validator, model_validator

from services.messaging.adapters.outbound import Answer, Called, HttpCaller, NoAnswer, NotWritten, Target, TooLate, checked_url
from services.messaging.channels.endpoints import secret_of, trusted
from services.messaging.channels.socket import Channel, Composed, Draft, Endpoint, Exit, Open, Setup, endpoint_bounds
from services.messaging.domain.outcome import Deferred, Failed, Outcome, Outgoing, Sent, Unknown
from services.messaging.domain.reasons import Reason
from services.messaging.domain.rendering import NotRendered
from shared.definitions.models import wrong
from shared.definitions.segment import Name
from shared.definitions.template import TemplateHead

BASE: Final = "https://qyapi.weixin.qq.com/cgi-bin"
MOST_BYTES: Final[Mapping[str, int]] = {"text": 2048, "markdown": 4096}
"""Of `content`, in UTF-8."""
PER_MINUTE: Final = 20
FULL_S: Final = 60.0
"""Pause of a robot that has said that its minute is full."""
_PLAIN: Final = str.maketrans("[]<>*`#", "［］＜＞＊｀＃", "\r\n")
"""Marks of markdown in what people say of themselves become full-width: a name makes no link and no mention in a chat of staff."""


class RobotHead(TemplateHead):
    """`to`: which robot. `mentions`: members by user id, or `@all`, in a text."""

    to: Name
    msgtype: Literal["text", "markdown"] = "text"
    mentions: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=64)], ...], Field(max_length=20)] = ()

    @property
    def endpoint(self) -> str | None:
        return self.to

    @model_validator(mode="after")
    def _mentions_in_texts_only(self) -> "RobotHead":
        if self.mentions and self.msgtype != "text":
            raise wrong("mentions go with `msgtype: text` only")
        return self

    def value(self, said: str) -> str:
        return said.translate(_PLAIN) if self.msgtype == "markdown" else said


class RobotEndpoint(Endpoint):
    """`key_file` holds the part of the robot's URL behind `key=`. `base` is for a server that stands in for WeCom's."""

    key_file: Path
    base: Annotated[str, Field(max_length=500)] = BASE
    private: bool = False
    ca_file: Path | None = None
    per_minute: Annotated[int, Field(ge=1, le=1000)] = PER_MINUTE
    connect_seconds: Annotated[int, Field(ge=1, le=60)] = 10
    reply_seconds: Annotated[int, Field(ge=1, le=60)] = 20

    @model_validator(mode="after")
    def _can_be_called(self) -> "RobotEndpoint":
        try:
            checked_url(self.base, private=self.private)
        except ValueError as error:
            raise wrong(f"base: {error}") from None
        return self

    @field_validator("key_file", "ca_file", mode="before")
    @classmethod
    def _is_path(cls, value: object) -> object:
        return Path(value) if isinstance(value, str) else value

    def load(self, folder: Path) -> "Robot":
        """Raises ValueError."""
        key = secret_of(folder, "key_file", self.key_file)
        if not key.isascii() or not key.replace("-", "").isalnum() or not 8 <= len(key) <= 128:
            raise ValueError("key_file must hold the robot's key: letters, digits and hyphens")
        ca_file = trusted(folder, self.ca_file)
        url = f"{self.base.rstrip('/')}/webhook/send?key={key}"
        return Robot(Target(url, self.private, ca_file, self.connect_seconds, self.reply_seconds, keeps=False), self.per_minute / 60)


@dataclass(frozen=True)
class Robot:
    """A robot with its key. Connections are not kept: whether one that broke had taken the message nobody could say."""

    target: Target = field(repr=False)
    per_second: float


@dataclass(frozen=True)
class Notice(Outgoing):
    """One request ready to go."""

    body: bytes


def compose(draft: Draft) -> Composed[Notice] | NotRendered:
    """JSON made by a serialiser, of at most MOST_BYTES of content."""
    head = draft.head
    assert isinstance(head, RobotHead)
    content = draft.rendered.text.strip()
    if not content:
        return NotRendered(Reason.MISSING_VALUE, "the text is empty")
    if len(content.encode()) > MOST_BYTES[head.msgtype]:
        return NotRendered(Reason.TEMPLATE_FAILED, f"the text is longer than the {MOST_BYTES[head.msgtype]} bytes of a {head.msgtype}")
    said: dict[str, object] = {"content": content}
    if head.mentions:
        said["mentioned_list"] = list(head.mentions)
    body = msgspec.json.encode({"msgtype": head.msgtype, head.msgtype: said})
    return Composed(Notice(draft.request.dispatch_id, body), draft.request.endpoint)


class Says(Enum):
    """What an answer means."""

    TAKEN = auto()
    LATER = auto()
    FULL = auto()
    MEND = auto()
    REFUSED = auto()
    LOST = auto()


ERRCODES: Final[Mapping[int, Says]] = {
    0: Says.TAKEN,
    -1: Says.LATER,  # busy
    45009: Says.FULL,  # more than 20 a minute
    45033: Says.FULL,  # too many at once
    40001: Says.MEND,  # secret
    40014: Says.MEND,  # token
    42001: Says.MEND,  # token has run out
    48002: Says.MEND,  # the interface is not allowed
    60020: Says.MEND,  # our address is not allowed
    93000: Says.MEND,  # no such key; unverified
    301002: Says.MEND,  # no right
    40058: Says.REFUSED,  # a parameter
    40096: Says.REFUSED,
    60111: Says.REFUSED,
    81013: Says.REFUSED,
    82001: Says.REFUSED,
    84061: Says.REFUSED,
}
"""`errcode` in an answer of HTTP 200; any other one is a refusal."""
STATUSES: Final[tuple[tuple[range, Says], ...]] = (
    (range(300, 400), Says.MEND),  # redirects are not followed
    (range(408, 409), Says.LATER),
    (range(429, 430), Says.FULL),
    (range(503, 504), Says.LATER),
    (range(400, 500), Says.MEND),  # path or key, not the message: those refusals come as errcode
)
"""Of other answers; the first that holds. Whatever is not named may come of a proxy, after the message was taken."""


class _Body(msgspec.Struct):
    errcode: int
    errmsg: str = ""


_decoder: Final = msgspec.json.Decoder(_Body)


def outcome_of(called: Called) -> Outcome:
    """What came of a call."""
    match called:
        case TooLate():
            return Deferred(Reason.HELD_UP, "it took too long until the robot could be called")
        case NotWritten(detail=detail):
            return Deferred(Reason.PROVIDER_AWAY, detail, away=True)
        case NoAnswer(detail=detail):
            return Unknown(Reason.REPLY_LOST, detail)
        case Answer():
            return _of_answer(called)
        case other:
            assert_never(other)


def _of_answer(answer: Answer) -> Outcome:
    says, detail = _said(answer)
    match says:
        case Says.TAKEN:
            return Sent()
        case Says.LATER:
            return Deferred(Reason.TRY_LATER, detail)
        case Says.FULL:
            return Deferred(Reason.TRY_LATER, detail, after_s=FULL_S)
        case Says.MEND:
            return Deferred(Reason.PROVIDER_AWAY, detail, away=True)
        case Says.REFUSED:
            return Failed(Reason.REFUSED, detail)
        case Says.LOST:
            return Unknown(Reason.REPLY_LOST, detail)
        case other:
            assert_never(other)


def _said(answer: Answer) -> tuple[Says, str]:
    """The provider's own words stay out of the detail: they may quote the message or the key."""
    if not 200 <= answer.status < 300:
        says = next((says for statuses, says in STATUSES if answer.status in statuses), Says.LOST)
        return says, f"HTTP {answer.status}"
    try:
        body = _decoder.decode(answer.body) if answer.whole else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        body = None
    if body is None:
        return Says.LOST, "an answer that cannot be read"
    return ERRCODES.get(body.errcode, Says.REFUSED), f"errcode {body.errcode}"


class RobotProvider:
    """Calls one robot."""

    def __init__(self, name: str, robot: Robot) -> None:
        self.name = f"wecom_group/{name}"
        self._caller = HttpCaller(robot.target)

    async def send(self, message: Notice, may_begin: Callable[[], bool]) -> Outcome:
        return outcome_of(await self._caller.post(message.body, {"Content-Type": "application/json"}, may_begin))

    async def close(self) -> None:
        await self._caller.close()


def _open(setup: Setup) -> Open[Notice]:
    providers = {name: RobotProvider(name, robot) for name, robot in setup.endpoints.items()}

    async def close() -> None:
        for provider in providers.values():
            await provider.close()

    bounds = endpoint_bounds(setup.settings)
    exits: dict[str | None, Exit[Notice]] = {
        name: Exit(provider, places=1, per_second=setup.endpoints[name].per_second, bounds=bounds) for name, provider in providers.items()
    }
    return Open(compose, exits, close)


WECOM_GROUP: Final = Channel("wecom_group", RobotHead, _open, endpoint=RobotEndpoint)
