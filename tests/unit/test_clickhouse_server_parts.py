"""The parts of deploy/local/clickhouse_server that need no engine: cutting statements, errors, codings, users."""

import gzip
import zlib
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.local.clickhouse_server import compression, errors, requests, statements
from deploy.local.clickhouse_server.errors import ClickHouseError
from deploy.local.clickhouse_server.main import users_of
from deploy.local.clickhouse_server.users import User, Users

QUOTED = st.text(alphabet="ab'\"`\\$;()-/* \n", max_size=20).map(lambda text: text.replace("\\", "\\\\").replace("'", "\\'"))


@pytest.mark.parametrize(
    ("sql", "form", "text", "tail"),
    [
        (b"SELECT 1", None, b"SELECT 1", b""),
        (b"SELECT 1 FORMAT JSON", "JSON", b"SELECT 1 ", b""),
        (b"select 1 format CSV settings max_threads = 1 ;", "CSV", b"select 1 ", b" settings max_threads = 1"),
        (b"SELECT 1 FORMAT CSV -- the end", "CSV", b"SELECT 1 ", b""),
        (b"SELECT format FROM t ORDER BY format DESC", None, b"SELECT format FROM t ORDER BY format DESC", b""),
        (b"SELECT 'FORMAT JSON'", None, b"SELECT 'FORMAT JSON'", b""),
        (b"SELECT (SELECT 1 AS x) /* FORMAT JSON */", None, b"SELECT (SELECT 1 AS x)", b""),
        (b"SELECT $$ ; FORMAT X $$", None, b"SELECT $$ ; FORMAT X $$", b""),
    ],
)
def test_the_format_clause_is_found_where_it_is_one(sql: bytes, form: str | None, text: bytes, tail: bytes) -> None:
    assert statements.whole(sql) == statements.Statement(text, tail, form)


@pytest.mark.parametrize(
    ("head", "form", "data"),
    [
        (b'INSERT INTO t FORMAT JSONEachRow\n{"a": 1}', "JSONEachRow", b'{"a": 1}'),
        (b"INSERT INTO t (a, format) SETTINGS x = 1 FORMAT Native\r\n\x00\x01", "Native", b"\x00\x01"),
        (b"insert into format format CSV 1,2", "CSV", b"1,2"),
        (b"INSERT INTO t VALUES (1), (2)", "Values", b" (1), (2)"),
        (b"/* why */ INSERT INTO `a b`.t FORMAT TSV\n\n1", "TSV", b"\n1"),
    ],
)
def test_the_data_of_an_insert_begin_behind_its_format(head: bytes, form: str, data: bytes) -> None:
    found = statements.insert_with_data(head)
    assert found is not None
    assert (found.format, head[found.data_at :]) == (form, data)


@pytest.mark.parametrize(
    ("sql", "of_file"),
    [
        (b"INSERT INTO t VALUES (1)", b"INSERT INTO t FROM INFILE '/f' FORMAT Values"),
        (
            b"INSERT INTO t (settings, b) SETTINGS x = 1 FORMAT CSV\n1,2",
            b"INSERT INTO t (settings, b) FROM INFILE '/f' SETTINGS x = 1 FORMAT CSV",
        ),
    ],
)
def test_the_data_of_an_insert_can_be_in_a_file(sql: bytes, of_file: bytes) -> None:
    found = statements.insert_with_data(sql)
    assert found is not None
    assert b" ".join(statements.of_file(found, b"/f").split()) == of_file.replace(b"'/f'", b"'/f' COMPRESSION 'none'")


@pytest.mark.parametrize(
    "sql", [b"SELECT 1 FORMAT JSON", b"INSERT INTO t SELECT 1", b"INSERT INTO t WITH 1 AS x SELECT x", b"", b"-- INSERT"]
)
def test_what_carries_no_data_is_no_insert_with_data(sql: bytes) -> None:
    assert statements.insert_with_data(sql) is None


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        (b"SELECT 1; DROP TABLE t", errors.SYNTAX_ERROR),
        (b" -- nothing", errors.SYNTAX_ERROR),
        (b"SELECT file('/etc/passwd')", errors.ACCESS_DENIED),
        (b"SELECT FILE ( '/etc/passwd' )", errors.ACCESS_DENIED),
        (b"SELECT * FROM `Python`/**/(x)", errors.ACCESS_DENIED),
        (b"SELECT 1 INTO/* */OUTFILE 'x'", errors.SUPPORT_IS_DISABLED),
        (b"INSERT INTO t FROM INFILE 'x' FORMAT CSV", errors.SUPPORT_IS_DISABLED),
    ],
)
def test_doors_out_of_the_database_stay_shut(sql: bytes, code: int) -> None:
    with pytest.raises(ClickHouseError) as told:
        statements.whole(sql)
    assert told.value.code == code


@given(st.lists(QUOTED, max_size=4))
def test_nothing_inside_a_string_is_read_as_a_clause(strings: list[str]) -> None:
    sql = "SELECT " + ", ".join(["0", *(f"'{text}'" for text in strings)])
    assert statements.whole(f"{sql} FORMAT JSON".encode()).text.decode().strip() == sql
    assert statements.whole(sql.encode()) == statements.Statement(sql.encode())


@given(st.binary(max_size=200))
def test_any_bytes_are_cut_without_failing(sql: bytes) -> None:
    found = list(statements.tokens(sql))
    covered = [(token.start, token.end) for token in found]
    assert covered == sorted(covered)
    assert all(sql[token.start : token.end] == token.text for token in found)
    assert all(start < end for start, end in covered)


@pytest.mark.parametrize(
    ("thrown", "code", "message", "status"),
    [
        ("Code: 60. DB::Exception: No x. (UNKNOWN_TABLE)", 60, "No x. (UNKNOWN_TABLE)", 404),
        ("Code: 60. DB::Exception: No x. (UNKNOWN_TABLE) (version 26.9.2.1)", 60, "No x. (UNKNOWN_TABLE)", 404),
        (
            "Code: 164. DB::Exception: Code: 164. DB::Exception: No. (READONLY) (version 26.9.2.1). (READONLY)",
            164,
            "No. (READONLY)",
            500,
        ),
        ("Code: 241. DB::Exception: Too much. (MEMORY_LIMIT_EXCEEDED)", 241, "Too much. (MEMORY_LIMIT_EXCEEDED)", 500),
        ("it broke", 1002, "it broke (UNKNOWN_EXCEPTION)", 500),
    ],
)
def test_the_engines_errors_are_told_once_and_with_the_servers_status(thrown: str, code: int, message: str, status: int) -> None:
    error = errors.engine_error(thrown)
    assert (error.code, error.message, error.status) == (code, message, status)
    assert error.text("1.2").endswith(f"{message} (version 1.2 (official build))\n")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "lz4", "zstd", "identity"])
@given(pieces=st.lists(st.binary(max_size=500), max_size=5))
def test_every_coding_gives_back_what_was_put_in(coding: str, pieces: list[bytes]) -> None:
    name, out = compression.encoder(coding, 3)
    assert name == ("" if coding == "identity" else coding)
    coded = b"".join([*(out.feed(piece) for piece in pieces), out.end()])
    back = compression.decoder(coding)
    assert b"".join([*(back.feed(coded[i : i + 7]) for i in range(0, len(coded), 7)), back.end()]) == b"".join(pieces)


def test_a_body_cut_short_or_of_another_coding_is_an_error() -> None:
    cut = compression.decoder("gzip")
    cut.feed(gzip.compress(b"x" * 1000)[:-4])
    with pytest.raises(ClickHouseError, match="ends before its end"):
        cut.end()
    with pytest.raises(ClickHouseError, match="cannot be decompressed"):
        compression.decoder("gzip").feed(zlib.compress(b"x"))
    with pytest.raises(ClickHouseError) as unknown:
        compression.decoder("sdch")
    assert unknown.value.code == errors.NOT_IMPLEMENTED


def test_several_gzip_members_are_one_body() -> None:
    back = compression.decoder("gzip")
    assert back.feed(gzip.compress(b"a") + gzip.compress(b"b")) + back.end() == b"ab"


@pytest.mark.parametrize(
    ("headers", "parameters"),
    [
        ({b"x-clickhouse-user": b"writer", b"x-clickhouse-key": b"secret"}, {}),
        ({b"authorization": b"Basic " + b64encode(b"writer:secret")}, {}),
        ({}, {"user": "writer", "password": "secret"}),
    ],
)
def test_a_user_may_say_its_name_in_three_ways(headers: dict[bytes, bytes], parameters: dict[str, str]) -> None:
    writer = User("writer", "secret")
    assert Users(writer).admit(headers, parameters) is writer
    with pytest.raises(ClickHouseError) as refused:
        Users(User("writer", "another")).admit(headers, parameters)
    assert (refused.value.code, refused.value.status) == (errors.AUTHENTICATION_FAILED, 403)
    assert "secret" not in refused.value.message


def test_beyond_loopback_nobody_enters_without_a_password() -> None:
    with pytest.raises(SystemExit, match="CLICKHOUSE_PASSWORD"):
        users_of({}, "0.0.0.0")
    with pytest.raises(SystemExit, match="CLICKHOUSE_READER_PASSWORD"):
        users_of({"CLICKHOUSE_PASSWORD": "x"}, "0.0.0.0")
    users_of({"CLICKHOUSE_PASSWORD": "x", "CLICKHOUSE_READER_PASSWORD": "y"}, "0.0.0.0")
    assert users_of({"CLICKHOUSE_USER": "rapport"}, "127.0.0.1").writer == "rapport"


@pytest.mark.parametrize("name", ["reader", "a b", "<x/>", "1x"])
def test_a_writer_with_an_unusable_name_is_turned_away_at_the_start(name: str) -> None:
    with pytest.raises(SystemExit, match="CLICKHOUSE_USER"):
        users_of({"CLICKHOUSE_USER": name}, "127.0.0.1")


def _request(query: bytes, user: User, method: str = "POST") -> requests.Request:
    scope = {"query_string": query, "method": method}
    return requests.read(scope, {}, requests.url_parameters(scope), user)


def test_url_parameters_are_settings_parameters_or_the_interfaces_own() -> None:
    request = _request(b"query=SELECT+1&database=d&param_a=5&max_threads=1&session_id=s&default_format=CSV", User("u", ""))
    assert (request.query, request.database, request.default_format) == (b"SELECT 1", "d", "CSV")
    assert (request.parameters, request.settings) == ({"a": "5"}, {"max_threads": "1"})
    assert requests.engine_settings(request) == {"max_threads": "1"}


def test_a_get_and_a_reader_change_nothing() -> None:
    reader = User("r", "", readonly=True, limits={"max_result_rows": "100"})
    assert requests.engine_settings(_request(b"", User("u", ""), "GET")) == {"readonly": "2"}
    assert requests.engine_settings(_request(b"readonly=0", reader)) == {"max_result_rows": "100", "readonly": "1"}
    assert requests.engine_settings(_request(b"max_result_rows=7", reader))["max_result_rows"] == "7"
    for asked in (b"max_result_rows=101", b"max_result_rows=0", b"max_result_rows=-1"):
        with pytest.raises(ClickHouseError) as told:
            requests.engine_settings(_request(asked, reader))
        assert told.value.code == errors.SETTING_CONSTRAINT_VIOLATION


def test_a_setting_must_be_a_plain_word() -> None:
    with pytest.raises(ClickHouseError) as told:
        _request(b"max_threads%20%3D%201%2C%20readonly=0", User("u", ""))
    assert told.value.code == 115
