"""The AOT cache that `make install` made for Kafka, on the real JVM."""

import subprocess
from pathlib import Path

import pytest

from deploy.local import kafka_cache
from deploy.local.java import java
from deploy.local.kafka import Kafka
from deploy.local.kafka_jars import CACHE, classpath

pytestmark = pytest.mark.real


@pytest.fixture
def cache() -> Path:
    """The file that was made; without one Kafka starts as it did before there were any."""
    place = kafka_cache.place(java(), classpath(), CACHE.parent)
    if place is None or not place.exists():
        pytest.skip("not run: needs Kafka's AOT cache, which `make install` makes by a Java of 25 or newer")
    return place


def test_a_broker_starts_from_the_cache_and_says_nothing_of_it(kafka: Kafka, cache: Path) -> None:
    assert kafka_cache.fits(java(), classpath(), cache)
    assert str(cache) in Path(f"/proc/{kafka.pid}/maps").read_text()
    assert "[aot" not in kafka.log_path.read_text()


@pytest.mark.parametrize("broken", ["absent", "empty", "another file", "cut short", "of other jars"])
def test_a_cache_that_does_not_fit_is_left_aside_in_silence(cache: Path, tmp_path: Path, broken: str) -> None:
    made, jars = tmp_path / "made.aot", classpath()
    match broken:
        case "empty":
            made.touch()
        case "another file":
            made.write_bytes(b"not a cache" * 1000)
        case "cut short":
            made.write_bytes(cache.read_bytes()[:1_000_000])
        case "of other jars":
            made, jars = cache, str(tmp_path)
    plain = [java(), *kafka_cache.JVM, "-cp", jars, "-version"]
    assert _told([plain[0], f"-XX:AOTCache={made}", kafka_cache.SILENT, *plain[1:]]) == _told(plain)
    assert not kafka_cache.fits(java(), jars, made)


def _told(argv: list[str]) -> tuple[bytes, bytes]:
    done = subprocess.run(argv, capture_output=True, timeout=60, check=True)
    return done.stdout, done.stderr
