"""The way of a result out of the engine: a named pipe that the engine writes a whole document into, in any format.

chDB's own streaming call gives each block as a document of its own, which only some formats survive; through INTO OUTFILE the
engine writes what the real server would send, totals and statistics included, and waits when the reader is slow.
"""

import asyncio
import contextlib
import fcntl
import os
import uuid
from pathlib import Path
from typing import Final

PIPE_BYTES: Final = 1 << 20
F_SETPIPE_SZ: Final = 1031


class ResultPipe:
    """A pipe for one result. `path` also marks the statement in the engine's list of what runs."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / uuid.uuid4().hex
        os.mkfifo(self.path, 0o600)
        self._read: int | None = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        self._held: int | None = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)  # no end of file before the statement ended
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._read, F_SETPIPE_SZ, PIPE_BYTES)

    def written(self) -> None:
        """The engine writes no more: what is in the pipe is the rest."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    async def read(self) -> bytes:
        """The next piece; empty at the end."""
        loop = asyncio.get_running_loop()
        while self._read is not None:
            try:
                return os.read(self._read, PIPE_BYTES)
            except BlockingIOError:
                ready = loop.create_future()
                loop.add_reader(self._read, _wake, ready)
                try:
                    await ready
                finally:
                    if self._read is not None:
                        loop.remove_reader(self._read)
        return b""

    def close(self) -> None:
        """Remove the pipe; an engine that still writes into it gets an error."""
        self.written()
        if self._read is not None:
            asyncio.get_running_loop().remove_reader(self._read)
            os.close(self._read)
            self._read = None
        self.path.unlink(missing_ok=True)


def _wake(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)
