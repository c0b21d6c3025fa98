"""The compacted topic of rebuild orders as a list in memory, followed live by a thread of its own."""

import time

import msgspec
from confluent_kafka import Message

from shared.adapters.kafka_clients import KafkaConnection
from shared.adapters.topic_follower import TopicFollower
from shared.contracts.rebuilds import REBUILD_DECODER, Ordered, RebuildChanged, View, holding, ordered
from shared.contracts.topics import REBUILD_CHANGED


class RebuildTopic(TopicFollower):
    """Every order. Read by any thread; written by the follower only."""

    def __init__(self, kafka: KafkaConnection, client_id: str) -> None:
        super().__init__(kafka, client_id, REBUILD_CHANGED)
        self._orders: dict[str, RebuildChanged] = {}

    @property
    def orders(self) -> list[RebuildChanged]:
        """All of them, newest first."""
        return sorted(self._orders.values(), key=lambda order: -order.generation)

    def ordered(self, view: View) -> RebuildChanged | None:
        """The order that holds for a view now."""
        return holding(list(self._orders.values()), view, time.time_ns() // 1_000_000)

    def standing(self, view: View | None) -> Ordered | None:
        """What has been ordered of a view, however long ago; None before the topic has been read to its end."""
        return ordered(self._orders.values(), view) if self.read_to_end else None

    def start(self) -> None:
        """Begin to follow."""
        self.follow()

    def _take(self, message: Message) -> None:
        key, value = message.key(), message.value()
        if value is None:
            gone = key.decode() if key else ""
            self._orders = {name: order for name, order in self._orders.items() if name != gone}
            return
        try:
            order = REBUILD_DECODER.decode(value)
        except msgspec.DecodeError:
            return  # of a newer release: not for this one
        self._orders = {**self._orders, order.id: order}
