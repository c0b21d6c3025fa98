"""Every store says what personal data it holds. What a real run leaves is looked at in tests/e2e/test_whole_retail.py."""

import re
from pathlib import Path

import yaml

from deploy.local.kept import VOLUMES
from deploy.local.settings import PROJECT, Home
from shared.contracts.redis_keys import TAGS, cap_key, index_key, meta_key, outbox_key, side_key, state_key, timers_key
from tests.kept import undeclared_keys, undeclared_paths, undeclared_tables, undeclared_topics

CREATED = re.compile(r"CREATE (?:OR REPLACE )?(?:TABLE|VIEW|MATERIALIZED VIEW|DICTIONARY)(?: IF NOT EXISTS)? rapport\.(\w+)")
RENAMED = re.compile(r"(?:RENAME TABLE rapport\.\w+ TO|EXCHANGE TABLES rapport\.\w+ AND) rapport\.(\w+)")
DROPPED = re.compile(r"DROP (?:TABLE|VIEW|DICTIONARY)(?: IF EXISTS)? rapport\.(\w+)")


def test_every_table_view_and_dictionary_that_a_migration_makes_is_declared() -> None:
    made: set[str] = set()
    for path in sorted((PROJECT / "services" / "warehouse" / "migrations").glob("*.sql")):
        text = path.read_text()
        made = (made | set(CREATED.findall(text)) | set(RENAMED.findall(text))) - set(DROPPED.findall(text))
    assert {"events", "canonical_ids", "canonical"} <= made
    assert undeclared_tables(made) == set(), "declare it in services/warehouse/domain/kept.py"


def test_every_key_that_can_be_built_is_declared() -> None:
    keys = [make(stage, 3) for stage in TAGS if stage != "dispatcher" for make in (meta_key, outbox_key, timers_key)]
    keys += [state_key(stage, "u:a}:b") for stage in TAGS if stage != "dispatcher"]
    keys += [side_key("folder", "u:1"), index_key("segmentation", 0, "members:x"), cap_key("u:1", "marketing"), meta_key("dispatcher", 1)]
    assert undeclared_keys(keys) == set()


def test_every_volume_of_compose_is_declared_and_no_other() -> None:
    compose = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
    assert {kept.where for kept in VOLUMES} == set(compose["volumes"])


def test_every_place_of_a_local_run_is_declared(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.make()
    for file in (home.env, home.parts, home.lock, home.demo):
        file.touch()
    for part in ("kafka", "redis", "clickhouse", "prometheus"):
        (home.data / part).mkdir()
    assert undeclared_paths(home.root) == set()


def test_what_is_not_declared_is_found(tmp_path: Path) -> None:
    assert undeclared_topics(["rapport.event.received.v1", "__consumer_offsets", "rapport.new.made.v1"]) == {"rapport.new.made.v1"}
    assert undeclared_keys(["{pro:3}:s:u:1", "{pro:3}:z:u:1", "{dis:0}:s:u:1", "loose"]) == {"{pro:<p>}:z", "{dis:<p>}:s", "loose:<p>}:"}
    assert undeclared_tables(["events", "answers"]) == {"answers"}
    (tmp_path / "data" / "vault").mkdir(parents=True)
    (tmp_path / "notes.txt").touch()
    assert undeclared_paths(tmp_path) == {"data/vault", "notes.txt"}
