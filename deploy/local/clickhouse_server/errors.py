"""ClickHouse's errors as its HTTP interface words them: code, status, text."""

import re
from typing import Final

NOT_IMPLEMENTED: Final = 48
SYNTAX_ERROR: Final = 62
TOO_MANY_SIMULTANEOUS_QUERIES: Final = 202
QUERY_IS_TOO_LARGE: Final = 229
NOT_ENOUGH_SPACE: Final = 243
SUPPORT_IS_DISABLED: Final = 344
BAD_ARGUMENTS: Final = 36
INCORRECT_DATA: Final = 117
READONLY: Final = 164
SETTING_CONSTRAINT_VIOLATION: Final = 452
ACCESS_DENIED: Final = 497
AUTHENTICATION_FAILED: Final = 516
UNKNOWN_EXCEPTION: Final = 1002

NAMES: Final = {
    NOT_IMPLEMENTED: "NOT_IMPLEMENTED",
    SYNTAX_ERROR: "SYNTAX_ERROR",
    TOO_MANY_SIMULTANEOUS_QUERIES: "TOO_MANY_SIMULTANEOUS_QUERIES",
    QUERY_IS_TOO_LARGE: "QUERY_IS_TOO_LARGE",
    NOT_ENOUGH_SPACE: "NOT_ENOUGH_SPACE",
    SUPPORT_IS_DISABLED: "SUPPORT_IS_DISABLED",
    BAD_ARGUMENTS: "BAD_ARGUMENTS",
    INCORRECT_DATA: "INCORRECT_DATA",
    READONLY: "READONLY",
    SETTING_CONSTRAINT_VIOLATION: "SETTING_CONSTRAINT_VIOLATION",
    ACCESS_DENIED: "ACCESS_DENIED",
    AUTHENTICATION_FAILED: "AUTHENTICATION_FAILED",
    UNKNOWN_EXCEPTION: "UNKNOWN_EXCEPTION",
}

# ClickHouse, src/Server/HTTP/exceptionCodeToHTTPStatus.cpp; every other code is 500.
_STATUS: Final = {
    401: (194,),
    403: (192, 193, 497, 512, 516),
    400: (6, 8, 15, 25, 26, 27, 36, 38, 41, 44, 53, 62, 72, 117, 167, 168, 223, 235, 321, 376, 427, 441, 675, 676),
    404: (46, 47, 50, 56, 60, 63, 73, 78, 81, 99, 115, 336, 511),
    413: (229,),
    501: (48,),
    503: (76, 209, 439),
    411: (381,),
    408: (159,),
}
_BY_CODE: Final = {code: status for status, codes in _STATUS.items() for code in codes}

_PREFIX = re.compile(r"\s*Code: (\d+)\. DB::Exception: ")
_VERSION = re.compile(r"\.? \(version [^()]*(?:\([^()]*\))?\)\.?(?: \([A-Z0-9_]+\))?\s*$")
_NAME = re.compile(r"\(([A-Z0-9_]+)\)\s*$")


class ClickHouseError(Exception):
    """What a client is told: `code` of ClickHouse's error list and the message in the server's own words."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message

    @property
    def status(self) -> int:
        """The HTTP status that the real server gives for this code."""
        return _BY_CODE.get(self.code, 500)

    def text(self, version: str) -> str:
        """The whole body: `Code: 62. DB::Exception: … (SYNTAX_ERROR) (version 26.9.2.1 (official build))`."""
        return f"Code: {self.code}. DB::Exception: {self.message} (version {version} (official build))\n"


def refused(code: int, sentence: str) -> ClickHouseError:
    """An error of our own, in the form of the engine's. `sentence` ends with a full stop."""
    return ClickHouseError(code, f"{sentence} ({NAMES[code]})")


def engine_error(text: str) -> ClickHouseError:
    """What the engine threw, `Code: N. DB::Exception: … (NAME)`, once however often it wrapped it in itself."""
    code, message = UNKNOWN_EXCEPTION, text.strip()
    while found := _PREFIX.match(message):
        code, message = int(found[1]), message[found.end() :]
    named = _NAME.search(message)
    while (cut := _VERSION.sub("", message)) != message:
        message = cut
    if named and not _NAME.search(cut):
        cut = f"{cut} ({named[1]})"
    if code == UNKNOWN_EXCEPTION:
        cut = f"{cut} ({NAMES[code]})"
    return ClickHouseError(code, cut)
