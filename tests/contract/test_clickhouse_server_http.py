# ruff: noqa: S608 the names put into statements are made here
"""deploy/local/clickhouse_server speaks ClickHouse's HTTP interface: what curl and a BI tool rely on."""

import gzip
import json
import re
import socket
import uuid
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import lz4.frame  # type: ignore[import-untyped]
import pytest
from backports import zstd

from deploy.local.clickhouse import ClickHouse
from tests.waiting import wait_until

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def http(clickhouse: ClickHouse) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=clickhouse.url, timeout=60) as client:
        yield client


@pytest.fixture
def table(http: httpx.Client) -> Iterator[str]:
    name = f"t_{uuid.uuid4().hex}"
    assert http.post("/", content=f"CREATE TABLE {name} (a UInt64, b String) ENGINE = MergeTree ORDER BY a").status_code == 200
    yield name
    http.post("/", content=f"DROP TABLE {name}")


def ask(http: httpx.Client, sql: str, **parameters: Any) -> httpx.Response:
    return http.post("/", content=sql, params=parameters)


def code(answer: httpx.Response) -> tuple[int, str]:
    """Status and ClickHouse's code, which must be the same in the header and in the text."""
    told = answer.headers["x-clickhouse-exception-code"]
    assert answer.text.startswith(f"Code: {told}. DB::Exception: ")
    assert re.search(r"\([A-Z_]+\) \(version 26\.\S+ \(official build\)\)\n$", answer.text)
    return answer.status_code, told


def test_health_pages_answer_ok(http: httpx.Client) -> None:
    assert [http.get(path).text for path in ("/ping", "/replicas_status", "/")] == ["Ok.\n"] * 3
    assert http.get("/elsewhere").status_code == 404


def test_a_statement_comes_by_url_by_body_or_in_two_halves(http: httpx.Client) -> None:
    assert http.get("/", params={"query": "SELECT 1"}).text == "1\n"
    assert http.post("/", content="SELECT 2").text == "2\n"
    assert http.post("/", params={"query": "SELECT 3"}, content="FORMAT CSVWithNames").text == '"3"\n3\n'
    assert http.head("/", params={"query": "SELECT 1"}).status_code == 200


def test_the_answer_names_format_query_server_and_counts(http: httpx.Client) -> None:
    answer = ask(http, "SELECT number FROM numbers(10)", query_id="mine", default_format="JSONEachRow")
    headers = answer.headers
    assert headers["x-clickhouse-query-id"] == "mine"
    assert headers["x-clickhouse-format"] == "JSONEachRow"
    assert headers["content-type"] == "application/x-ndjson; charset=UTF-8"
    assert headers["x-clickhouse-server-display-name"]
    assert headers["x-clickhouse-timezone"]
    assert json.loads(headers["x-clickhouse-summary"])["read_rows"] == "10"
    assert answer.text == "".join(f'{{"number":{n}}}\n' for n in range(10))


def test_a_format_header_works_and_a_format_clause_wins(http: httpx.Client) -> None:
    by_header = http.post("/", content="SELECT 1 AS x", headers={"X-ClickHouse-Format": "JSONCompact"}).json()
    assert by_header["data"] == [[1]]
    assert http.post("/", content="SELECT 1 AS x FORMAT CSV", headers={"X-ClickHouse-Format": "JSONCompact"}).text == "1\n"


def test_a_document_format_is_one_document_with_totals_and_limit_counts(http: httpx.Client) -> None:
    sql = "SELECT number % 3 AS k, count() AS n FROM numbers(300000) GROUP BY k WITH TOTALS ORDER BY k LIMIT 2 FORMAT JSONCompact"
    document = ask(http, sql, max_block_size=1000).json()
    assert document["data"] == [[0, 100000], [1, 100000]]
    assert document["totals"] == [0, 300000]
    assert (document["rows"], document["rows_before_limit_at_least"]) == (2, 3)


@pytest.mark.parametrize(
    "sql", ["SHOW DATABASES", "EXISTS system.one", "DESCRIBE system.one", "EXPLAIN SELECT 1", "SHOW CREATE DATABASE default"]
)
def test_statements_that_tell_of_the_server_take_any_format(http: httpx.Client, sql: str) -> None:
    assert ask(http, f"{sql} FORMAT JSONCompact").json()["rows"] >= 1


def test_parameters_are_values_and_never_sql(http: httpx.Client, table: str) -> None:
    nasty = "it's \\' OR 1=1; DROP TABLE x --\t`"
    escaped = nasty.replace("\\", "\\\\").replace("\t", "\\t")
    told = ask(
        http, "SELECT {s:String} AS s, {n:UInt8} + 1 AS n, {a:Array(String)} AS a FORMAT JSON", param_s=escaped, param_n=4, param_a="['x']"
    )
    assert told.json()["data"] == [{"s": nasty, "n": 5, "a": ["x"]}]
    assert ask(http, "SELECT {n:Nullable(String)} IS NULL", param_n="\\N").text == "1\n"
    assert (
        ask(http, "INSERT INTO {t:Identifier} VALUES ({a:UInt64}, {b:String})", param_t=table, param_a=7, param_b=escaped).status_code
        == 200
    )
    assert ask(http, f"SELECT b FROM {table} FORMAT JSONCompact").json()["data"] == [[nasty]]
    assert code(ask(http, "SELECT {missing:String}")) == (500, "456")
    assert code(ask(http, "SELECT {n:UInt8}", param_n="five"))[0] in (400, 500)


def test_settings_hold_for_their_request_only(http: httpx.Client) -> None:
    assert ask(http, "SELECT getSetting('max_block_size')", max_block_size=17).text == "17\n"
    assert ask(http, "SELECT getSetting('max_block_size')").text != "17\n"
    assert code(ask(http, "SELECT 1", no_such_setting=1)) == (404, "115")
    assert ask(http, "SELECT currentDatabase()", database="system").text == "system\n"
    assert code(ask(http, "SELECT 1", database="nowhere")) == (404, "81")


@pytest.mark.parametrize(
    ("sql", "status", "number"),
    [
        ("SELEC 1", 400, "62"),
        ("", 400, "62"),
        ("SELECT 1; SELECT 2", 400, "62"),
        ("SELECT * FROM nowhere", 404, "60"),
        ("SELECT nothing", 404, "47"),
        ("SELECT no_such(1)", 404, "46"),
        ("SELECT 1 FORMAT Nope", 404, "73"),
        ("SELECT throwIf(1)", 500, "395"),
        ("CREATE TABLE system.x (a Int8) ENGINE = Nope", 404, "56"),
        ("SELECT * FROM file('/etc/passwd', 'LineAsString')", 403, "497"),
        ("SELECT * FROM `/etc/passwd`", 404, "60"),
        ("SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a String')", 403, "497"),
        ("CREATE TABLE x (a String) ENGINE = File(CSV, '/etc/passwd')", 403, "497"),
        ("SELECT 1 INTO OUTFILE '/tmp/x'", 500, "344"),
        ("SYSTEM SHUTDOWN", 403, "497"),
        ("CREATE USER mallory", 403, "497"),
        ("SELECT sleep(3) SETTINGS max_execution_time = 0.1", 408, "159"),
    ],
)
def test_errors_have_the_servers_code_and_status(http: httpx.Client, sql: str, status: int, number: str) -> None:
    assert code(ask(http, sql)) == (status, number)


def test_a_get_changes_nothing(http: httpx.Client, table: str) -> None:
    for sql in (f"DROP TABLE {table}", f"INSERT INTO {table} VALUES (1, 'x')", f"INSERT INTO {table} SELECT 1, 'x'"):
        assert code(http.get("/", params={"query": sql})) == (500, "164")
    assert ask(http, f"SELECT count() FROM {table}").text == "0\n"


def test_the_reader_reads_within_limits_and_cannot_lift_them(http: httpx.Client, table: str) -> None:
    http.post("/", content=f"INSERT INTO {table} VALUES (1, 'x')")
    reader = {"X-ClickHouse-User": "reader"}

    def as_reader(sql: str, **parameters: Any) -> httpx.Response:
        return http.post("/", content=sql, headers=reader, params=parameters)

    assert as_reader(f"SELECT count() FROM {table}").text == "1\n"
    for sql in (f"INSERT INTO {table} VALUES (2, 'y')", f"DROP TABLE {table}", f"ALTER TABLE {table} DELETE WHERE 1", "SET readonly = 0"):
        assert code(as_reader(sql)) == (500, "164")
    assert code(as_reader("SELECT 1 SETTINGS max_execution_time = 0")) == (500, "164")
    assert code(as_reader("SELECT 1", max_execution_time="0")) == (500, "452")
    assert code(as_reader("SELECT number FROM numbers(2000000)", wait_end_of_query=1)) == (500, "396")
    assert as_reader("SELECT 1", readonly="0", max_result_rows="5").text == "1\n"
    assert code(http.post("/", content="SELECT 1", headers={"X-ClickHouse-User": "nobody"})) == (403, "516")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd", "lz4"])
def test_bodies_are_coded_both_ways(http: httpx.Client, table: str, coding: str) -> None:
    rows = b"".join(b"%d,row\n" % n for n in range(1000))
    coders = {"gzip": gzip.compress, "zstd": zstd.compress, "lz4": lz4.frame.compress, "deflate": zlib.compress}
    sent = http.post(
        "/", params={"query": f"INSERT INTO {table} FORMAT CSV"}, content=coders[coding](rows), headers={"Content-Encoding": coding}
    )
    assert json.loads(sent.headers["x-clickhouse-summary"])["written_rows"] == "1000"
    with http.stream("POST", "/", content=f"SELECT * FROM {table} ORDER BY a FORMAT CSV", headers={"Accept-Encoding": coding}) as answer:
        raw = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == coding
    undo = {"gzip": gzip.decompress, "zstd": zstd.decompress, "lz4": lz4.frame.decompress, "deflate": zlib.decompress}
    assert undo[coding](raw) == rows.replace(b",row", b',"row"')
    plain = http.post("/", content="SELECT 1", params={"enable_http_compression": 0}, headers={"Accept-Encoding": coding})
    assert "content-encoding" not in plain.headers


def test_an_insert_of_tens_of_megabytes_is_one_block_and_counted(http: httpx.Client, table: str) -> None:
    line = b'{"a":%d,"b":"' + b"x" * 150 + b'"}\n'
    body = b"".join(line % n for n in range(200_000))
    sent = http.post("/", params={"query": f"INSERT INTO {table} FORMAT JSONEachRow"}, content=body)
    assert json.loads(sent.headers["x-clickhouse-summary"])["written_rows"] == "200000"
    assert ask(http, f"SELECT count(), uniqExact(a), sum(length(b)) FROM {table}").text == "200000\t200000\t30000000\n"
    assert ask(http, f"SELECT count() FROM system.parts WHERE table = '{table}'").text == "1\n"


def test_a_bad_row_refuses_the_whole_insert(http: httpx.Client, table: str) -> None:
    body = b'{"a":1,"b":"x"}\n{"a":"one","b":"x"}\n'
    status, _ = code(http.post("/", params={"query": f"INSERT INTO {table} FORMAT JSONEachRow"}, content=body))
    assert status == 400
    assert ask(http, f"SELECT count() FROM {table}").text == "0\n"


@pytest.mark.parametrize("refusal", ["constraint", "view", "partition"])
def test_what_the_table_or_a_view_refuses_is_an_error_and_not_acknowledged(http: httpx.Client, table: str, refusal: str) -> None:
    """chDB's streaming insert answers as if they were in."""
    if refusal == "constraint":
        ask(http, f"ALTER TABLE {table} ADD CONSTRAINT small CHECK a < 10")
    elif refusal == "view":
        ask(http, f"CREATE TABLE {table}_target (a UInt64) ENGINE = Null")
        ask(http, f"CREATE MATERIALIZED VIEW {table}_view TO {table}_target AS SELECT throwIf(a > 9) AS a FROM {table}")
    else:
        ask(http, f"DROP TABLE {table}")
        ask(http, f"CREATE TABLE {table} (a UInt64, b String) ENGINE = MergeTree PARTITION BY intDiv(100, 10 - a) ORDER BY a")
    wanted = {"constraint": "469", "view": "395", "partition": "153"}[refusal]
    for settings in ("", "SETTINGS max_threads = 1 "):
        sent = http.post("/", params={"query": f"INSERT INTO {table} (a, b) {settings}FORMAT CSV"}, content=b"10,x\n")
        assert code(sent)[1] == wanted, sent.text
        assert http.post("/", params={"query": f"INSERT INTO {table} (a, b) {settings}FORMAT CSV"}, content=b"1,x\n").status_code == 200
    kept = "4\t10\n" if refusal == "view" else "2\t1\n"  # before a view refuses, its source has them
    assert ask(http, f"SELECT count(), max(a) FROM {table}").text == kept


def test_a_token_makes_a_repeated_insert_vanish_also_behind_a_view(http: httpx.Client, table: str) -> None:
    window = "SETTINGS non_replicated_deduplication_window = 100"
    ask(http, f"CREATE TABLE {table}_source (line String) ENGINE = Null")
    ask(http, f"CREATE TABLE {table}_target (a UInt64) ENGINE = MergeTree ORDER BY a {window}")
    ask(http, f"ALTER TABLE {table} MODIFY SETTING non_replicated_deduplication_window = 100")
    ask(http, f"CREATE MATERIALIZED VIEW {table}_view TO {table}_target AS SELECT a FROM {table}")
    for token in ("one", "one", "two"):
        sent = http.post(
            "/",
            params={"query": f"INSERT INTO {table} FORMAT CSV", "insert_deduplication_token": token, "async_insert": 0},
            content=b"1,x\n2,y\n",
        )
        assert sent.status_code == 200, sent.text
    assert ask(http, f"SELECT count() FROM {table}").text == "4\n"
    assert ask(http, f"SELECT count() FROM {table}_target").text == "4\n"


def test_a_large_result_streams_and_the_process_stays_small(clickhouse: ClickHouse, http: httpx.Client) -> None:
    before, largest, size = _resident_mb(clickhouse), 0, 0
    sql = "SELECT number, repeat('x', 200) FROM numbers(2000000) FORMAT JSONEachRow"
    with http.stream("POST", "/", content=sql, headers={"Accept-Encoding": "identity"}) as answer:
        for piece in answer.iter_raw():
            size += len(piece)
            largest = max(largest, _resident_mb(clickhouse)) if size % 17 == 0 else largest
    assert size > 400_000_000
    assert max(largest, _resident_mb(clickhouse)) - before < 200


def test_an_error_within_a_stream_is_marked_and_breaks_it(http: httpx.Client) -> None:
    pieces: list[bytes] = []
    sql = "SELECT number, throwIf(number = 1500000) FROM numbers(2000000) SETTINGS max_threads = 1 FORMAT TSV"
    with http.stream("POST", "/", content=sql, headers={"Accept-Encoding": "identity"}) as answer:
        assert answer.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            pieces.extend(answer.iter_raw())
    tag = answer.headers["x-clickhouse-exception-tag"]
    assert re.search(rf"__exception__\r\n{tag}\r\nCode: 395\. .*\n\d+ {tag}\r\n__exception__\r\n$".encode(), b"".join(pieces), re.DOTALL)
    whole = ask(http, sql, wait_end_of_query=1)
    assert code(whole) == (500, "395")


def test_a_result_held_back_until_its_end_is_whole_however_large(http: httpx.Client) -> None:
    sql = "SELECT number, repeat('x', 100) FROM numbers(300000) FORMAT TSV"
    answer = ask(http, sql, wait_end_of_query=1)
    assert answer.text.count("\n") == 300_000
    assert json.loads(answer.headers["x-clickhouse-summary"])["read_rows"] == "300000"


def test_long_reads_do_not_hold_up_pings_or_writes(http: httpx.Client, table: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        slow = [threads.submit(ask, http, "SELECT sum(sleepEachRow(0.05)) FROM numbers(40) SETTINGS max_block_size = 1") for _ in range(3)]
        assert http.get("/ping").text == "Ok.\n"
        assert ask(http, f"INSERT INTO {table} VALUES (1, 'x')").status_code == 200
        assert not any(answer.done() for answer in slow)
        assert [answer.result().text for answer in slow] == ["0\n"] * 3


def test_a_client_that_hangs_up_stops_its_statement(clickhouse: ClickHouse, http: httpx.Client) -> None:
    mark = f"'{uuid.uuid4().hex}'"
    sql = f"SELECT sum(sleepEachRow(0.1)), {mark} FROM numbers(6000) SETTINGS max_block_size = 1".encode()
    address = urlsplit(clickhouse.url)
    with socket.create_connection((address.hostname or "", address.port or 0)) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(sql), sql))
        wait_until("it runs", lambda: _running(http, mark) == 1)
    wait_until("it was stopped", lambda: _running(http, mark) == 0)


def test_an_insert_whose_client_hangs_up_leaves_nothing(clickhouse: ClickHouse, http: httpx.Client, table: str) -> None:
    address = urlsplit(clickhouse.url)
    head = b"POST /?query=INSERT+INTO+%b+FORMAT+CSV HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n" % table.encode()
    with socket.create_connection((address.hostname or "", address.port or 0)) as client:
        client.sendall(head + b"1,x\n" * 500_000)
    wait_until("it was stopped", lambda: _running(http, table) == 0)
    assert ask(http, f"SELECT count() FROM {table}").text == "0\n"


def test_many_at_once_each_get_their_own_answer(http: httpx.Client) -> None:
    wanted = range(60)
    with ThreadPoolExecutor(12) as threads:
        told = list(
            threads.map(lambda n: ask(http, "SELECT {n:UInt32} AS n, currentDatabase()", param_n=n, database="system").text, wanted)
        )
    assert told == [f"{n}\tsystem\n" for n in wanted]


def _running(http: httpx.Client, mark: str) -> int:
    spelt = f"concat('{mark.strip(chr(39))[:5]}', '{mark.strip(chr(39))[5:]}')"
    return int(ask(http, f"SELECT count() FROM system.processes WHERE position(query, {spelt}) > 0").text)


def _resident_mb(part: ClickHouse) -> int:
    with open(f"/proc/{part.pid}/statm") as statm:
        return int(statm.read().split()[1]) * 4096 // 1_000_000
