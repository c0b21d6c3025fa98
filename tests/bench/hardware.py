"""What the figures were measured on."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import psutil

BUSY = 0.5


@dataclass(frozen=True)
class Hardware:
    """`busy`: mean number of cores that something else used when the run began (load average of a minute)."""

    cpu: str
    cores: int
    memory_gb: float
    system: str
    python: str
    busy: float

    @property
    def quiet(self) -> bool:
        return self.busy < BUSY

    def __str__(self) -> str:
        return f"{self.cpu}, {self.cores} cores, {self.memory_gb:.0f} GB, {self.system}, Python {self.python}"


def hardware() -> Hardware:
    """This machine."""
    return Hardware(
        _cpu(),
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        psutil.virtual_memory().total / 1024**3,
        f"{platform.system()} {platform.release()}",
        platform.python_version(),
        os.getloadavg()[0],
    )


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
