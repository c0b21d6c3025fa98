"""Lengths of time as definitions write them: `90m`, `36h`, `30d`."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from shared.contracts.days import DAY_MS as DAY_MS
from shared.definitions.models import wrong

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS

_UNITS: Final = {"m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS}
_PATTERN: Final = r"^[1-9][0-9]{0,5}[mhd]$"


def at_most(longest: "Duration", because: str) -> "Callable[[Duration], Duration]":
    """A validator that refuses what is longer than `longest`; `because` says why, and what to do instead."""

    def checked(value: Duration) -> Duration:
        if value > longest:
            raise wrong(f"expected at most {longest}: {because} (found {value})")
        return value

    return checked


@dataclass(frozen=True, order=True)
class Duration:
    """A length of time in milliseconds, written as a whole number of minutes, hours or days. A day is 24 hours."""

    ms: int

    @classmethod
    def parse(cls, text: str) -> "Duration":
        """Raises ValueError if `text` is no duration."""
        if not re.fullmatch(_PATTERN, text):
            raise ValueError(f"{text!r} is no duration such as 30d, 12h or 45m")
        return cls(int(text[:-1]) * _UNITS[text[-1]])

    def __str__(self) -> str:
        for letter in "dhm":
            if self.ms % _UNITS[letter] == 0:
                return f"{self.ms // _UNITS[letter]}{letter}"
        return f"{self.ms}ms"

    @classmethod
    def _validate(cls, value: Any) -> "Duration":
        if isinstance(value, cls):
            return value
        if not isinstance(value, str) or not re.fullmatch(_PATTERN, value):
            raise wrong(f"expected a duration such as 30d, 12h or 45m (found {value!r})")
        return cls.parse(value)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(cls._validate, serialization=core_schema.to_string_ser_schema())

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "pattern": _PATTERN, "examples": ["30d", "12h", "45m"]}
