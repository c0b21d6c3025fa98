"""What is handed to a provider, and what came of it."""

from dataclasses import dataclass

from services.messaging.domain.reasons import Reason


@dataclass(frozen=True)
class Outgoing:
    """One message ready to go. What is in it only its own channel knows."""

    dispatch_id: str


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
    """It may have been taken or not: nobody can tell. It is handed over again only where the provider knows a message by its id."""

    reason: Reason
    detail: str


@dataclass(frozen=True)
class Deferred:
    """It may be tried again. `away`: the provider as a whole cannot be used now.

    `after_s`: the provider wants no call sooner than so many seconds from now. `in_doubt`: it may have been taken all the same, and another
    call with its id does no harm; else it has certainly not been taken.
    """

    reason: Reason
    detail: str
    away: bool = False
    after_s: float = 0.0
    in_doubt: bool = False


Outcome = Sent | Failed | Unknown | Deferred
