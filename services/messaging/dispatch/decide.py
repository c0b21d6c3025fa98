"""What becomes of a message before anything is sent: go, wait, or end here. Redis is asked once for all.

Consent is read, not locked: one round trip reads the people, then a script takes the place under the cap. A script over both would need
the keys of two hash tags and gain nothing, since between any check and the provider's answer lies a network call.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.headerregistry import Address

import msgspec

from services.messaging.dispatch.class_queue import Item
from services.messaging.dispatch.ports import Caps, Claim, Known, Outgoing, People
from services.messaging.domain.admission import Admitted, Rules, Suppressed, admit
from services.messaging.domain.mail import Sender, compose, masked
from services.messaging.domain.reasons import Reason
from services.messaging.domain.rendering import NotRendered, render
from shared.contracts.changes import MessageStatus
from shared.contracts.ledger import LedgerEntry
from shared.definitions.template import Templates


@dataclass(frozen=True)
class Go:
    """Ready to be handed over."""

    mail: Outgoing
    to_masked: str


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

    to: Address


Decision = Go | Wait | End

MERGE_PAUSE_S = 0.5


@dataclass(frozen=True)
class Desk:
    """What decisions rest on."""

    people: People
    caps: Caps
    templates: Templates
    rules: Rules
    sender: Sender
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
        match admit(request, known.person, self.rules):
            case Suppressed(reason=reason):
                return End(MessageStatus.SUPPRESSED, reason)
            case Admitted(to=to):
                return Fit(to)

    def _write(self, item: Item, to: Address, now_ms: int) -> Go | End:
        request = item.request
        template = self.templates.pick(request.template, _text(request.person.get("locale")))
        if template is None or template.head.channel != request.channel:
            return End(MessageStatus.SUPPRESSED, Reason.NO_TEMPLATE, request.template)
        rendered = render(template, request.person, request.segment, now_ms, self.cpu_s)
        if isinstance(rendered, NotRendered):
            return End(MessageStatus.SUPPRESSED, rendered.reason, rendered.detail)
        try:
            content = compose(rendered, self.sender, to, request.dispatch_id, now_ms)
        except Exception as error:  # of text that email.* cannot encode: it concerns this message alone
            return End(MessageStatus.SUPPRESSED, Reason.TEMPLATE_FAILED, f"{template.file}: no e-mail: {type(error).__name__}")
        return Go(Outgoing(request.dispatch_id, self.sender.addr_spec, to, content), masked(to.addr_spec))


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
