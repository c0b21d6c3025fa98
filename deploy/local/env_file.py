"""`.rapport/env`: the keys and URLs of the running system, to be sourced by a shell."""

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

_LINE = re.compile(r"export ([A-Z0-9_]+)=(.*)")


def read(path: Path) -> dict[str, str]:
    """The variables of the file; empty when there is none."""
    if not path.exists():
        return {}
    found = (_LINE.fullmatch(line) for line in path.read_text().splitlines())
    return {match[1]: "".join(shlex.split(match[2])) for match in found if match}


def write(path: Path, variables: Mapping[str, str]) -> None:
    """Replace the file in one step, readable by its owner only."""
    part = path.with_suffix(".part")
    lines = "".join(f"export {name}={_quoted(value)}\n" for name, value in variables.items())
    with open(part, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(f"# Keys and URLs of this Rapport, for a shell: source {path}\n{lines}")
    part.chmod(0o600)
    part.rename(path)


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "'\"'\"'") + "'"
