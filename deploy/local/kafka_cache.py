"""Where the JVM's AOT cache for Kafka lies: classes and profiles of a training run, by which a broker starts with half the work.

Made by deploy/local/kafka_training.py at `make install`. It only ever saves work: the JVM checks it, and leaves it aside without a word
where it does not fit.
"""

import hashlib
import subprocess
from pathlib import Path

from deploy.local.java import version

FIRST_WITH_PROFILES = 25
JVM = ("-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true")
"""What every JVM of Kafka is started with. A cache holds for the collector it was made with."""
SILENT = "-Xlog:aot*=off"
"""Without it the JVM writes a line into Kafka's log for each class that it cannot take from the cache."""
CHECK_SECONDS = 20


def place(java: str, classpath: str, folder: Path) -> Path | None:
    """The file of the cache for these jars on this java, made or not; None where that java makes none (older than 25)."""
    found = version(java)
    if found.major < FIRST_WITH_PROFILES:
        return None
    stamp = hashlib.sha256("\n".join((found.text, java, classpath, *JVM)).encode()).hexdigest()
    return folder / f"kafka-{stamp[:12]}.aot"


def options(made: Path | None) -> list[str]:
    """The JVM's options by which it takes the cache; none where there is no cache."""
    return [f"-XX:AOTCache={made}", SILENT] if made and made.exists() else []


def fits(java: str, classpath: str, cache: Path) -> bool:
    """Whether the JVM takes the cache: the same JVM and jars, whole, and nothing changed since."""
    argv = [java, *JVM, f"-XX:AOTCache={cache}", "-XX:AOTMode=on", SILENT, "-cp", classpath, "-version"]
    try:
        return subprocess.run(argv, capture_output=True, timeout=CHECK_SECONDS, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
