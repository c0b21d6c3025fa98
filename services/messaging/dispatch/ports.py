"""What dispatching needs from outside. Real ones stand in adapters, in-memory ones in the tests."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from services.messaging.dispatch.queue import Class
from services.messaging.domain.ledger import Ledger
from services.messaging.domain.outcome import Outcome, Outgoing
from shared.contracts.changes import MessageChanged
from shared.contracts.failed import FailedRecord
from shared.contracts.journey_blob import Person
from shared.contracts.ledger import Checkpoint, LedgerEntry
from shared.runtime.stage import Record


@dataclass(frozen=True)
class Change:
    """One entry for the ledger, with what is told to others in the same transaction, if anything."""

    entry: LedgerEntry
    told: MessageChanged | None = None


@dataclass(frozen=True)
class Page:
    """Records of one partition in order: all that the log holds from where was asked to before offset `end`."""

    records: Sequence[Record]
    end: int


class RequestLog(Protocol):
    """Requests as they stand in the log."""

    async def read(self, partition: int, start: int, one: Class) -> Page:
        """At least one record from offset `start` on, or an `end` beyond it; what one class reads waits for no other. Raises LogAway."""

    async def begins(self, partition: int) -> int:
        """The first offset that the log still holds. Raises LogAway."""


class LedgerLog(Protocol):
    """The ledger of one slot in the log. Raises shared.runtime.ports.Fenced once another process has taken it over, LogAway when Kafka does
    not answer (whether the last call took effect is then unknown, and it may be repeated).
    """

    @property
    def end(self) -> int:
        """The ledger's offset behind the last entry that was read or recorded."""

    async def take_over(self) -> Ledger:
        """Fence every other owner, then read the ledger to its end."""

    async def record(self, changes: Sequence[Change], failed: Sequence[FailedRecord] = ()) -> None:
        """All of it in one transaction: when this returns it is durable, and this process was the owner."""

    async def checkpoint(self, checkpoint: Checkpoint, again: Sequence[LedgerEntry]) -> None:
        """A checkpoint, and entries of messages under way once more, in one transaction."""

    def counted(self, since_ms: int, position: int) -> AsyncGenerator[Sequence[LedgerEntry], None]:
        """Entries from `position` on that are of `since_ms` and later, in order, in pages. Raises LogAway."""

    def close(self) -> None: ...


@dataclass(frozen=True)
class Known:
    """A person as journeys knows them now, and under which id."""

    profile_id: str
    person: Person


class People(Protocol):
    async def read(self, profile_ids: Sequence[str]) -> dict[str, Known | None]:
        """None: a merge of this person is under way, ask again. Raises StoreAway."""


class Caps(Protocol):
    """How many messages a person got, as far as one slot has sent them. Raises StoreAway."""

    async def missing(self) -> int | None:
        """The ledger's offset from which places may be missing; None: what this slot has put there is there."""

    async def restore(self, pages: AsyncIterator[Sequence[LedgerEntry]], end: int) -> None:
        """Put back the places of these entries, in their order, and note that all below offset `end` are there."""

    async def noted(self, end: int) -> None:
        """All entries below offset `end` were claimed before they were recorded."""

    async def claim(self, wanted: Sequence["Claim"]) -> list[bool]:
        """Take a place for each, in order, unless the cap leaves none; a message has one, and counts from its last claim.

        Who had a place and is not granted it again has it no longer.
        Raises StoreAway also if places are missing: see `missing`.
        """

    async def release(self, places: Sequence["Claim"]) -> None: ...


@dataclass(frozen=True)
class Claim:
    """A place for one message among those of `message_class` to this person. `limit` 0: no cap, but it counts."""

    profile_id: str
    message_class: str
    dispatch_id: str
    at: int
    limit: int
    per: int


class Gate(Protocol):
    async def closed(self) -> str | None:
        """Why nothing may be sent now, or None. Raises StoreAway."""


M_contra = TypeVar("M_contra", bound=Outgoing, contravariant=True)


class Provider(Protocol[M_contra]):
    """Hands messages over. Never raises: every end is an Outcome."""

    @property
    def name(self) -> str: ...

    async def send(self, message: M_contra, may_begin: Callable[[], bool]) -> Outcome:
        """`may_begin` is asked at the last moment before anything is said to the provider; no: Deferred, reason HELD_UP."""


class Clock(Protocol):
    def wall_ms(self) -> int: ...
    def steady_s(self) -> float: ...


class Observer:
    """Told what happens; services/messaging/metrics.py counts."""

    def reached(self, channel: str, status: str, reason: str | None) -> None: ...
    def duplicate(self) -> None: ...
    def undecodable(self) -> None: ...
    def gate(self, partition: int, reason: str | None) -> None: ...
    def waiting(self, partition: int, channel: str, message_class: str, in_hand: int, unread: int, put_off: int) -> None: ...
    def provider(self, channel: str, name: str, seconds: float, away: bool) -> None: ...
    def switched_off(self, channel: str, name: str) -> None: ...
    def places(self, channel: str, name: str, used: int, count: int) -> None: ...
    def taken_over(self, partition: int) -> None: ...
    def forgotten(self) -> None: ...
    def lost_to_retention(self, records: int) -> None: ...
    def ledger(self, partition: int, messages: int, size: int) -> None: ...
    def checkpointed(self, partition: int) -> None: ...
