"""ClickHouse over its HTTP interface, for those who write: statements, and inserts that can be repeated."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import httpx

from shared.adapters.store_settings import Address

TRANSIENT: Final = frozenset({159, 202, 203, 209, 210, 241, 242, 243, 252, 319, 394, 425, 439, 999})
"""Codes after which the same insert may well succeed: timeout, too busy, network, memory, read-only, no space, too many parts, ..."""

SILENT_S: Final = 10.0
"""A call that takes longer is told on /readyz. An insert under full load takes a second or two."""

LONGEST_URL: Final = 8_000
"""Parameters of more characters go in the body, as a form: servers and proxies refuse long URLs."""

Settings = Mapping[str, str | int]
Parameter = str | int | Sequence[str] | Sequence[int]


class StoreAway(Exception):
    """ClickHouse does not answer, or cannot now: whether an insert was applied is not known."""


class StoreRefused(Exception):
    """ClickHouse says no, and would say so again. `code` is of its error list."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class ClickHouse:
    """One server. Calls block; a thread may use it at a time."""

    def __init__(self, where: Address, timeout_s: float = 120.0, clock: Callable[[], float] = time.monotonic) -> None:
        """`timeout_s`: how long an answer may take. Connects at the first call."""
        self._clock = clock
        self._asked_at: float | None = None
        parts = urlsplit(where.url)
        self.user = unquote(parts.username or "default")
        self.password = unquote(parts.password or "")
        base = f"{parts.scheme}://{parts.hostname}:{parts.port or (8123 if where.tls is None else 8443)}"
        headers = {"X-ClickHouse-User": self.user, "X-ClickHouse-Key": self.password}
        verify = True if where.tls is None else where.tls.context()
        self._http = httpx.Client(base_url=base, headers=headers, timeout=httpx.Timeout(timeout_s, connect=3.0), verify=verify)

    def command(self, sql: str, settings: Settings | None = None) -> str:
        """Run a statement; its answer as text. Raises StoreAway, StoreRefused."""
        return self._post(dict(settings or {}), sql.encode()).text

    def rows(self, sql: str, parameters: Mapping[str, Parameter] | None = None) -> list[dict[str, Any]]:
        """The rows of a SELECT, with {name:Type} parameters; a sequence is an Array. Raises StoreAway, StoreRefused."""
        told = {f"param_{name}": _told(value) for name, value in (parameters or {}).items()}
        settings: dict[str, str | int] = {"default_format": "JSON", "output_format_json_quote_64bit_integers": 0}
        if sum(map(len, told.values())) > LONGEST_URL:
            answer = self._post(settings, form=told | {"query": sql})
        else:
            answer = self._post(settings | told, sql.encode())
        rows: list[dict[str, Any]] = answer.json()["data"]
        return rows

    def insert(self, into: str, form: str, data: bytes, token: str) -> None:
        """Insert `data` in format `form` into `into` (table and columns), once however often it is called with this `token`.

        The table, and those that views fill from it, must keep tokens (`non_replicated_deduplication_window`). Raises StoreAway: it may
        or may not have been applied, so repeat it; StoreRefused: it was not.
        """
        settings: dict[str, str | int] = {
            "query": f"INSERT INTO {into} FORMAT {form}",
            "insert_deduplication_token": token,
            "async_insert": 0,
            "deduplicate_blocks_in_dependent_materialized_views": 1,  # a view that missed a block gets it when the block is repeated
            "max_partitions_per_insert_block": 0,  # old events of many months are no mistake
            "type_json_skip_duplicated_paths": 1,  # nor is a key said twice
        }
        self._post(settings, data)

    def ping(self) -> bool:
        """Whether it answers."""
        try:
            return self._http.get("/ping", timeout=3.0).status_code == 200
        except httpx.HTTPError:
            return False

    def silence(self) -> str | None:
        """In words, once the call under way is without an answer for longer than SILENT_S; from any thread."""
        asked_at = self._asked_at
        silent_s = 0.0 if asked_at is None else self._clock() - asked_at
        return f"has not answered for {silent_s:.0f} s" if silent_s > SILENT_S else None

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def _post(
        self, parameters: Mapping[str, str | int], body: bytes | None = None, form: Mapping[str, str] | None = None
    ) -> httpx.Response:
        self._asked_at = self._clock()
        try:
            fields = None if form is None else {name: (None, value) for name, value in form.items()}
            answer = self._http.post("/", params=dict(parameters), content=body, files=fields)
        except httpx.HTTPError as error:
            raise StoreAway(f"{type(error).__name__}: {error}") from error
        finally:
            self._asked_at = None
        told = answer.headers.get("x-clickhouse-exception-code")
        if told is None and answer.status_code == 200:
            return answer
        code = int(told or 0)
        if code in TRANSIENT or (not told and answer.status_code >= 500):
            raise StoreAway(f"{answer.status_code}: {answer.text[:300].strip()}")
        raise StoreRefused(code, answer.text[:500].strip())


_ESCAPED: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0", "\b": "\\b", "\f": "\\f"})
_QUOTED: Final = {**_ESCAPED, ord("'"): "\\'"}


def _told(value: Parameter) -> str:
    """A parameter as ClickHouse reads it: a text as in TSV, an array as in SQL."""
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return value.translate(_ESCAPED)
    texts = [f"'{one.translate(_QUOTED)}'" if isinstance(one, str) else str(one) for one in value]
    return f"[{','.join(texts)}]"
