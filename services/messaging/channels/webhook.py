"""Signed webhooks to endpoints of an installation, by Standard Webhooks (`webhook-id`, `webhook-timestamp`, `webhook-signature` v1).

The body is JSON of a fixed shape, made by a serialiser: what a template yields, and with it what people say of themselves, is a value in it
and cannot become anything else. `webhook-id` is the dispatch id, by which the receiver drops repeats, so a call may be made again.
"""

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from pathlib import Path
from typing import Annotated, ClassVar, Final, assert_never

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

MOST_BODY_BYTES: Final = 512 * 1024
LONGEST_RETRY_AFTER_S: Final = 3600.0
MOST_FIELDS: Final = 50
KEY_PREFIX: Final = "whsec_"
FieldName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,62}$")]


class WebhookHead(TemplateHead):
    """`to`: which endpoint. `type`: of the event, as the receiver tells them apart. `fields`: further values, Liquid each; the text below
    the front matter becomes `message`.
    """

    to: Name
    type: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$", max_length=128)] = "journey.message"
    fields: Annotated[dict[FieldName, Annotated[str, Field(max_length=2000)]], Field(max_length=MOST_FIELDS, default_factory=dict)]

    SEPARATOR: ClassVar[str] = "fields."

    @property
    def endpoint(self) -> str | None:
        return self.to

    def liquid(self) -> Mapping[str, str]:
        return {f"{self.SEPARATOR}{name}": source for name, source in self.fields.items()}


class WebhookEndpoint(Endpoint):
    """`secret_file` holds a key `whsec_…`, or two (one a line) while the receiver changes from the one to the other: both sign.

    `private`: the address may be one of one's own network, and the URL http.
    """

    url: Annotated[str, Field(max_length=2000)]
    secret_file: Path
    private: bool = False
    ca_file: Path | None = None
    connections: Annotated[int, Field(ge=1, le=50)] = 4
    per_minute: Annotated[int, Field(ge=1, le=600_000)] | None = None
    connect_seconds: Annotated[int, Field(ge=1, le=60)] = 10
    reply_seconds: Annotated[int, Field(ge=1, le=60)] = 20

    @model_validator(mode="after")
    def _can_be_called(self) -> "WebhookEndpoint":
        try:
            checked_url(self.url, private=self.private)
        except ValueError as error:
            raise wrong(f"url: {error}") from None
        return self

    @field_validator("secret_file", "ca_file", mode="before")
    @classmethod
    def _is_path(cls, value: object) -> object:
        return Path(value) if isinstance(value, str) else value

    def load(self, folder: Path) -> "Receiver":
        """Raises ValueError."""
        keys = tuple(map(signing_key, secret_of(folder, "secret_file", self.secret_file).split()))
        if not 1 <= len(keys) <= 2:
            raise ValueError("secret_file must hold one key, or two while they are changed")
        ca_file = trusted(folder, self.ca_file)
        target = Target(self.url, self.private, ca_file, self.connect_seconds, self.reply_seconds)
        return Receiver(target, keys, self.connections, None if self.per_minute is None else self.per_minute / 60)


@dataclass(frozen=True)
class Receiver:
    """An endpoint with its keys."""

    target: Target
    keys: tuple[bytes, ...] = field(repr=False)
    connections: int
    per_second: float | None


def signing_key(text: str) -> bytes:
    """The bytes of `whsec_…`. Raises ValueError, which does not hold the key."""
    try:
        key = base64.b64decode(text.removeprefix(KEY_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith(KEY_PREFIX) or not 24 <= len(key) <= 64:
        raise ValueError("secret_file must hold a key such as whsec_ and the base64 of 24 to 64 random bytes")
    return key


def signature(keys: tuple[bytes, ...], message_id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`: one v1 for each key."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return " ".join(f"v1,{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}" for key in keys)


@dataclass(frozen=True)
class Hook(Outgoing):
    """One request ready to go."""

    body: bytes


def compose(draft: Draft) -> Composed[Hook] | NotRendered:
    """Equal drafts give equal bytes: a repeat is the same request."""
    head, request = draft.head, draft.request
    assert isinstance(head, WebhookHead)
    separator = WebhookHead.SEPARATOR
    data = {
        "profile_id": request.profile_id,
        "journey": request.journey,
        "step": request.step,
        "segment": request.segment,
        "template": request.template,
        "message": draft.rendered.text.strip(),
        "fields": {name.removeprefix(separator): value for name, value in draft.rendered.fields.items()},
    }
    at = datetime.fromtimestamp(request.requested_at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    body = msgspec.json.encode({"type": head.type, "timestamp": at, "data": data})
    if len(body) > MOST_BODY_BYTES:
        return NotRendered(Reason.TEMPLATE_FAILED, f"the body is larger than {MOST_BODY_BYTES} bytes")
    return Composed(Hook(request.dispatch_id, body), request.endpoint)


class Says(Enum):
    """What an answer means."""

    TAKEN = auto()
    LATER = auto()
    AGAIN = auto()
    MEND = auto()
    GONE = auto()
    REFUSED = auto()


ANSWERS: Final[tuple[tuple[range, Says], ...]] = (
    (range(200, 300), Says.TAKEN),
    (range(300, 400), Says.MEND),  # moved: redirects are not followed, the setting must be mended
    (range(408, 409), Says.LATER),
    (range(410, 411), Says.GONE),
    (range(425, 426), Says.LATER),
    (range(429, 430), Says.LATER),
    (range(503, 504), Says.LATER),
    (range(400, 500), Says.REFUSED),
    (range(500, 600), Says.AGAIN),  # perhaps of a proxy, after the receiver has taken it
)
"""Status -> what it means; the first that holds."""


def outcome_of(called: Called, now_s: float) -> Outcome:
    """What came of a call. `now_s`: seconds since 1970, for a Retry-After that is a date."""
    match called:
        case TooLate():
            return Deferred(Reason.HELD_UP, "it took too long until the endpoint could be called")
        case NotWritten(detail=detail):
            return Deferred(Reason.PROVIDER_AWAY, detail, away=True)
        case NoAnswer(detail=detail):
            return Unknown(Reason.REPLY_LOST, detail)
        case Answer(status=status, headers=headers):
            detail = f"HTTP {status}"
            match next((says for statuses, says in ANSWERS if status in statuses), Says.AGAIN):
                case Says.TAKEN:
                    return Sent()
                case Says.LATER:
                    return Deferred(Reason.TRY_LATER, detail, after_s=retry_after(headers.get("retry-after"), now_s))
                case Says.MEND:
                    return Deferred(Reason.PROVIDER_AWAY, f"{detail}: redirects are not followed", away=True)
                case Says.AGAIN:
                    return Unknown(Reason.REPLY_LOST, detail)
                case Says.GONE:
                    return Failed(Reason.ENDPOINT_GONE, detail)
                case Says.REFUSED:
                    return Failed(Reason.REFUSED, detail)
                case other:
                    assert_never(other)


def retry_after(value: str | None, now_s: float) -> float:
    """Seconds to wait, by a header of seconds or a date; 0 if there is none that can be read."""
    if value is None:
        return 0.0
    try:
        seconds = float(value) if value.strip().isascii() and value.strip().isdigit() else parsedate_to_datetime(value).timestamp() - now_s
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return min(max(0.0, seconds), LONGEST_RETRY_AFTER_S)


class WebhookProvider:
    """Calls one endpoint."""

    def __init__(self, name: str, receiver: Receiver, clock_s: Callable[[], float] = time.time) -> None:
        self.name = f"webhook/{name}"
        self._keys, self._clock_s = receiver.keys, clock_s
        self._caller = HttpCaller(receiver.target)

    async def send(self, message: Hook, may_begin: Callable[[], bool]) -> Outcome:
        timestamp = int(self._clock_s())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": message.dispatch_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(self._keys, message.dispatch_id, timestamp, message.body),
        }
        return outcome_of(await self._caller.post(message.body, headers, may_begin), self._clock_s())

    async def close(self) -> None:
        await self._caller.close()


def _open(setup: Setup) -> Open[Hook]:
    providers = {name: WebhookProvider(name, receiver) for name, receiver in setup.endpoints.items()}

    async def close() -> None:
        for provider in providers.values():
            await provider.close()

    exits: dict[str | None, Exit[Hook]] = {
        name: Exit(
            provider,
            setup.endpoints[name].connections,
            kept=min(1, setup.endpoints[name].connections - 1),
            per_second=setup.endpoints[name].per_second,
            bounds=endpoint_bounds(setup.settings),
        )
        for name, provider in providers.items()
    }
    return Open(compose, exits, close)


WEBHOOK: Final = Channel("webhook", WebhookHead, _open, repeats=True, endpoint=WebhookEndpoint)
