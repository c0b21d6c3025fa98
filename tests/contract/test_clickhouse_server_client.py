# ruff: noqa: S608 the names put into statements are made here
"""clickhouse-connect's ordinary HTTP client works unchanged against deploy/local/clickhouse_server."""

import datetime as dt
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, StreamFailureError

from deploy.local.clickhouse import ClickHouse

pytestmark = pytest.mark.real

COLUMNS: dict[str, tuple[str, Any]] = {
    "n": ("UInt64", 2**64 - 1),
    "i": ("Int128", -(2**100)),
    "s": ("String", "it's \\ a 'test' 你好"),
    "low": ("LowCardinality(String)", "x"),
    "maybe": ("Nullable(String)", None),
    "money": ("Decimal(18, 4)", Decimal("1234.5678")),
    "at": ("DateTime64(3, 'UTC')", dt.datetime(2026, 1, 2, 3, 4, 5, 678000)),  # noqa: DTZ001 the client gives UTC without a zone
    "day": ("Date", dt.date(2026, 1, 2)),
    "id": ("UUID", uuid.UUID("00000000-0000-4000-8000-000000000001")),
    "many": ("Array(Nullable(Int32))", [1, None, 3]),
    "pairs": ("Map(String, UInt8)", {"a": 1}),
    "both": ("Tuple(Int8, String)", (1, "x")),
    "document": ("JSON", {"a": {"b": 1}, "c": ["x"]}),
    "kind": ("Enum8('a' = 1, 'b' = 2)", "b"),
    "yes": ("Bool", True),
    "f": ("Float64", 0.1),
}


@pytest.fixture(scope="module", params=["lz4", "zstd", "gzip", False])
def client(clickhouse: ClickHouse, request: pytest.FixtureRequest) -> Iterator[Any]:
    address = urlsplit(clickhouse.url)
    made = clickhouse_connect.get_client(host=address.hostname, port=address.port, compress=request.param)
    yield made
    made.close()


@pytest.fixture
def table(client: Any) -> Iterator[str]:
    name = f"t_{uuid.uuid4().hex}"
    columns = ", ".join(f"{column} {kind}" for column, (kind, _) in COLUMNS.items())
    client.command(f"CREATE TABLE {name} ({columns}) ENGINE = MergeTree ORDER BY n")
    yield name
    client.command(f"DROP TABLE {name}")


def test_values_of_every_type_come_back_as_they_went(client: Any, table: str) -> None:
    row = [value for _, value in COLUMNS.values()]
    summary = client.insert(table, [row], column_names=list(COLUMNS))
    assert summary.written_rows == 1
    assert client.query(f"SELECT * FROM {table}").result_rows == [tuple(row)]


def test_parameters_are_bound_on_the_server(client: Any) -> None:
    value = "it's {x:String} \\ \t"
    rows = client.query(
        "SELECT {a:String}, {b:DateTime64(3)}, {c:Array(UInt8)}", parameters={"a": value, "b": COLUMNS["at"][1], "c": [1, 2]}
    ).result_rows
    assert rows == [(value, COLUMNS["at"][1], [1, 2])]


def test_errors_carry_code_and_text(client: Any) -> None:
    with pytest.raises(DatabaseError, match=r"code: 60, .*UNKNOWN_TABLE"):
        client.query("SELECT * FROM nowhere")
    with pytest.raises(DatabaseError, match=r"(?s)code: 62, .*SYNTAX_ERROR"):
        client.command("SELEC 1")


def test_rows_stream_in_blocks(client: Any) -> None:
    seen = blocks = 0
    with client.query_row_block_stream(
        "SELECT number, toString(number) FROM numbers(300000)", settings={"max_block_size": 50_000}
    ) as stream:
        for block in stream:
            blocks += 1
            seen += len(block)
    assert seen == 300_000
    assert blocks > 1


def test_an_error_within_a_stream_reaches_the_caller(client: Any) -> None:
    sql = "SELECT number, randomPrintableASCII(100), throwIf(number = 900000) FROM numbers(1000000) SETTINGS max_threads = 1"
    with pytest.raises(StreamFailureError, match="Code: 395"), client.query_row_block_stream(sql) as stream:
        for _ in stream:
            pass


def test_settings_and_commands_work(client: Any) -> None:
    assert client.query("SELECT getSetting('max_block_size')", settings={"max_block_size": 7}).result_rows == [(7,)]
    assert client.command("SELECT 40 + 2") == 42
    assert client.server_version.startswith("26.")
    assert client.ping()


def test_raw_formats_pass_both_ways(client: Any, table: str) -> None:
    client.raw_insert(table, column_names=["n", "s"], insert_block=b'{"n":1,"s":"x"}\n{"n":2,"s":"y"}\n', fmt="JSONEachRow")
    assert client.raw_query(f"SELECT n, s FROM {table} ORDER BY n", fmt="CSV") == b'1,"x"\n2,"y"\n'


def test_form_encoded_parameters_work(clickhouse: ClickHouse) -> None:
    address = urlsplit(clickhouse.url)
    client = clickhouse_connect.get_client(host=address.hostname, port=address.port, form_encode_query_params=True)
    assert client.query("SELECT {a:String} AS a", parameters={"a": "x" * 10_000}).result_rows == [("x" * 10_000,)]
    client.close()
