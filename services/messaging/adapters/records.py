"""A message of the client as the dispatcher reads it."""

from confluent_kafka import Message

from shared.contracts.topics import MESSAGE_REQUESTED
from shared.runtime.stage import ReadRecord


def record_of(message: Message) -> ReadRecord:
    """A request's record; the message must not be an error."""
    return ReadRecord(
        MESSAGE_REQUESTED,
        message.partition(),
        message.offset(),
        message.timestamp()[1],
        message.key(),
        message.value(),
        message.headers() or (),
    )
