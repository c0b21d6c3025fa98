"""The jars of Apache Kafka: pinned by Maven coordinates and sha256 in kafka.lock, fetched by jgo, no Maven needed.

`python -m deploy.local.kafka_jars` fetches them; `python -m deploy.local.kafka_jars lock` resolves ROOTS anew and
rewrites the lock file.
"""

import fcntl
import hashlib
import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jgo.maven import MavenContext

from deploy.local.process import MissingError

LOCK = Path(__file__).with_name("kafka.lock")
CACHE = Path(__file__).parents[2] / ".cache" / "maven"
ROOTS = (
    "org.apache.kafka:kafka_2.13:4.1.0",
    "org.apache.kafka:kafka-clients:4.1.0",
    "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3",
    "org.apache.logging.log4j:log4j-core:2.24.3",
)
ATTEMPTS = 3


def classpath(cache: Path = CACHE) -> str:
    """Class path of all locked jars, fetched into `cache` where absent.

    Raises MissingError when one cannot be fetched or does not have the sha256 of the lock file.
    """
    logging.getLogger("jgo").setLevel(logging.ERROR)
    context = MavenContext(repo_cache=cache, timeout=60)
    pins = [tuple(line.split()) for line in LOCK.read_text().splitlines() if line and not line.startswith("#")]
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as one_at_a_time, ThreadPoolExecutor(8) as pool:
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)  # another process must not see a half-written jar
        return ":".join(pool.map(lambda pin: str(_fetch(context, *pin)), pins))


def _fetch(context: MavenContext, coordinate: str, sha256: str) -> Path:
    group, artifact, version = coordinate.split(":")
    wanted = context.project(group, artifact).at_version(version).artifact()
    reason: object = None
    for _ in range(ATTEMPTS):
        try:
            jar: Path = wanted.resolve()
            found = hashlib.sha256(jar.read_bytes()).hexdigest()
        except (OSError, RuntimeError) as error:  # requests' errors are OSErrors
            reason = error
            continue
        if found == sha256:
            return jar
        jar.unlink(missing_ok=True)  # a download cut short, or not what was locked
        reason = f"its sha256 is {found}, the lock file says {sha256}"
    raise MissingError(f"the jar {coordinate}, which cannot be fetched: {reason}")


def lock(cache: Path = CACHE) -> None:
    """Resolve ROOTS with everything they need at run time, and write the lock file."""
    context = MavenContext(repo_cache=cache, timeout=60)
    # "!" takes the coordinate as it is: no other version is forced on it by a bill of materials.
    roots = [context.create_dependency(f"{root}!") for root in ROOTS]
    inputs, further = context.resolver.resolve(roots)
    wanted = {str(d.artifact): d.artifact for d in [*inputs, *(d for d in further if d.scope in ("compile", "runtime"))]}
    lines = []
    for artifact in wanted.values():
        digest = hashlib.sha256(artifact.resolve().read_bytes()).hexdigest()
        lines.append(f"{artifact.groupId}:{artifact.artifactId}:{artifact.version} {digest}")
    head = "# Jars of Apache Kafka: coordinate and sha256. Written by `python -m deploy.local.kafka_jars lock`.\n"
    LOCK.write_text(head + "\n".join(sorted(lines)) + "\n")


if __name__ == "__main__":
    try:
        if sys.argv[1:] == ["lock"]:
            lock()
        classpath()
    except MissingError as error:
        sys.exit(f"Kafka needs {error}")
