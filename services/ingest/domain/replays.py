"""Replaying a rejected event twice must count once."""

import hashlib
import itertools
from collections.abc import Callable


def replayed_message_id(record: bytes) -> Callable[[], str]:
    """Message ids for events that came without one: the same for the same record, so that the resolver drops a second replay."""
    digest = hashlib.blake2b(record, digest_size=16).hexdigest()
    counter = itertools.count()
    return lambda: f"replay-{digest}-{next(counter)}"
