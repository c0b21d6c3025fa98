"""Whether the history in ClickHouse is whole."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Standing:
    """`lost`: what is missing and what to do. `left`: records that a rebuild has still to read of `all`.

    `gap`: rows are missing until they are read.
    """

    lost: str | None = None
    left: int = 0
    all: int = 0
    gap: bool = False

    @property
    def hole(self) -> str | None:
        """Why an answer could lack rows; None if it cannot."""
        if self.lost is not None:
            return self.lost
        return f"the history is being loaded again: {self.left} of {self.all} records are left" if self.gap else None
