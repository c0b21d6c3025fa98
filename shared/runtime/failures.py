"""Why a batch is thrown away and folded again: which record, timer or state is to blame."""

from dataclasses import dataclass

from shared.contracts.failed import FailureReason


@dataclass(frozen=True, slots=True)
class Failure:
    """`bare`: keep only where the record stands and why; with its bytes the dead letter could not be made."""

    reason: FailureReason
    detail: str
    bare: bool = False


class Poisoned(Exception):
    """The record at `index` of the chunk (offset `offset`) cannot be folded."""

    def __init__(self, index: int, offset: int, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.index = index
        self.offset = offset
        self.failure = failure


class TimerFailed(Exception):
    """The timer of `key` cannot be fired."""

    def __init__(self, key: str, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.key = key
        self.failure = failure


class Unstorable(Exception):
    """The state of `key` cannot be dumped. Which record made it so, a batch finds that is told to watch the key."""

    def __init__(self, key: str, detail: str) -> None:
        super().__init__(f"the state of {key} cannot be stored: {detail}")
        self.key = key

    def watched_too(self, watched: frozenset[str]) -> frozenset[str]:
        """What the next try must watch. Raises this if the key was watched: it could be dumped after each record, so none is to blame."""
        if self.key in watched:
            raise self
        return watched | {self.key}


class Undecodable(Exception):
    """A record that the stage cannot read."""
