"""Where Kafka is, who this process is to Kafka, and the one place in which clients of Kafka are made.

Every client of librdkafka comes from `Kafka.consumer`, `Kafka.producer` or `Kafka.admin`, so TLS and credentials reach all of them. Faust's
consumers get the same by shared/worker/faust_credentials.py.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import structlog
from confluent_kafka import Consumer, KafkaError, Producer
from confluent_kafka.admin import AdminClient

from shared.adapters.tls import Tls
from shared.contracts.rights import READER_GROUP

TOLD_AGAIN_SECONDS: Final = 30.0
"""A refusal that repeats is logged so often at most: librdkafka tries again for ever."""
REFUSALS: Final = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError._SSL,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)
_log = structlog.get_logger("kafka")


class Protocol(StrEnum):
    """How a broker's listener is spoken to."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"

    @property
    def encrypted(self) -> bool:
        return self in (Protocol.SSL, Protocol.SASL_SSL)

    @property
    def with_password(self) -> bool:
        return self in (Protocol.SASL_PLAINTEXT, Protocol.SASL_SSL)


class Mechanism(StrEnum):
    """How the password is proved."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"


@dataclass(frozen=True, slots=True)
class Password:
    """A user and how it proves itself. Its text never shows the password."""

    mechanism: Mechanism
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class KafkaConnection:
    """A cluster, as one process may speak to it. `bootstrap`: host:port of brokers, comma-separated."""

    bootstrap: str
    protocol: Protocol = Protocol.PLAINTEXT
    password: Password | None = None
    tls: Tls = field(default_factory=Tls)

    def consumer(self, settings: Mapping[str, Any]) -> Consumer:
        """A consumer by librdkafka's `settings`, which say nothing of the connection."""
        return Consumer(self._with_connection(settings))

    def reader(self, settings: Mapping[str, Any]) -> Consumer:
        """A consumer that is given its partitions by hand and commits nothing.

        librdkafka demands a group and asks for its coordinator, so all readers name the one that each process may ask about.
        """
        return self.consumer({**settings, "group.id": READER_GROUP, "enable.auto.commit": False})

    def producer(self, settings: Mapping[str, Any]) -> Producer:
        """A producer, likewise."""
        return Producer(self._with_connection(settings))

    def admin(self, settings: Mapping[str, Any]) -> AdminClient:
        """An administrator, likewise."""
        return AdminClient(self._with_connection(settings))

    def _with_connection(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        heard = _heard(self.bootstrap, self.password.username if self.password else None, settings.get("error_cb"))
        return {**settings, **self.client_settings(), "error_cb": heard}

    def client_settings(self) -> dict[str, Any]:
        """librdkafka's settings of the connection. They hold the password: log nothing of them."""
        found: dict[str, Any] = {"bootstrap.servers": self.bootstrap, "security.protocol": self.protocol.value}
        if self.protocol.with_password and self.password is not None:
            found |= {
                "sasl.mechanism": self.password.mechanism.value,
                "sasl.username": self.password.username,
                "sasl.password": self.password.password,
            }
        if self.protocol.encrypted:
            found |= {
                "ssl.ca.location": self.tls.ca_file,
                "ssl.certificate.location": self.tls.certificate_file,
                "ssl.key.location": self.tls.key_file,
                "ssl.key.password": self.tls.key_password,
                "ssl.endpoint.identification.algorithm": "https" if self.tls.verify_hostname else "none",
            }
        return {name: str(value) for name, value in found.items() if value is not None}


def _heard(bootstrap: str, username: str | None, own: Callable[[KafkaError], None] | None) -> Callable[[KafkaError], None]:
    """Hear a client's errors: what waiting does not mend is logged now and then, whatever the client itself does about errors."""
    told = float("-inf")

    def hear(error: KafkaError) -> None:
        nonlocal told
        if error.code() in REFUSALS and time.monotonic() - told > TOLD_AGAIN_SECONDS:
            told = time.monotonic()
            _log.error("Kafka refuses this process: see RAPPORT_KAFKA_*", bootstrap=bootstrap, user=username, detail=error.str())
        if own is not None:
            own(error)

    return hear
