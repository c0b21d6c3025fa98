"""What a worker knows of orders to rebuild."""

from typing import Any

import msgspec

from shared.adapters.kafka_clients import KafkaConnection
from shared.adapters.rebuild_topic import RebuildTopic
from shared.contracts.rebuilds import LIFE_MS, Ordered, RebuildChanged, View


class Told:
    """A message of the topic."""

    def __init__(self, order: RebuildChanged) -> None:
        self._order = order

    def key(self) -> bytes:
        return self._order.id.encode()

    def value(self) -> bytes:
        return msgspec.json.encode(self._order)


def test_the_newest_order_stands_however_old_and_before_all_are_read_nobody_knows_it() -> None:
    topic: Any = RebuildTopic(KafkaConnection("127.0.0.1:1"), "test")
    assert topic.standing(View.PROFILE) is None
    topic._reached_end.set()
    assert topic.standing(View.PROFILE) == Ordered()
    for generation, cancelled_at in ((5, None), (7, None), (9, 10)):
        topic._take(
            Told(
                RebuildChanged(
                    id=str(generation),
                    view=View.PROFILE,
                    generation=generation,
                    asked_at=-LIFE_MS,
                    asked_by="ops",
                    accept_loss=generation != 7,
                    cancelled_at=cancelled_at,
                )
            )
        )
    assert topic.standing(View.PROFILE) == Ordered(7, 5)
    assert topic.ordered(View.PROFILE) is None, "it is too old to be carried out now"
    assert topic.standing(View.MESSAGING) == topic.standing(None) == Ordered()
