"""The data of an INSERT on their way into the engine: a file that the engine reads once it is whole.

chDB's own streaming insert answers a count of rows, and no error, where the table or a view refuses them or the disk is full; through
FROM INFILE the engine says so. And of an insert whose client hangs up nothing has reached the engine.
"""

import uuid
from pathlib import Path

from deploy.local.clickhouse_server import errors


class Spool:
    """One file, gone with `close`. Raises ClickHouseError where the disk takes no more."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / uuid.uuid4().hex
        self._file = self.path.open("xb", buffering=0)

    def write(self, data: bytes) -> None:
        """All of `data`, behind what came before."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as full:
            raise errors.refused(errors.NOT_ENOUGH_SPACE, f"The data of the INSERT cannot be kept: {full.strerror}.") from None

    def close(self) -> None:
        """Remove it."""
        self._file.close()
        self.path.unlink(missing_ok=True)
