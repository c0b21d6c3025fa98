"""The channels of one process, opened with its settings: outlets for the dispatcher, and what its desk asks of each."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from services.messaging.channels.endpoints import Loaded
from services.messaging.channels.socket import Channel, Draft, Open, Setup
from services.messaging.dispatch.decide import Go
from services.messaging.dispatch.outlet import Outlet
from services.messaging.dispatch.outlets import Outlets
from services.messaging.dispatch.places import Places
from services.messaging.dispatch.ports import Clock, Observer
from services.messaging.dispatch.queue import Lane
from services.messaging.domain.admission import Reach
from services.messaging.domain.patience import Breaker, Pace, Patience
from services.messaging.domain.rendering import NotRendered, Rendered
from services.messaging.settings import Settings
from shared.contracts.changes import MessageRequested
from shared.definitions.template import TemplateHead


@dataclass(frozen=True)
class Opened:
    """A channel and what it was opened to."""

    channel: Channel
    open: Open[Any]


class OpenChannels:
    """By name. Those of another process have providers, places and breakers of their own."""

    def __init__(self, channels: Mapping[str, Channel], settings: Settings, endpoints: Loaded) -> None:
        self._by_name = {
            name: Opened(channel, channel.open(Setup(settings, endpoints.get(name, {})))) for name, channel in channels.items()
        }

    def __iter__(self) -> Iterator[Opened]:
        return iter(self._by_name.values())

    def of(self, request: MessageRequested) -> Opened | None:
        """The channel of a message; None: it is not there, or the endpoint that the message names is not."""
        opened = self._by_name.get(request.channel)
        return opened if opened is not None and request.endpoint in opened.open.exits else None

    def outlets(self, patience: Patience, clock: Clock, observer: Observer) -> Outlets:
        """One for each way out."""
        found: dict[Lane, Outlet] = {}
        for one in self:
            for to, exit_ in one.open.exits.items():
                breaker = Breaker(patience)
                places = Places(exit_.places, exit_.kept, breaker, Pace(exit_.per_second))
                lane = Lane(one.channel.name, to)
                found[lane] = Outlet(exit_.provider, places, breaker, clock, observer, exit_.bounds, one.channel.repeats, lane.channel)
        return Outlets(found, clock, observer)

    def reach(self, request: MessageRequested) -> Reach | None:
        """As Writing.reach."""
        opened = self.of(request)
        return None if opened is None else opened.channel.reach

    def repeats(self, request: MessageRequested) -> bool:
        """As Writing.repeats."""
        opened = self.of(request)
        return opened is not None and opened.channel.repeats

    def write(self, request: MessageRequested, head: TemplateHead, rendered: Rendered, to: str | None, now_ms: int) -> Go | NotRendered:
        """As Writing.write."""
        opened = self.of(request)
        if opened is None:
            raise LookupError(request.channel)
        made = opened.open.compose(Draft(request, head, rendered, to, now_ms))
        return made if isinstance(made, NotRendered) else Go(made.message, made.to_masked)

    async def close(self) -> None:
        for one in self:
            await one.open.close()
