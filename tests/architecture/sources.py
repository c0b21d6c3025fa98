"""The project's own Python files, parsed."""

import ast
from collections.abc import Iterator
from pathlib import Path

from deploy.local.settings import PROJECT


def python_files(root: str) -> Iterator[tuple[Path, ast.Module]]:
    """Each file below `root` and its syntax tree."""
    for path in sorted((PROJECT / root).rglob("*.py")):
        if "node_modules" not in path.parts:
            yield path, ast.parse(path.read_text())
