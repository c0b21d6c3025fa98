"""What a channel is. Each is one file beside this one and one line in registry.py; README.md says how to add one.

From a channel's file the rest of messaging learns how its templates begin, how it reaches people, what can be set of its endpoints, and,
once it is opened with the settings of a process, how a message is written and who takes it. What is in a message only the channel knows.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from services.messaging.dispatch.class_queue import Bounds
from services.messaging.dispatch.ports import Provider
from services.messaging.domain.admission import Reach
from services.messaging.domain.outcome import Outgoing
from services.messaging.domain.rendering import NotRendered, Rendered
from services.messaging.settings import Settings
from shared.contracts.changes import MessageRequested
from shared.definitions.models import Part
from shared.definitions.template import TemplateHead

M = TypeVar("M", bound=Outgoing)
ONE: Final = None
"""The name of the only way out of a channel without endpoints."""


@dataclass(frozen=True)
class Draft:
    """What a message is written from. `to`: the contact point, of a channel that addresses people. `now_ms`: epoch ms."""

    request: MessageRequested
    head: TemplateHead
    rendered: Rendered
    to: str | None
    now_ms: int


@dataclass(frozen=True)
class Composed(Generic[M]):
    """A message, and to whom it goes as people may see it who need not know."""

    message: M
    to_masked: str | None


@dataclass(frozen=True)
class Exit(Generic[M]):
    """One way out: at most `places` calls at once, of which marketing leaves `kept` free, and `per_second` in all; None: no bound.

    `bounds`: of what waits for it in one slot and class.
    """

    provider: Provider[M]
    places: int
    kept: int = 0
    per_second: float | None = None
    bounds: Bounds = field(default_factory=Bounds)


async def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Open(Generic[M]):
    """A channel as a process uses it. `exits`: by the name of the endpoint, or ONE. `compose` may raise: that fails one message."""

    compose: Callable[[Draft], Composed[M] | NotRendered]
    exits: Mapping[str | None, Exit[M]]
    close: Callable[[], Awaitable[None]] = _nothing


class Endpoint(Part):
    """What the channels file says of one endpoint (endpoints.py). A channel with endpoints has a model of its own."""

    def load(self, folder: Path) -> Any:
        """What the channel is opened with, secrets read: files are named from `folder`. Raises ValueError, which holds no secret."""
        return self


ENDPOINT_HAND: Final = 100
ENDPOINT_HAND_BYTES: Final = 256 * 1024
ENDPOINT_PUT_OFF: Final = 1_000


def endpoint_bounds(settings: Settings) -> Bounds:
    """What may wait for one endpoint in one slot and class: less than for a whole channel, since there may be many."""
    return Bounds(ENDPOINT_HAND, ENDPOINT_HAND_BYTES, min(ENDPOINT_PUT_OFF, settings.dispatch_put_off))


@dataclass(frozen=True)
class Setup:
    """What a channel is opened with: the process's settings, and its own endpoints by name."""

    settings: Settings
    endpoints: Mapping[str, Any]


@dataclass(frozen=True)
class Channel:
    """A kind of message. `repeats`: its providers know a message by its dispatch id, so that a call of which nobody knows what came may be
    made again. `endpoint`: what can be set of each of its endpoints; None: it has none.
    """

    name: str
    head: type[TemplateHead]
    open: Callable[[Setup], Open[Any]]
    usable: Callable[[str], bool] = lambda _: True
    repeats: bool = False
    endpoint: type[Endpoint] | None = None

    @property
    def reach(self) -> Reach:
        return Reach(self.head.contact, self.usable)
