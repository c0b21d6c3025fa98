"""What personal data a store holds. Every topic, Redis prefix, ClickHouse table and folder says it; tests find those that do not."""

from dataclasses import dataclass
from enum import StrEnum


class Personal(StrEnum):
    """What a store holds of people, at most.

    none: nothing. ids: ids of people and messages, and what happened to them when; an id of kind e-mail or phone is an address.
    clear: what tells who somebody is, as anybody can read it.
    """

    NONE = "none"
    IDS = "ids"
    CLEAR = "clear"


@dataclass(frozen=True)
class Kept:
    """One store beside the topics: `where` it is, and what it holds."""

    where: str
    personal: Personal
    content: str
