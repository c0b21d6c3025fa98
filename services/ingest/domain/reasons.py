"""Why something was not taken: the value is the metric's label, the rejected record's reason, and a problem's `code`."""

from enum import StrEnum
from typing import NamedTuple


class Reason(StrEnum):
    """Why one event was rejected."""

    MALFORMED_JSON = "malformed_json"
    NOT_AN_OBJECT = "not_an_object"
    TOO_DEEP = "too_deep"
    EVENT_TOO_LARGE = "event_too_large"
    UNKNOWN_TYPE = "unknown_type"
    MISSING_IDENTITY = "missing_identity"
    MISSING_FIELD = "missing_field"
    INVALID_FIELD = "invalid_field"


class Refusal(StrEnum):
    """Why a whole request was refused."""

    MALFORMED_JSON = "malformed_json"
    MALFORMED_GZIP = "malformed_gzip"
    BODY_TOO_LARGE = "body_too_large"
    INFLATED_TOO_LARGE = "inflated_too_large"
    RATIO_TOO_HIGH = "ratio_too_high"
    EMPTY_BATCH = "empty_batch"
    TOO_MANY_EVENTS = "too_many_events"
    BATCH_TOO_LARGE = "batch_too_large"
    INVALID_DATA = "invalid_data"
    MISSING_WRITE_KEY = "missing_write_key"
    UNKNOWN_WRITE_KEY = "unknown_write_key"
    KEYS_NOT_READ = "keys_not_read"
    DEFINITIONS_NOT_READ = "definitions_not_read"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    KAFKA_UNAVAILABLE = "kafka_unavailable"
    BODY_TIMEOUT = "body_timeout"
    UNKNOWN_PATH = "unknown_path"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    INVALID_REQUEST = "invalid_request"
    INTERNAL_ERROR = "internal_error"


class Rejection(NamedTuple):
    """One event that was not accepted. `field` is the client's own name for what is wrong with it."""

    reason: Reason
    message: str
    field: str | None = None


class Refused(Exception):
    """The whole request is answered with an error. `retry_after`: whole seconds."""

    def __init__(self, status: int, code: Refusal | Reason, message: str, field: str | None = None, retry_after: int | None = None):
        super().__init__(message)
        self.status, self.code, self.message, self.field, self.retry_after = status, code, message, field, retry_after
