"""ClickHouse: questions with bound parameters, each limited in time, rows and memory."""

import threading
from collections.abc import Mapping
from typing import Any, Final

import clickhouse_connect
import msgspec
from clickhouse_connect.driver.exceptions import ClickHouseError

from shared.adapters.store_settings import Address
from shared.reading.away import Busy, HistoryAway, HistoryTooMuch
from shared.reading.pools import WAITING, Pool
from shared.reading.questions import Load, Question, ping

TOO_MUCH: Final = frozenset({158, 159, 160, 241, 306, 307, 396})
"""ClickHouse's codes: too many rows, timeout, too slow, memory, too many steps, too many bytes, too many rows or bytes in the result."""
NOT_SET_UP: Final = frozenset({60, 81})
"""Unknown table or database: the migrations have not run yet."""
DAMAGED: Final = frozenset({74, 75, 76, 107, 228, 1001})
"""Its files are not there or cannot be read: somebody removed its folder while it runs."""
BUSY: Final = frozenset({202, 209, 210, 242, 999})
"""Too many queries, network, read-only, Keeper."""

THREADS: Final = {Load.PAGE: 4, Load.SERIES: 2, Load.STATUS: 2}


def _tls(where: Address) -> dict[str, Any]:
    """The driver takes no scheme from the URL: without `interface` it would speak plain HTTP to https://."""
    if where.tls is None:
        return {"interface": "http"}
    files = {"ca_cert": where.tls.ca_file, "client_cert": where.tls.certificate_file, "client_cert_key": where.tls.key_file}
    return {"interface": "https", "verify": True} | {name: str(path) for name, path in files.items() if path is not None}


class ClickHouseHistory:
    """Asks in threads, over one client that is made when first needed and made anew when the server was away.

    `threads`: questions at a time, by how much they ask; `waiting`: how many more wait for a thread, of each kind.
    """

    def __init__(
        self, where: Address, seconds: int, rows: int, memory_mb: int, threads: Mapping[Load, int] = THREADS, waiting: int = WAITING
    ) -> None:
        self._where = where
        self._pools = {load: Pool(f"clickhouse_{load}", "ClickHouse", threads[load], waiting) for load in Load}
        self._seconds = seconds
        self._settings = {
            "max_execution_time": seconds,
            "max_result_rows": rows,
            "result_overflow_mode": "throw",
            "max_memory_usage": memory_mb * 1024 * 1024,
            "output_format_json_quote_64bit_integers": 0,
            "output_format_json_quote_decimals": 1,
        }
        self._lock = threading.Lock()
        self._client: Any = None
        self._decoder = msgspec.json.Decoder(dict[str, Any])

    async def rows(self, question: Question) -> list[dict[str, Any]]:
        """The rows, by column. Raises HistoryAway, HistoryTooMuch."""
        return await self._pools[question.load].run(self._rows, question)

    async def answers(self) -> bool:
        """Whether ClickHouse answers now."""
        try:
            return (await self.rows(ping())) == [{"one": 1}]
        except (HistoryAway, HistoryTooMuch, Busy):
            return False

    def _rows(self, question: Question) -> list[dict[str, Any]]:
        try:
            raw = self._connected().raw_query(question.sql, dict(question.parameters), settings=self._settings, fmt="JSONEachRow")
        except ClickHouseError as error:
            raise self._read(question, error) from error
        except OSError as error:  # urllib3's errors too, where the driver lets them through
            raise self._gone(f"{question.name}: {type(error).__name__}") from error
        try:
            return self._decoder.decode_lines(raw)
        except msgspec.DecodeError as error:  # the server broke off in the middle
            raise HistoryAway(f"{question.name}: the answer ends before its end") from error

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = clickhouse_connect.get_client(
                    dsn=self._where.url,
                    **_tls(self._where),
                    autogenerate_session_id=False,  # a session would let one query run at a time
                    connect_timeout=3,
                    send_receive_timeout=self._seconds + 5,
                    query_retries=0,
                    compress=False,
                )
                # Sent as they are: to a user who may only read the server calls settings read-only, but lets them be lowered.
                self._client.valid_transport_settings = self._client.valid_transport_settings | self._settings.keys()
            return self._client

    def _read(self, question: Question, error: ClickHouseError) -> Exception:
        """What an error of the driver means here."""
        code = getattr(error, "code", None)
        if code in TOO_MUCH:
            return HistoryTooMuch(f"{question.name}: {code}")
        if code in NOT_SET_UP:
            return HistoryAway(f"{question.name}: the tables are not there yet")
        if code in BUSY | DAMAGED:
            return HistoryAway(f"{question.name}: {code}")
        if code:
            return RuntimeError(f"{question.name}: ClickHouse refuses the question: {error}")
        return self._gone(f"{question.name}: {type(error).__name__}")

    def _gone(self, why: str) -> HistoryAway:
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()
        return HistoryAway(why)

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()
        with self._lock:
            if self._client is not None:
                self._client.close()
