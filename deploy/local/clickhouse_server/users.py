"""Who may speak to the server: one user that may write, one that may only read within limits."""

import secrets
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from deploy.local.clickhouse_server import errors

READER_SETTINGS: Final = {
    "max_execution_time": "30",
    "max_rows_to_read": "500000000",
    "max_result_rows": "1000000",
    "max_result_bytes": "200000000",
    "max_memory_usage": "400000000",
    "max_threads": "1",
}
"""Limits of the reading user; it can ask for less of each, never for more."""


@dataclass(frozen=True)
class User:
    """`password` empty: none is asked. `limits` are settings that a request may lower but not raise."""

    name: str
    password: str
    readonly: bool = False
    limits: Mapping[str, str] | None = None


class Users:
    """The users of this server, by name."""

    def __init__(self, *users: User) -> None:
        self._users = {user.name: user for user in users}

    @property
    def writer(self) -> str:
        """The name of the one that may write."""
        return next(user.name for user in self._users.values() if not user.readonly)

    def admit(self, headers: Mapping[bytes, bytes], parameters: Mapping[str, str]) -> User:
        """The user of a request, by X-ClickHouse-User and -Key, Basic auth, or ?user= and ?password=.

        Raises ClickHouseError(AUTHENTICATION_FAILED), in the same words for a wrong name and a wrong password.
        """
        name, password = credentials(headers, parameters)
        user = self._users.get(name)
        if user is None or not secrets.compare_digest(user.password.encode(), password.encode()):
            raise errors.refused(
                errors.AUTHENTICATION_FAILED,
                f"{name}: Authentication failed: password is incorrect, or there is no user with such name.",
            )
        return user


def credentials(headers: Mapping[bytes, bytes], parameters: Mapping[str, str]) -> tuple[str, str]:
    """Name and password as the request gives them; the name is `default` where it gives none."""
    if b"x-clickhouse-user" in headers or b"x-clickhouse-key" in headers:
        name = headers.get(b"x-clickhouse-user", b"default").decode("latin-1")
        return name, headers.get(b"x-clickhouse-key", b"").decode("latin-1")
    scheme, _, told = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"basic":
        try:
            name, _, password = b64decode(told, validate=True).decode().partition(":")
        except (Base64Error, UnicodeDecodeError):
            raise errors.refused(errors.AUTHENTICATION_FAILED, "Invalid authentication: not Base64.") from None
        return name or "default", password
    return parameters.get("user") or "default", parameters.get("password", "")
