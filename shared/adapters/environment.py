"""The settings of a process from its environment, and the one way in which a process says that it cannot start."""

import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Final, NoReturn, TypeVar
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, AliasChoices, ValidationError
from pydantic_settings import BaseSettings

CANNOT_START: Final = 2
"""Exit code: a setting or a definition must be mended first. Starting again helps nothing."""
PREFIX: Final = "RAPPORT_"
DEFINITIONS: Final = Path("deploy/definitions")
"""Where definitions are, unless RAPPORT_DEFINITIONS_DIR says so: seen from the project's folder."""
S = TypeVar("S", bound=BaseSettings)


def _level(value: str) -> str:
    if value.upper() not in logging.getLevelNamesMapping():
        raise ValueError("is no level (DEBUG, INFO, WARNING, ERROR)")
    return value.upper()


LogLevel = Annotated[str, AfterValidator(_level)]


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError):
        raise ValueError(f"{name!r} is no time zone such as Asia/Shanghai") from None
    return name


TimeZone = Annotated[str, AfterValidator(_zone)]
"""An IANA name."""


def also(name: str, earlier: str) -> AliasChoices:
    """A setting that a release before read as RAPPORT_<EARLIER>: that name still holds, where the new one is not set."""
    return AliasChoices(f"{PREFIX}{name.upper()}", f"{PREFIX}{earlier.upper()}")


def read_environment(process: str, kind: type[S]) -> S:
    """The settings of `process`. Ends it with a line for each variable that is missing or wrong; values are not told."""
    try:
        return kind()
    except ValidationError as error:
        told = error.errors(include_url=False, include_input=False, include_context=False)
        cannot_start(process, *(f"{_variable(kind, one['loc'])}: {one['msg']}" for one in told))


def cannot_start(process: str, *reasons: object) -> NoReturn:
    """End the process with code CANNOT_START and a line for each reason."""
    for reason in reasons:
        sys.stderr.write(f"{process} cannot start: {reason}\n")
    raise SystemExit(CANNOT_START)


def _variable(kind: type[BaseSettings], where: tuple[int | str, ...]) -> str:
    """The variable that an error is about; of several that are read the one that is set."""
    told = "_".join(map(str, where) if where else "*").upper()
    name = told if told.startswith(PREFIX) else f"{kind.model_config.get('env_prefix', '')}{told}".upper()
    read = (field.validation_alias.choices for field in kind.model_fields.values() if isinstance(field.validation_alias, AliasChoices))
    alike = next((choices for choices in read if name in choices), [])
    return next((str(one) for one in alike if str(one) in os.environ), name)
