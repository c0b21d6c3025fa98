"""Whether it is worth trying Kafka: after a failure or a stall callers hear 503 at once instead of waiting in vain.

Pure: seconds of a monotonic clock are passed in.
"""


class Circuit:
    """Closed (work flows), or open (refuse). A delivery closes it; so does a probe that is answered while nothing hangs."""

    __slots__ = ("is_open", "stall_seconds", "why")

    def __init__(self, stall_seconds: float) -> None:
        self.stall_seconds = stall_seconds
        self.is_open = False
        self.why = ""

    def delivered(self) -> bool:
        """Kafka has acknowledged something. Whether that closed the circuit."""
        closed, self.is_open = self.is_open, False
        return closed

    def failed(self, why: str) -> None:
        """A delivery has failed for good."""
        self.is_open, self.why = True, why

    def waiting(self, seconds: float) -> None:
        """Records have been in flight for `seconds` without any acknowledgement."""
        if seconds >= self.stall_seconds:
            self.is_open, self.why = True, f"no acknowledgement for {self.stall_seconds} s"

    def probed(self, answered: bool, waiting_seconds: float) -> None:
        """A metadata request was answered or not. An answer alone says little while records hang."""
        if not answered:
            self.is_open, self.why = True, "no answer to a metadata request"
        elif waiting_seconds < self.stall_seconds:
            self.is_open = False
