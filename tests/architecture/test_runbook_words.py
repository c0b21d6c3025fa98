"""The runbook is found by words of a log or an answer: it quotes them as the code writes them."""

import ast
import re
from typing import Final

import pytest

from deploy.local.settings import PROJECT
from tests.architecture.sources import python_files

ROWS: Final = re.findall(r"^\| (.+?) \|", (PROJECT / "deploy/prometheus/RUNBOOK.md").read_text(), re.MULTILINE)
QUOTED: Final = sorted({words for row in ROWS for words in re.findall(r"`([^`]+)`", row) if re.fullmatch(r"[A-Za-z…][A-Za-z …:,]+", words)})
"""Words in the first column of a table; paths, keys and options are no words."""
COMMAND: Final = "rapport "


@pytest.fixture(scope="module")
def written() -> str:
    """All text that the code can write, a line for each literal; docstrings are not written."""
    trees = [tree for root in ("services", "shared", "deploy") for _, tree in python_files(root)]
    docs = {id(node.value) for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    nodes = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docs)
    return "\n".join(node.value for node in nodes if isinstance(node.value, str))


def test_words_are_quoted_in_the_runbook() -> None:
    assert len(QUOTED) > 10
    assert "rows were dropped from ClickHouse: …" in QUOTED


@pytest.mark.parametrize("words", [words for words in QUOTED if " " in words and not words.startswith(COMMAND)])
def test_words_that_the_runbook_quotes_are_written_somewhere(words: str, written: str) -> None:
    assert [part for part in map(str.strip, words.split("…")) if part not in written] == []
