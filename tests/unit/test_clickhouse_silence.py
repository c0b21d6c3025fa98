"""A call to ClickHouse that is without an answer is told while it is under way, not when its time is over."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from shared.adapters.clickhouse import SILENT_S, ClickHouse, StoreAway
from shared.adapters.store_settings import Address


class Server(HTTPServer):
    """Answers `code` once it may; `asked` says that a call is under way."""

    def __init__(self, code: int) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.code, self.asked, self.may = code, threading.Event(), threading.Event()


class _Answers(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.set()
        assert self.server.may.wait(30)
        self.send_response(self.server.code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        return


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def called(code: int, clock: Clock) -> Iterator[tuple[Server, ClickHouse, threading.Thread]]:
    """A call that is under way."""
    server = Server(code)
    serving = threading.Thread(target=server.serve_forever, args=(0.01,))
    serving.start()
    store = ClickHouse(Address(f"http://127.0.0.1:{server.server_port}"), clock=clock)
    calling = threading.Thread(target=_call, args=(store,))
    calling.start()
    try:
        assert server.asked.wait(30)
        yield server, store, calling
    finally:
        server.may.set()
        calling.join(30)
        server.shutdown()
        serving.join(30)
        server.server_close()
        store.close()


def _call(store: ClickHouse) -> None:
    try:
        store.command("SELECT 1")
    except StoreAway:
        return


@pytest.mark.parametrize("code", [200, 500])
def test_a_call_without_an_answer_is_told_until_there_is_one(code: int) -> None:
    clock = Clock()
    with called(code, clock) as (server, store, calling):
        assert store.silence() is None
        clock.now += SILENT_S
        assert store.silence() is None, "an insert may take its time under load"
        clock.now += 33
        assert store.silence() == "has not answered for 43 s"
        server.may.set()
        calling.join(30)
        assert store.silence() is None


def test_without_a_call_under_way_nothing_is_told_however_long_ago_the_last_was() -> None:
    clock = Clock()
    store = ClickHouse(Address("http://127.0.0.1:1"), clock=clock)
    assert store.silence() is None
    with pytest.raises(StoreAway):
        store.command("SELECT 1")
    clock.now += 1000
    assert store.silence() is None
    store.close()
