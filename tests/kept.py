"""What exists in an installation and does not say what personal data it holds."""

from collections.abc import Iterable
from pathlib import Path

from deploy.local.kept import FOLDERS
from services.warehouse.domain.kept import TABLES
from shared.contracts.redis_keys import PREFIXES, prefix_of
from shared.contracts.topics import TOPICS


def undeclared_topics(names: Iterable[str]) -> set[str]:
    """Topics of the broker's own (`__consumer_offsets` …) hold offsets and transactions; no names but groups'."""
    return {name for name in names if not name.startswith("__")} - {topic.name for topic in TOPICS}


def undeclared_keys(keys: Iterable[str]) -> set[str]:
    """By prefix."""
    return {prefix_of(key) for key in keys} - {kept.where for kept in PREFIXES}


def undeclared_tables(names: Iterable[str]) -> set[str]:
    """Tables, views and dictionaries of database `rapport`."""
    return set(names) - {kept.where for kept in TABLES}


def undeclared_paths(root: Path) -> set[str]:
    """Files and folders of RAPPORT_HOME; of its `data` those within."""
    found = {path.name for path in root.iterdir()} - {"data"}
    found |= {f"data/{path.name}" for path in (root / "data").iterdir()} if (root / "data").exists() else set()
    return found - {kept.where for kept in FOLDERS}
