"""What came of handing one message to a provider."""

from dataclasses import dataclass

from services.messaging.domain.reasons import Reason


@dataclass(frozen=True)
class Sent:
    """The provider has taken responsibility for it. `provider_message_id`: its own name for it, if it gave one."""

    provider_message_id: str | None = None


@dataclass(frozen=True)
class Failed:
    """The provider said no, for good."""

    reason: Reason
    detail: str


@dataclass(frozen=True)
class Unknown:
    """It may have been taken or not: nobody can tell, and it must not be handed over again."""

    reason: Reason
    detail: str


@dataclass(frozen=True)
class Deferred:
    """It has certainly not been taken, and may be tried again. `away`: the provider as a whole cannot be used now."""

    reason: Reason
    detail: str
    away: bool = False


Outcome = Sent | Failed | Unknown | Deferred
