"""Definitions as the log has them: proposed, applied, and told to every partition, also what a process that died left untold."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import structlog

from services.control.domain.applying import Proposal, kinds_of, proposal
from shared.adapters.definition_activations import DefinitionActivations
from shared.adapters.definition_topic import DefinitionTopic
from shared.adapters.definition_writer import BaseMoved, DefinitionWriter, HistoryFull, Overtaken
from shared.adapters.kafka_clients import KafkaConnection
from shared.contracts.definitions import DefinitionRefusal, DefinitionSet
from shared.contracts.key_signature import KeySecrets
from shared.definitions.catalogue import NOTHING_PUBLIC, Catalogue
from shared.definitions.folder import read_texts
from shared.definitions.sets import Name, Order, used_by
from shared.definitions.template import Heads
from shared.http.reasons import RETRY_SECONDS, Code, Refused
from shared.reading.away import LogAway
from shared.reading.pools import Pool
from shared.runtime import ports

T = TypeVar("T")

FOLLOW_SECONDS: Final = 2.0
LOOK_AGAIN_SECONDS: Final = 600.0
"""So often every partition is looked at although no set has come: what stood there may have left the log."""
TRY_AGAIN_SECONDS: Final = 5.0
READING: Final = 1
"""Folders read at a time: it is the work of a processor."""
WAITING: Final = 8
_log = structlog.get_logger("definitions")


class AppliedDefinitions:
    """`topic` is followed by this process. Proposals are read and sets written by a thread each, one at a time."""

    def __init__(self, topic: DefinitionTopic, writer: DefinitionWriter, activations: DefinitionActivations, heads: Heads) -> None:
        """`heads`: the channels that there are."""
        self.topic, self._heads = topic, heads
        self._writer, self._activations = writer, activations
        self._reading = Pool("definitions", "the reader of definitions", READING, WAITING)
        self._writing = Pool("definitions_log", "Kafka", 1, WAITING)
        self._users: tuple[int, Mapping[Name, tuple[Name, ...]]] = (0, {})
        self._catalogue: tuple[int, Catalogue] = (0, NOTHING_PUBLIC)
        self._came = asyncio.Event()
        self._telling: asyncio.Task[None] | None = None

    def catalogue(self) -> Catalogue:
        """Of the newest set; nothing is public without one. Raises DefinitionError."""
        head = self.topic.head
        if head is not None and head.number != self._catalogue[0]:
            files = {path for one in head.definitions if one.kind == Catalogue.kind for path in one.files}
            texts = {path: text for path, text in self.topic.texts(head).items() if path in files}
            self._catalogue = head.number, read_texts(texts).needed(Catalogue).single(Catalogue) or NOTHING_PUBLIC
        return self._catalogue[1]

    async def followed(self) -> DefinitionTopic:
        """The topic, read to the end that it has now. Raises Refused (503)."""
        if not self.topic.read_to_end or not await asyncio.to_thread(self.topic.caught_up, FOLLOW_SECONDS):
            raise Refused(503, Code.LOG_UNAVAILABLE, "the definitions have not been read to their end yet", retry_after=RETRY_SECONDS)
        return self.topic

    async def proposal(self, head: DefinitionSet | None, texts: Mapping[str, str], order: Order) -> Proposal:
        """What `texts` would become on `head`. Raises DefinitionError, Busy."""

        def made() -> Proposal:
            kinds = kinds_of(self.topic.texts(head)) if head is not None else ()
            return proposal(head, texts, order, time.time_ns() // 1_000_000, self._heads, kinds)

        return await self.calculated(made)

    async def calculated(self, work: Callable[[], T]) -> T:
        """What `work` answers, by the thread that reads definitions: it may take seconds, and nobody else waits for it. Raises Busy."""
        return await self._reading.run(work)

    async def users(self, head: DefinitionSet, texts: Mapping[str, str], name: Name) -> tuple[Name, ...]:
        """Who names a definition of the newest set, whose `texts` these are. Raises Busy."""
        if self._users[0] != head.number:
            self._users = (head.number, await self._reading.run(lambda: used_by(read_texts(texts, head.default_locale, heads=self._heads))))
        return self._users[1].get(name, ())

    async def apply(self, wanted: Proposal) -> None:
        """Return when the set is in the log and every partition was told, or will be told by whoever comes next.

        Raises Refused (409, 503), LogAway.
        """
        try:
            await self._writing.run(self._writer.write, wanted.wanted, wanted.texts)
        except BaseMoved as moved:
            raise base_moved(moved.base, moved.head) from moved
        except Overtaken as overtaken:
            raise Refused(503, Code.APPLY_OVERTAKEN, str(overtaken), retry_after=RETRY_SECONDS) from overtaken
        except HistoryFull as full:
            raise Refused(409, Code.HISTORY_FULL, str(full)) from full
        except ports.LogAway as away:
            raise LogAway(str(away)) from away
        try:
            await self._writing.run(self._tell)
        except ports.LogAway as away:
            _log.warning("not every partition was told of the definitions yet", number=wanted.wanted.number, detail=str(away))

    def start(self, on_refused: Callable[[DefinitionRefusal], None] = lambda refusal: None) -> None:
        """Follow the log, and tell what was not told. `on_refused`: as DefinitionTopic.start."""
        loop = asyncio.get_running_loop()

        def came() -> None:
            loop.call_soon_threadsafe(self._came.set)

        self.topic.start(came, on_refused)
        self._telling = asyncio.create_task(self._keep_telling())

    async def stop(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.gather(self._telling, return_exceptions=True)
        for pool in (self._reading, self._writing):
            pool.close()
        await asyncio.to_thread(self.topic.stop)
        await asyncio.to_thread(self._activations.close)

    async def _keep_telling(self) -> None:
        pause = TRY_AGAIN_SECONDS
        while True:
            self._came.clear()
            try:
                done = self.topic.read_to_end and await self._writing.run(self._mend)
                pause = LOOK_AGAIN_SECONDS if done else TRY_AGAIN_SECONDS
            except (ports.LogAway, BaseMoved, Overtaken) as error:
                _log.warning("definitions cannot be told to every partition yet", detail=str(error))
                pause = TRY_AGAIN_SECONDS
            try:
                async with asyncio.timeout(pause):
                    await self._came.wait()
            except TimeoutError:
                continue

    def _mend(self) -> bool:
        """Whether all is as it should be now. Raises LogAway, BaseMoved, Overtaken."""
        told = self._tell()
        if told:
            _log.info("partitions were told of the definitions", partitions=told)
        anew = self._writer.sign_anew()
        if anew:
            _log.info("sets of definitions were signed by the newest secret", sets=anew)
        return True

    def _tell(self) -> int:
        """How many partitions had to be told of the newest set. Raises LogAway."""
        head = self.topic.head
        return 0 if head is None else len(self._activations.complete(head))


def applied_definitions(kafka: KafkaConnection, prefix: str, secrets: KeySecrets, heads: Heads) -> AppliedDefinitions:
    """With clients of its own. `heads`: the channels that there are."""
    topic = DefinitionTopic(kafka, "rapport-control-definitions", secrets)
    writer = DefinitionWriter(kafka, prefix, topic, secrets)
    return AppliedDefinitions(topic, writer, DefinitionActivations(kafka, "rapport-control-definitions"), heads)


def base_moved(base: int, head: int) -> Refused:
    """What is said to whoever has looked at an older set than the newest."""
    what = f"the plan was made on set {base}, and set {head} is the newest by now: look at the plan again, then apply with base {head}"
    return Refused(409, Code.BASE_MOVED, what, "base")
