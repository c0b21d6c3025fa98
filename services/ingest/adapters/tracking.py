"""The tracking API as a thin ASGI route: from a request to Kafka's acknowledgement to the answer.

No framework in between: per request FastAPI's middleware, routing and response objects cost more than parsing the event, encoding it
and handing it to librdkafka together.
"""

import time
import uuid
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from services.ingest.adapters import answers
from services.ingest.adapters.bodies import Gone, Receive, Scope, Send, read_body
from services.ingest.adapters.keyring import RETRY_SECONDS, Keyring, Source
from services.ingest.adapters.log_writer import LogWriter
from services.ingest.domain import pixels, writekeys
from services.ingest.domain.accept import Frame
from services.ingest.domain.bodies import Taken, plain, take_batch, take_single, write_key_in
from services.ingest.domain.limits import Limits
from services.ingest.domain.paths import CALLS, PIXELS, QUERY_PIXELS, TELEMETRY, TRACKING, allowed
from services.ingest.domain.reasons import Refusal, Refused
from services.ingest.metrics import Metrics
from services.ingest.settings import Settings
from shared.adapters.kafka_producer import Record
from shared.adapters.request_bodies import swallow
from shared.contracts.events import EventType, RejectedEvent
from shared.contracts.ids import DEFAULT_EXTERNAL_KINDS
from shared.contracts.topics import EVENT_RECEIVED, EVENT_REJECTED
from shared.definitions.yaml_text import DefinitionError

_log = structlog.get_logger()
_encode = msgspec.json.Encoder().encode
_RETRY_HEADERS: Final = (b"x-retry-count", b"rsa-retry-attempt")
Answer = tuple[int, answers.Headers, bytes]


def random_message_id() -> str:
    """For an event whose client sent none: such an event cannot be told from its own retry."""
    return f"rapport-{uuid.uuid4().hex}"


class Tracking:
    """Answers every path of paths.TRACKING."""

    def __init__(
        self,
        settings: Settings,
        keyring: Keyring,
        writer: LogWriter,
        metrics: Metrics,
        external_kinds: Callable[[], tuple[str, ...]] = lambda: DEFAULT_EXTERNAL_KINDS,
    ) -> None:
        """`external_kinds` answers the kinds of external id that identify now, strongest first."""
        self._settings, self._keyring, self._writer, self._metrics = settings, keyring, writer, metrics
        self._limits: Limits = settings.limits()
        self._external_kinds = external_kinds

    def answers(self, path: str) -> bool:
        """Whether `path` is one of the tracking API."""
        return path in TRACKING

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Never raises but for cancellation."""
        started = time.perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        origin = headers.get(b"origin")
        try:
            answer = await self._answer(scope, headers, origin, receive)
        except Refused as refused:
            answer = answers.problem(refused, origin)
            if refused.code is Refusal.BODY_TOO_LARGE or refused.code is Refusal.BODY_TIMEOUT:
                answer[1].append((b"connection", b"close"))
            if refused.code is Refusal.BODY_TOO_LARGE:
                await swallow(headers, receive, self._limits.body_bytes, self._settings.body_timeout_seconds)
            self._metrics.refused.labels(refused.code.value).inc()
        except Gone:
            return
        except Exception:
            _log.exception("request_failed", path=scope["path"])
            answer = answers.problem(Refused(500, Refusal.INTERNAL_ERROR, "internal error"), origin)
        status, answer_headers, body = answer
        if status == 200:
            self._metrics.requests_ok.inc()
        else:
            self._metrics.requests.labels(str(status)).inc()
        await send({"type": "http.response.start", "status": status, "headers": answer_headers})
        await send({"type": "http.response.body", "body": body})
        self._metrics.seconds.observe(time.perf_counter() - started)

    async def _answer(self, scope: Scope, headers: dict[bytes, bytes], origin: bytes | None, receive: Receive) -> Answer:
        path, method = scope["path"], scope["method"]
        if method == "POST":
            if path in CALLS:
                await self._call(path, CALLS[path], scope, headers, receive)
                return answers.success(origin)
            if path in TELEMETRY:
                await read_body(headers, receive, self._limits.body_bytes, self._settings.body_timeout_seconds)
                return answers.success(origin)
        elif method == "OPTIONS":
            return 204, answers.preflight(headers), b""
        elif method == "GET" and (path in PIXELS or path in QUERY_PIXELS):
            await self._pixel(path, scope, headers)
            return answers.pixel(origin)
        refused = Refused(405, Refusal.METHOD_NOT_ALLOWED, f"this path answers {allowed(path)}")
        answer = answers.problem(refused, origin)
        answer[1].append((b"allow", allowed(path).encode()))
        return answer

    async def _call(self, path: str, kind: EventType | None, scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> None:
        secret = writekeys.from_basic(headers.get(b"authorization"))
        source = None if secret is None else await self._keyring.source(secret)
        raw = await read_body(headers, receive, self._limits.body_bytes, self._settings.body_timeout_seconds)
        self._metrics.body_bytes.inc(len(raw))
        body = plain(raw, headers.get(b"content-encoding"), self._limits)
        if source is None:
            source = await self._other_source(body, scope, headers)
        frame = self._frame(source, headers)
        await self.publish(path, take_batch(body, frame) if kind is None else take_single(body, frame, kind), frame, source)

    async def _pixel(self, path: str, scope: Scope, headers: dict[bytes, bytes]) -> None:
        query = scope["query_string"]
        by_data = PIXELS.get(path)
        body = pixels.from_parameters(query, self._limits) if by_data is None else pixels.from_data(query)
        secret = writekeys.from_basic(headers.get(b"authorization"))
        source = await (self._other_source(body, scope, headers) if secret is None else self._keyring.source(secret))
        frame = self._frame(source, headers)
        await self.publish(path, take_single(body, frame, by_data or QUERY_PIXELS[path]), frame, source)

    async def _other_source(self, body: bytes, scope: Scope, headers: dict[bytes, bytes]) -> Source:
        """The source where there is no Basic key. Raises Refused."""
        secret = write_key_in(body) or writekeys.from_query(scope["query_string"]) or writekeys.from_bearer(headers.get(b"authorization"))
        if secret is None:
            raise Refused(401, Refusal.MISSING_WRITE_KEY, "no write key: send it as the user name of Basic authentication")
        return await self._keyring.source(secret)

    def _frame(self, source: Source, headers: dict[bytes, bytes]) -> Frame:
        retried = any(headers.get(name, b"0").strip() not in (b"0", b"") for name in _RETRY_HEADERS)
        return self.frame(source.source_id, time.time_ns() // 1_000_000, random_message_id, sent_at_counts=not retried)

    def frame(self, source_id: str, received_at: int, new_id: Callable[[], str], *, sent_at_counts: bool = True) -> Frame:
        """What holds for all calls of one request. Raises Refused (503) if this release cannot read which ids identify."""
        try:
            external_kinds = self._external_kinds()
        except DefinitionError as error:
            message = f"this release cannot read the definitions that hold: {error}"
            raise Refused(503, Refusal.DEFINITIONS_NOT_READ, message, retry_after=RETRY_SECONDS) from error
        return Frame(
            source_id=source_id,
            received_at=received_at,
            new_id=new_id,
            limits=self._limits,
            sent_at_counts=sent_at_counts,
            external_kinds=external_kinds,
            phone_region=self._settings.phone_region,
        )

    async def publish(self, path: str, taken: Taken, frame: Frame, source: Source | None) -> None:
        """Write what became of a body. Raises Refused: over its rate, not stored, or the refusal that `taken` carries."""
        accepted, rejected, around, refusal = taken
        if source is not None:
            wait = source.bucket.take(len(accepted) + len(rejected), time.monotonic())
            if wait:
                message = f"this write key may send {self._settings.rate_per_key:g} events a second"
                raise Refused(429, Refusal.RATE_LIMITED, message, retry_after=max(1, int(wait + 0.999)))
        records = [Record(EVENT_RECEIVED, key, value) for _, key, value in accepted]
        for rejection, original in rejected:
            bad = RejectedEvent(
                reason=rejection.reason.value,
                message=rejection.message,
                field=rejection.field,
                received_at=frame.received_at,
                source_id=frame.source_id,
                path=path,
                original=original,
                around=around,
            )
            records.append(Record(EVENT_REJECTED, frame.source_id.encode(), _encode(bad)))
        await self._writer.write(records)
        self._count(taken, frame)
        if refusal is not None:
            raise refusal

    def _count(self, taken: Taken, frame: Frame) -> None:
        by_kind: dict[EventType, int] = {}
        for event in taken.accepted:
            by_kind[event.type] = by_kind.get(event.type, 0) + 1
        for kind, count in by_kind.items():  # an inc() costs ten times what counting here does
            self._metrics.received[kind].inc(count)
        for rejection, _ in taken.rejected:
            self._metrics.rejected[rejection.reason].inc()
        for name, count in frame.unusable.items():
            self._metrics.unusable_ids.labels(name).inc(count)
