"""TLS in front of a real server that speaks none: ends TLS and passes the bytes on. It runs in a thread of its own."""

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.certificates import Pair

HOST = "127.0.0.1"
PAGE = 64 * 1024


@contextmanager
def tls_in_front_of(port: int, pair: Pair, clients_of: Path | None = None) -> Iterator[int]:
    """The port that speaks TLS for the server on `port`. `clients_of`: only who shows a certificate of this authority is let in."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    if clients_of is not None:
        context.load_verify_locations(clients_of)
        context.verify_mode = ssl.CERT_REQUIRED
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # handshakes that fail are what tests are about
    thread = threading.Thread(target=loop.run_forever, name="tls-front", daemon=True)
    thread.start()

    open_: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_.add(writer)
        with suppress(OSError):
            there, onward = await asyncio.open_connection(HOST, port)
            open_.add(onward)
            await asyncio.gather(_pass_on(reader, onward), _pass_on(there, writer))

    async def start() -> asyncio.Server:
        return await asyncio.start_server(serve, HOST, 0, ssl=context)

    async def stop(server: asyncio.Server) -> None:
        """A stream that outlives its loop is found by whichever test runs when it is collected."""
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in open_:
            writer.transport.abort()
        await asyncio.sleep(0)  # an abort closes at the next turn of the loop

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(stop(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(PAGE):
            writer.write(piece)
            await writer.drain()
    writer.close()
