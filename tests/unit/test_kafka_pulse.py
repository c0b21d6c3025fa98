"""Whether Kafka answers: told once it has been silent for a while, and forgotten when it answers."""

import threading

from confluent_kafka import KafkaError, KafkaException

from shared.adapters.kafka_pulse import SILENT_S, KafkaPulse, silence


class Broker:
    def __init__(self) -> None:
        self.stands = threading.Event()

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> object:
        if self.stands.is_set():
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return topic


async def test_silence_counts_from_the_first_question_without_an_answer_and_ends_with_one() -> None:
    broker = Broker()
    pulse = KafkaPulse(broker, "t")
    await pulse.ask()
    assert pulse.silent_s() == 0.0
    broker.stands.set()
    await pulse.ask()
    first = pulse.silent_s()
    await pulse.ask()
    assert pulse.silent_s() > first > 0.0
    broker.stands.clear()
    await pulse.ask()
    assert pulse.silent_s() == 0.0


def test_a_short_silence_is_none() -> None:
    assert silence(SILENT_S) is None
    assert silence(SILENT_S + 1) == "does not answer since 6 s"
