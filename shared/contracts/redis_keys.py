"""Every Redis key, built here. Each prefix has one writer: the stage in its hash tag.

| key | type | content |
|---|---|---|
| `{<tag>:<p>}:m` | hash | the slot's meta: owner token, fences, seen causes, clocks, published positions (shared/runtime/meta.py) |
| `{<tag>:<p>}:o` | string | the outbox of the last commit |
| `{<tag>:<p>}:t` | sorted set | timers: key -> due, epoch ms |
| `{<tag>:<p>}:s:<key>` | string | envelope + state blob (shared/runtime/envelope.py) |
| `{<tag>:<p>}:x:<key>` | sorted set | the second blob of a key: folder's last events, by event time |
| `{<tag>:<p>}:i:<index>` | sorted set | an index that the stage keeps for lookups (segment members by since when) |
| `{<tag>:<p>}:i:absorbed:<key>` | sorted set | who were merged into a key, where they are many (shared/runtime/absorbed.py) |
| `{<tag>:<p>}:i:farther:<key>` | sorted set | of a merged key: where its long chain goes on (shared/runtime/farther.py) |
| `{dis:<p>}:n:<class>:<profile>` | sorted set | the dispatcher's, for caps: messages of a class that a person got lately, by when |
| `{dis:<p>}:m` | hash | `caps|<slot>`: what that slot of the dispatcher has left among the caps of this one (messaging/adapters/caps.py) |
"""

from typing import Final

from shared.contracts.personal import Kept, Personal
from shared.contracts.slots import slot

ABSORBED_INDEX: Final = "absorbed:"
"""Prefix of the slot's index of those who were merged into a key, where they are many (shared/runtime/absorbed.py)."""
FARTHER_INDEX: Final = "farther:"
"""Prefix of the slot's index of what the marker of a key was told of a long chain (shared/runtime/farther.py)."""
TAGS: Final = {"resolver": "res", "folder": "pro", "segmentation": "seg", "journeys": "jou", "dispatcher": "dis"}
"""Stage -> the short name in its hash tags."""


def _parts(stage: str, states: Personal, **others: Personal) -> tuple[Kept, ...]:
    """The parts of a stage: meta, outbox (a dead letter in it holds the record), timers, states, and what else it keeps."""
    of = {"m": Personal.NONE, "o": Personal.CLEAR, "t": Personal.IDS, "s": states, **others}
    return tuple(Kept(f"{{{TAGS[stage]}:<p>}}:{part}", personal, f"{stage}: {PARTS[part]}") for part, personal in of.items())


PARTS: Final = {
    "m": "meta",
    "o": "outbox of the last commit",
    "t": "timers",
    "s": "states",
    "x": "last events: ids, types and names",
    "i": "indexes",
    "n": "messages that a person got lately",
}
PREFIXES: Final = (
    *_parts("resolver", Personal.IDS),
    *_parts("folder", Personal.CLEAR, x=Personal.IDS, i=Personal.IDS),
    *_parts("segmentation", Personal.CLEAR, i=Personal.IDS),
    *_parts("journeys", Personal.CLEAR, i=Personal.IDS),
    Kept(f"{{{TAGS['dispatcher']}:<p>}}:m", Personal.NONE, f"dispatcher: {PARTS['m']}"),
    Kept(f"{{{TAGS['dispatcher']}:<p>}}:n", Personal.IDS, f"dispatcher: {PARTS['n']}"),
)
"""What each prefix holds of people. Every key in Redis stands under one of these; a test looks."""


def prefix_of(key: str) -> str:
    """As PREFIXES names it: the key without its partition and what follows the part."""
    tag, _, rest = key.partition("}:")
    return f"{tag.partition(':')[0]}:<p>}}:{rest.partition(':')[0]}"


def slot_prefix(stage: str, partition: int) -> str:
    return f"{{{TAGS[stage]}:{partition}}}:"


COMMIT: Final = "seq"
"""Field of a slot's meta: the number of its last commit."""
LIFE: Final = "lf"
"""Field of a slot's meta: when it last began anew."""
REBUILDING: Final = "rb"
"""Field of a slot's meta: `0` once the slot has passed the end that it noted when it was taken over, `1` until then."""


def meta_key(stage: str, partition: int) -> str:
    return slot_prefix(stage, partition) + "m"


def outbox_key(stage: str, partition: int) -> str:
    return slot_prefix(stage, partition) + "o"


def timers_key(stage: str, partition: int) -> str:
    return slot_prefix(stage, partition) + "t"


def state_key(stage: str, key: str) -> str:
    """Where the state of `key` lives; the slot follows from the key."""
    return f"{slot_prefix(stage, slot(key))}s:{key}"


def side_key(stage: str, key: str) -> str:
    """Where the second blob of `key` lives."""
    return f"{slot_prefix(stage, slot(key))}x:{key}"


def index_key(stage: str, partition: int, index: str) -> str:
    """An index of one slot, such as the members of a segment."""
    return f"{slot_prefix(stage, partition)}i:{index}"


def cap_key(profile: str, message_class: str) -> str:
    """The messages of one class that a person got lately: dispatch id (16 bytes) scored by when, epoch ms."""
    return f"{slot_prefix('dispatcher', slot(profile))}n:{message_class}:{profile}"
