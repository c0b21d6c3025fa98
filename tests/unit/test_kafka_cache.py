"""Kafka's AOT cache: for which JVM and jars there is one, what a JVM is told of it, and that its absence harms nothing."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from deploy.local import java, kafka_cache, kafka_training
from deploy.local.process import NotReadyError


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    java.java.cache_clear()
    yield
    java.java.cache_clear()


def java_of(folder: Path, version: str) -> str:
    """A java that says only which it is."""
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(f"#!{sys.executable}\nimport sys\nsys.stderr.write('openjdk version \"{version}\"')\n")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize("version", ["17.0.15", "21.0.2", "24.0.1", "1.8.0_402"])
def test_a_java_that_makes_no_cache_is_started_as_ever(tmp_path: Path, version: str) -> None:
    place = kafka_cache.place(java_of(tmp_path, version), "a.jar", tmp_path)
    assert place is None
    assert kafka_cache.options(place) == []


def test_another_java_and_other_jars_have_another_cache(tmp_path: Path) -> None:
    first, second = java_of(tmp_path / "1", "25.0.2"), java_of(tmp_path / "2", "25.0.3")
    places = {kafka_cache.place(program, jars, tmp_path) for program in (first, second) for jars in ("a.jar", "b.jar")}
    assert None not in places
    assert len(places) == 4
    assert kafka_cache.place(first, "a.jar", tmp_path) == kafka_cache.place(first, "a.jar", tmp_path)


def test_the_jvm_hears_of_a_cache_once_it_is_made(tmp_path: Path) -> None:
    cache = kafka_cache.place(java_of(tmp_path, "25.0.2"), "a.jar", tmp_path)
    assert cache is not None
    assert kafka_cache.options(cache) == []
    cache.write_bytes(b"made")
    assert kafka_cache.options(cache) == [f"-XX:AOTCache={cache}", kafka_cache.SILENT]


def test_the_java_of_the_wheel_goes_before_that_on_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    packed = java_of(tmp_path / "wheel" / "java-runtime", "25.0.2")
    on_path = java_of(tmp_path / "system", "17.0.15")
    monkeypatch.setattr(java, "find_spec", lambda _: SimpleNamespace(origin=str(tmp_path / "wheel" / "__init__.py")))
    monkeypatch.setattr(java, "shutil", SimpleNamespace(which=lambda _: on_path))
    assert java.java() == packed
    java.java.cache_clear()
    Path(packed).unlink()
    assert java.java() == on_path


def test_a_training_that_fails_is_told_in_one_line_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise NotReadyError("kafka ended with code 1\nand its log")

    monkeypatch.setattr(kafka_training, "java", lambda: java_of(tmp_path / "java", "25.0.2"))
    monkeypatch.setattr(kafka_training, "classpath", lambda _: "a.jar")
    monkeypatch.setattr(kafka_training, "_recorded", fail)
    jars = tmp_path / "cache" / "maven"
    jars.mkdir(parents=True)
    kafka_training.main(jars)
    assert list(jars.parent.iterdir()) == [jars]
    assert capsys.readouterr().out == "Kafka will start without an AOT cache, with twice the work: kafka ended with code 1\n"
