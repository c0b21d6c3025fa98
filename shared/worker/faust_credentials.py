"""The connection to Kafka in the form that Faust and aiokafka want."""

from typing import Any

from faust.auth import SASLCredentials, SSLCredentials

from shared.adapters.kafka_clients import KafkaConnection


def faust_credentials(kafka: KafkaConnection) -> Any:
    """Faust's setting `broker_credentials`; None for a broker that is spoken to in clear and without a password."""
    context = kafka.tls.context() if kafka.protocol.encrypted else None
    if kafka.password is not None:
        return SASLCredentials(
            username=kafka.password.username,
            password=kafka.password.password,
            ssl_context=context,
            mechanism=kafka.password.mechanism.value,
        )
    return SSLCredentials(context) if context is not None else None
