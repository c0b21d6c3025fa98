"""The settings of a process from its environment, and the one way in which a process says that it cannot start."""

import logging
import sys
from typing import Annotated, Final, NoReturn, TypeVar

from pydantic import AfterValidator, ValidationError
from pydantic_settings import BaseSettings

CANNOT_START: Final = 2
"""Exit code: a setting or a definition must be mended first. Starting again helps nothing."""
S = TypeVar("S", bound=BaseSettings)


def _level(value: str) -> str:
    if value.upper() not in logging.getLevelNamesMapping():
        raise ValueError("is no level (DEBUG, INFO, WARNING, ERROR)")
    return value.upper()


LogLevel = Annotated[str, AfterValidator(_level)]


def read_environment(process: str, kind: type[S]) -> S:
    """The settings of `process`. Ends it with a line for each variable that is missing or wrong; values are not told."""
    try:
        return kind()
    except ValidationError as error:
        prefix = str(kind.model_config.get("env_prefix", ""))
        told = error.errors(include_url=False, include_input=False, include_context=False)
        cannot_start(process, *(f"{_name(prefix, one['loc'])}: {one['msg']}" for one in told))


def cannot_start(process: str, *reasons: object) -> NoReturn:
    """End the process with code CANNOT_START and a line for each reason."""
    for reason in reasons:
        sys.stderr.write(f"{process} cannot start: {reason}\n")
    raise SystemExit(CANNOT_START)


def _name(prefix: str, where: tuple[int | str, ...]) -> str:
    return (prefix + "_".join(map(str, where))).upper() if where else f"{prefix}*".upper()
