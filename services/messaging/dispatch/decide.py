"""What becomes of each message of a batch before anything is sent: go, wait, or end here. Redis is asked once for all."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.messaging.dispatch.ports import Caps, Claim, Known, Outgoing, People
from services.messaging.dispatch.queue import Item
from services.messaging.domain.admission import Admitted, Rules, Suppressed, admit
from services.messaging.domain.mail import Sender, compose, masked
from services.messaging.domain.reasons import Reason
from services.messaging.domain.rendering import NotRendered, render
from shared.contracts.changes import MessageStatus
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

    async def decide(self, items: Sequence[Item], now_ms: int) -> list[Decision]:
        """One decision an item, in order; the item's profile id becomes the one it has now. Raises StoreAway."""
        known = await self.people.read([item.profile_id for item in items])
        decisions = [self._decide(item, known[item.profile_id], now_ms) for item in items]
        wanted = [number for number, decision in enumerate(decisions) if isinstance(decision, Go)]
        granted = await self.caps.claim([claim(items[number], now_ms) for number in wanted]) if wanted else []
        for number, has_place in zip(wanted, granted, strict=True):
            items[number].claimed = has_place
            if not has_place:
                decisions[number] = End(MessageStatus.SUPPRESSED, Reason.CAPPED)
        return decisions

    def _decide(self, item: Item, known: Known | None, now_ms: int) -> Decision:
        request = item.request
        if now_ms >= request.expires_at:
            return End(MessageStatus.EXPIRED, Reason.TOO_LATE)
        if known is None:
            return Wait(Reason.HELD_UP, MERGE_PAUSE_S)
        item.profile_id = known.profile_id
        admitted = admit(request, known.person, self.rules)
        match admitted:
            case Suppressed(reason=reason):
                return End(MessageStatus.SUPPRESSED, reason)
            case Admitted(to=to):
                pass
        locale = request.person.get("locale")
        template = self.templates.pick(request.template, None if locale is None else bytes(locale).decode().strip('"'))
        if template is None or template.head.channel != request.channel:
            return End(MessageStatus.SUPPRESSED, Reason.NO_TEMPLATE, request.template)
        rendered = render(template, request.person, request.segment, now_ms)
        if isinstance(rendered, NotRendered):
            return End(MessageStatus.SUPPRESSED, rendered.reason, rendered.detail)
        content = compose(rendered, self.sender, to, request.dispatch_id, now_ms)
        return Go(Outgoing(request.dispatch_id, self.sender.addr_spec, to, content), masked(to.addr_spec))


def claim(item: Item, now_ms: int) -> Claim:
    """The place under the caps that this message takes."""
    request = item.request
    return Claim(item.profile_id, request.message_class, request.dispatch_id, now_ms, request.cap_messages, request.cap_per)
