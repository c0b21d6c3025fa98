# ruff: noqa: S608 the names put into statements are made here
"""deploy/local/clickhouse_server keeps what it acknowledged through every kind of end, and remembers insert tokens over it."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from deploy.local.clickhouse import ClickHouse
from deploy.local.ports import free_port
from deploy.local.process import NotReadyError
from tests.waiting import wait_until

pytestmark = pytest.mark.real

WINDOW = "SETTINGS non_replicated_deduplication_window = 1000"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ClickHouse]:
    with ClickHouse(tmp_path / "data", free_port(), tmp_path / "server.log") as made:
        yield made


def ask(server: ClickHouse, sql: str, content: bytes = b"", **parameters: object) -> str:
    answer = httpx.post(
        server.url, params={"query": sql} | {name: str(value) for name, value in parameters.items()}, content=content, timeout=60
    )
    assert answer.status_code == 200, answer.text
    return answer.text.strip()


def restart(server: ClickHouse) -> None:
    server.start()
    server.wait_ready(60)


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_what_was_acknowledged_is_there_after_any_end(server: ClickHouse, end: str) -> None:
    ask(server, "CREATE DATABASE shop")
    for table in ("shop.orders", "plain"):
        ask(server, f"CREATE TABLE {table} (a UInt64) ENGINE = MergeTree ORDER BY a")
        for n in range(5):
            ask(server, f"INSERT INTO {table} FORMAT CSV", content=str(n).encode())
    getattr(server, end)()
    assert not server.alive
    restart(server)
    for table in ("shop.orders", "plain"):
        assert ask(server, f"SELECT groupArray(a) FROM (SELECT a FROM {table} ORDER BY a)") == "[0,1,2,3,4]"
    ask(server, "INSERT INTO plain FORMAT CSV", content=b"5")
    server.kill()
    restart(server)
    assert ask(server, "SELECT count() FROM plain") == "6"


def test_databases_without_tables_come_back_and_what_is_made_in_them_later_stays(server: ClickHouse) -> None:
    ask(server, "CREATE DATABASE empty")
    for nth in range(3):
        server.kill()
        restart(server)
        for table in ("default.t", "empty.t"):
            ask(server, f"CREATE TABLE {table} (a UInt64) ENGINE = MergeTree ORDER BY a")
            ask(server, f"INSERT INTO {table} VALUES ({nth})")
        server.kill()
        restart(server)
        for table in ("default.t", "empty.t"):
            assert ask(server, f"SELECT a FROM {table}") == str(nth)
            ask(server, f"DROP TABLE {table}{' SYNC' if nth else ''}")


def test_sigterm_ends_it_with_code_zero_and_within_its_drain(server: ClickHouse) -> None:
    began = time.monotonic()
    server.stop(20)
    assert server.returncode == 0, server.log_tail()
    assert time.monotonic() - began < 20


def test_a_second_process_on_the_same_folder_is_turned_away(server: ClickHouse, tmp_path: Path) -> None:
    ask(server, "CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
    second = ClickHouse(server.data, free_port(), tmp_path / "second.log")
    second.start()
    with pytest.raises(NotReadyError, match="ended with code"):
        second.wait_ready(30)
    assert ask(server, "SELECT count() FROM t") == "0"


def test_a_kill_mid_insert_leaves_all_of_it_or_nothing_and_the_token_settles_which(server: ClickHouse) -> None:
    """Whatever the kill left, inserting the same again under its token gives each row once: also behind a view."""
    ask(server, f"CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a {WINDOW}")
    ask(server, f"CREATE TABLE target (a UInt64) ENGINE = MergeTree ORDER BY a {WINDOW}")
    ask(server, "CREATE MATERIALIZED VIEW v TO target AS SELECT a FROM t")
    rows = b"".join(b"%d\n" % n for n in range(300_000))
    address = urlsplit(server.url)
    for nth in range(4):
        token = f"token-{nth}"
        path = f"/?query=INSERT+INTO+t+FORMAT+CSV&insert_deduplication_token={token}"
        body = rows + b"%d\n" % (1_000_000 + nth)
        with socket.create_connection((address.hostname or "", address.port or 0)) as client:
            client.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode())
            client.sendall(body if nth % 2 else body[: len(body) // 2])
            if nth == 1:
                assert b"200 OK" in client.recv(1000)  # acknowledged before the kill
            server.kill()
        restart(server)
        assert int(ask(server, "SELECT count() FROM t")) in {nth * 300_001, (nth + 1) * 300_001}
        for _ in range(2):
            ask(server, "INSERT INTO t FORMAT CSV", content=body, insert_deduplication_token=token)
        for table in ("t", "target"):
            assert ask(server, f"SELECT count(), uniqExact(a) FROM {table}") == f"{(nth + 1) * 300_001}\t{300_001 + nth}"


def test_tokens_outlive_a_kill(server: ClickHouse) -> None:
    ask(server, f"CREATE TABLE t (a UInt64) ENGINE = ReplacingMergeTree ORDER BY a PARTITION BY a % 3 {WINDOW}")
    for nth in range(20):
        ask(server, "INSERT INTO t FORMAT CSV", content=b"%d\n%d" % (nth, nth + 100), insert_deduplication_token=f"a:{nth}")
    server.kill()
    restart(server)
    for nth in range(21):
        ask(server, "INSERT INTO t FORMAT CSV", content=b"%d\n%d" % (nth, nth + 100), insert_deduplication_token=f"a:{nth}")
    assert ask(server, "SELECT count(), uniqExact(a) FROM t") == "42\t42"


def test_an_idle_server_is_quiet_and_small(server: ClickHouse) -> None:
    ask(server, "SELECT 1")

    def cpu_seconds() -> float:
        fields = Path(f"/proc/{server.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before, began = cpu_seconds(), time.monotonic()
    wait_until("three seconds", lambda: time.monotonic() - began > 3)
    assert cpu_seconds() - before < 0.3
    resident = int(Path(f"/proc/{server.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    assert resident < 500_000_000
