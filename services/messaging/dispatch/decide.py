"""What becomes of a message before anything is sent: go, wait, or end here. Redis is asked once for all.

Consent is read, not locked: one round trip reads the people, then a script takes the place under the cap. A script over both would need
the keys of two hash tags and gain nothing, since between any check and the provider's answer lies a network call.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from services.messaging.dispatch.class_queue import Item
from services.messaging.dispatch.ports import Caps, Claim, Known, People
from services.messaging.domain.admission import Admitted, Reach, Rules, Suppressed, admit
from services.messaging.domain.outcome import Outgoing
from services.messaging.domain.reasons import Reason
from services.messaging.domain.rendering import NotRendered, Rendered, render
from shared.contracts.changes import MessageRequested, MessageStatus
from shared.contracts.ledger import LedgerEntry
from shared.definitions.template import TemplateHead, Templates


@dataclass(frozen=True)
class Go:
    """Ready to be handed over."""

    message: Outgoing
    to_masked: str | None


@dataclass(frozen=True)
class Wait:
    reason: Reason
    seconds: float


@dataclass(frozen=True)
class End:
    """Final, without the provider. `detail` is for the log."""

    status: MessageStatus
    reason: Reason
    detail: str = ""


@dataclass(frozen=True)
class Fit:
    """Nothing is in its way but caps and its template, which are looked at once there is a place for it."""

    to: str | None


Decision = Go | Wait | End

MERGE_PAUSE_S = 0.5


@dataclass(frozen=True)
class Rulebook:
    """What definitions say of sending."""

    templates: Templates
    rules: Rules


class Writing(Protocol):
    """The channels, as far as decisions need them."""

    def reach(self, request: MessageRequested) -> Reach | None:
        """How the message's channel reaches people; None: the channel is not there, or the endpoint that the message names is not."""

    def repeats(self, request: MessageRequested) -> bool:
        """Whether the message may be handed over twice with the same id."""

    def write(self, request: MessageRequested, head: TemplateHead, rendered: Rendered, to: str | None, now_ms: int) -> Go | NotRendered:
        """The message. Raises whatever its channel raises of what it cannot write."""


@dataclass(frozen=True)
class Desk:
    """What decisions rest on. `rulebook` answers the definitions of now, which may change while the process runs, or raises StoreAway."""

    people: People
    caps: Caps
    rulebook: Callable[[], Rulebook]
    channels: Writing
    cpu_s: Callable[[], float] = time.thread_time
    """Not the clock on the wall: a machine that is busy elsewhere must not make a message fail."""

    async def look_at(self, items: Sequence[Item], now_ms: int) -> list[Fit | Wait | End]:
        """One answer an item, in order; the item's profile id becomes the one it has now. Raises StoreAway."""
        known = await self.people.read([item.profile_id for item in items])
        return [self._look_at(item, known[item.profile_id], now_ms) for item in items]

    async def prepare(self, fit: Sequence[tuple[Item, Fit]], now_ms: int) -> list[Go | End]:
        """Take places under caps and write the messages: one answer an item, in order. Raises StoreAway."""
        made = [self._write(item, found.to, now_ms) for item, found in fit]
        wanted = [number for number, one in enumerate(made) if isinstance(one, Go)]
        granted = await self.caps.claim([claim(fit[number][0], now_ms) for number in wanted]) if wanted else []
        for number, has_place in zip(wanted, granted, strict=True):
            fit[number][0].claimed_at = now_ms if has_place else None
            if not has_place:
                made[number] = End(MessageStatus.SUPPRESSED, Reason.CAPPED)
        return made

    def _look_at(self, item: Item, known: Known | None, now_ms: int) -> Fit | Wait | End:
        request = item.request
        if now_ms >= request.expires_at:
            return End(MessageStatus.EXPIRED, Reason.TOO_LATE)
        if known is None:
            return Wait(Reason.HELD_UP, MERGE_PAUSE_S)
        item.profile_id = known.profile_id
        match admit(request, known.person, self.rulebook().rules, self.channels.reach(request)):
            case Suppressed(reason=reason):
                return End(MessageStatus.SUPPRESSED, reason)
            case Admitted(to=to):
                return Fit(to)

    def _write(self, item: Item, to: str | None, now_ms: int) -> Go | End:
        """A message that may be handed over again is written the same each time: as of when it was asked for."""
        request = item.request
        at = request.requested_at if self.channels.repeats(request) else now_ms
        template = self.rulebook().templates.pick(request.template, _text(request.person.get("locale")))
        if template is None or template.head.channel != request.channel:
            return End(MessageStatus.SUPPRESSED, Reason.NO_TEMPLATE, request.template)
        rendered = render(template, request.person, request.segment, at, self.cpu_s)
        if isinstance(rendered, NotRendered):
            return End(MessageStatus.SUPPRESSED, rendered.reason, rendered.detail)
        try:
            written = self.channels.write(request, template.head, rendered, to, at)
        except Exception as error:  # of text that email.* cannot encode: it concerns this message alone
            return End(MessageStatus.SUPPRESSED, Reason.TEMPLATE_FAILED, f"{template.file}: not written: {type(error).__name__}")
        if isinstance(written, NotRendered):
            return End(MessageStatus.SUPPRESSED, written.reason, f"{template.file}: {written.detail}")
        return written


def _text(raw: msgspec.Raw | None) -> str | None:
    """A trait that is a text, else None."""
    try:
        return None if raw is None else msgspec.json.decode(raw, type=str)
    except ValueError:  # msgspec's own, and of bytes that are no UTF-8
        return None


def claim(item: Item, now_ms: int) -> Claim:
    """The place under the caps that this message takes."""
    request = item.request
    return Claim(item.profile_id, request.message_class, request.dispatch_id, now_ms, request.cap_messages, request.cap_per)


def place_of(entry: LedgerEntry) -> Claim:
    """The place under the caps that a message has taken, to give it back."""
    return Claim(entry.profile_id, entry.message_class, entry.dispatch_id, 0, 0, 0)
