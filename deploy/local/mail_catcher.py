"""A local mailbox: takes every e-mail that Rapport sends and keeps it as a file, sends nothing on.

`python -m deploy.local.mail_catcher --dir FOLDER --port N [--host ADDRESS]`. One .eml file a message, named by arrival, readable by its
owner only, whole before it appears, and on disk before the sender is told 250.
"""

import argparse
import asyncio
import os
import signal
import sys
import time
from itertools import count
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

from deploy.local.ports import HOST

LARGEST_BYTES = 10 * 1024 * 1024


class ToFolder:
    """aiosmtpd handler that writes each message to a folder."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`, which is made if need be."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._number = count()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 aiosmtpd's name
        """Keep one message with its envelope; answers 452 when it cannot be written, so that the sender tries again."""
        content = envelope.content or b""
        head = f"Return-Path: <{envelope.mail_from}>\r\n" + "".join(f"Delivered-To: {to}\r\n" for to in envelope.rcpt_tos)
        body = content if isinstance(content, bytes) else content.encode()
        try:
            keep(self._folder, f"{time.time_ns() // 1_000_000}-{os.getpid()}-{next(self._number):06}.eml", head.encode() + body)
        except OSError as error:
            print(f"cannot keep a message in {self._folder}: {error.strerror}", file=sys.stderr, flush=True)  # noqa: T201
            return "452 cannot be written, try again"
        return "250 kept"


def keep(folder: Path, name: str, content: bytes) -> Path:
    """Write a whole file that appears under its name only when it is on disk. Raises OSError."""
    part, whole = folder / f".{name}", folder / name
    try:
        with open(part, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.rename(whole)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    return whole


async def serve(folder: Path, port: int, host: str = HOST) -> None:
    """Catch mail until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    handler = ToFolder(folder)
    done = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, done.set)
    server = await loop.create_server(
        lambda: SMTP(handler, data_size_limit=LARGEST_BYTES, enable_SMTPUTF8=True, ident="rapport", loop=loop), host, port
    )
    async with server:
        await done.wait()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description="keeps every e-mail as a file, sends none on")
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default=HOST, help="address to listen on (in a container: 0.0.0.0)")
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.dir, arguments.port, arguments.host))


if __name__ == "__main__":
    main()
