"""Why a message went no further, or waits: the value stands in the ledger, in message.changed and in the metric's label."""

from enum import StrEnum


class Reason(StrEnum):
    """The first group: not sent. The second: the provider would not. The third: nobody can know. The fourth: it waits."""

    NO_CONSENT = "no_consent"
    CAPPED = "capped"
    UNREACHABLE = "unreachable"
    MISSING_VALUE = "missing_value"
    TEMPLATE_FAILED = "template_failed"
    NO_TEMPLATE = "no_template"
    NO_PROVIDER = "no_provider"
    TOO_LATE = "too_late"
    REQUEST_GONE = "request_gone"

    REFUSED = "refused"
    ENDPOINT_GONE = "endpoint_gone"

    REPLY_LOST = "reply_lost"
    CRASHED = "crashed"

    PROVIDER_AWAY = "provider_away"
    TRY_LATER = "try_later"
    HELD_UP = "held_up"
