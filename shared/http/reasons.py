"""Why a request is not answered as it asks: the value is a problem document's `code`."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from shared.definitions.yaml_text import Problem

RETRY_SECONDS: Final = 2


class Code(StrEnum):
    """Why a request was refused."""

    MISSING_KEY = "missing_key"
    UNKNOWN_KEY = "unknown_key"
    EXPIRED_KEY = "expired_key"
    MISSING_SCOPE = "missing_scope"
    KEYS_NOT_READ = "keys_not_read"
    INVALID_REQUEST = "invalid_request"
    INVALID_CURSOR = "invalid_cursor"
    INVALID_ID = "invalid_id"
    UNKNOWN_PATH = "unknown_path"
    UNKNOWN_PROFILE = "unknown_profile"
    UNKNOWN_SEGMENT = "unknown_segment"
    UNKNOWN_RECORD = "unknown_record"
    UNKNOWN_QUERY_KEY = "unknown_query_key"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    BODY_TOO_LARGE = "body_too_large"
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused"
    LIVE_UNAVAILABLE = "live_unavailable"
    HISTORY_UNAVAILABLE = "history_unavailable"
    HISTORY_INCOMPLETE = "history_incomplete"
    LOG_UNAVAILABLE = "log_unavailable"
    INGEST_UNAVAILABLE = "ingest_unavailable"
    UNKNOWN_REBUILD = "unknown_rebuild"
    WOULD_LOSE = "would_lose"
    WRONG_DEFINITIONS = "wrong_definitions"
    BASE_MOVED = "base_moved"
    APPLY_OVERTAKEN = "apply_overtaken"
    HISTORY_FULL = "history_full"
    UNKNOWN_DEFINITION = "unknown_definition"
    UNKNOWN_VERSION = "unknown_version"
    REPLAY_REFUSED = "replay_refused"
    REPLAY_NOT_SET_UP = "replay_not_set_up"
    QUERY_TOO_LARGE = "query_too_large"
    TOO_BUSY = "too_busy"
    SERVICE_UNAVAILABLE = "service_unavailable"
    BODY_TIMEOUT = "body_timeout"
    INTERNAL_ERROR = "internal_error"


class Refused(Exception):
    """The request is answered with an error. `field`: the parameter at fault. `retry_after`: whole seconds.

    `problems`: what is wrong in definitions.
    """

    def __init__(
        self,
        status: int,
        code: Code,
        message: str,
        field: str | None = None,
        retry_after: int | None = None,
        problems: Sequence[Problem] = (),
    ) -> None:
        super().__init__(message)
        self.problems = tuple(problems)
        self.status, self.code, self.message, self.field, self.retry_after = status, code, message, field, retry_after
