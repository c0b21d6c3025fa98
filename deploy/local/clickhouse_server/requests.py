"""An HTTP request as ClickHouse reads one: statement, settings, parameters, format, user."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

from deploy.local.clickhouse_server import errors
from deploy.local.clickhouse_server.formats import DEFAULT_FORMAT
from deploy.local.clickhouse_server.users import User

# Parameters of the interface itself. What is left is a setting of the engine.
_OWN: Final = frozenset(
    {
        "query",
        "database",
        "user",
        "password",
        "quota_key",
        "query_id",
        "session_id",
        "session_timeout",
        "session_check",
        "close_session",
        "default_format",
        "buffer_size",
        "wait_end_of_query",
        "stacktrace",
        "role",
        "compress",
        "decompress",
        "client_protocol_version",
        "send_progress_in_http_headers",
        "http_headers_progress_interval_ms",
    }
)
_SETTING = re.compile(r"[A-Za-z_]\w*")
_PARAMETER: Final = "param_"


@dataclass(frozen=True)
class Request:
    """`query` is the statement or its beginning, from the URL. `settings` hold no limits of the user."""

    query: bytes
    user: User
    method: str
    query_id: str | None = None
    database: str | None = None
    default_format: str = DEFAULT_FORMAT
    wait_end: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    accept_encoding: str = ""

    @property
    def readonly(self) -> bool:
        """Whether it must change nothing: a GET, as with the real server, or a user who may only read."""
        return self.user.readonly or self.method in ("GET", "HEAD")


def url_parameters(scope: Mapping[str, Any]) -> dict[str, str]:
    """Parameters of the URL; bytes that are no UTF-8 are kept. The last of a name holds."""
    return dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True, errors="surrogateescape"))


def read(scope: Mapping[str, Any], headers: Mapping[bytes, bytes], told: Mapping[str, str], user: User) -> Request:
    """The request of `user`. Raises ClickHouseError for what this server cannot do and for settings no one could mean."""
    for name in ("compress", "decompress"):
        if told.get(name, "0") not in ("0", ""):
            raise errors.refused(errors.NOT_IMPLEMENTED, f"{name}=1 (ClickHouse's own block compression) is not offered; use HTTP's.")
    settings = {name: value for name, value in told.items() if name not in _OWN and not name.startswith(_PARAMETER)}
    for name in settings:
        if not _SETTING.fullmatch(name):
            raise errors.ClickHouseError(115, f"Unknown setting '{name}'. (UNKNOWN_SETTING)")
    return Request(
        query=told.get("query", "").encode("utf-8", "surrogateescape"),
        user=user,
        method=scope["method"],
        query_id=told.get("query_id") or _text(headers, b"x-clickhouse-query-id"),
        database=told.get("database") or _text(headers, b"x-clickhouse-database"),
        default_format=told.get("default_format") or _text(headers, b"x-clickhouse-format") or DEFAULT_FORMAT,
        wait_end=told.get("wait_end_of_query", "0") not in ("0", "", "false"),
        settings=settings,
        parameters={name.removeprefix(_PARAMETER): value for name, value in told.items() if name.startswith(_PARAMETER)},
        accept_encoding=headers.get(b"accept-encoding", b"").decode("latin-1"),
    )


def _text(headers: Mapping[bytes, bytes], name: bytes) -> str | None:
    return headers[name].decode("latin-1") if headers.get(name) else None


def engine_settings(request: Request) -> dict[str, str]:
    """Settings for the request's session, the last of them the one that shuts writing off.

    Raises ClickHouseError when the user's limits forbid one.
    """
    settings = dict(request.settings)
    limits = dict(request.user.limits or {})
    for name, most in limits.items():
        asked = settings.get(name)
        if asked is not None and not (asked.isdigit() and 0 < int(asked) <= int(most)):
            sentence = f"Setting {name} shouldn't be greater than {most}."
            raise errors.refused(errors.SETTING_CONSTRAINT_VIOLATION, sentence)
    settings = limits | settings
    if request.user.readonly:
        settings.pop("readonly", None)
        settings["readonly"] = "1"
    elif request.readonly and settings.get("readonly", "0") == "0":
        settings.pop("readonly", None)
        settings["readonly"] = "2"
    return settings
