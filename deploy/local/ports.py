"""Which TCP ports of the loopback address are free, and which each part gets."""

import socket
from collections.abc import Callable, Mapping
from itertools import chain
from types import MappingProxyType

HOST = "127.0.0.1"
USUAL: Mapping[str, int] = MappingProxyType(
    {
        "ingest": 8080,
        "query": 8081,
        "kafka": 9092,
        "redis": 6379,
        "clickhouse": 8123,
        "smtp": 8025,
        "prometheus": 9090,
        "profile": 8091,
        "segmentation": 8092,
        "messaging": 8093,
        "warehouse": 8094,
        "ingest-health": 8095,
    }
)
"""The port of each part when it is free; for a worker, and beside ingest's public one, that of its health pages."""


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback address now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """A port that the kernel found free; somebody else may take it before you do."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def choose(base: int | None, free: Callable[[int], bool] = is_free) -> dict[str, int]:
    """A port for each name of USUAL: the usual one, or with `base` the one at that name's place after it; else the next free.

    Raises OSError when there is none up to 65535.
    """
    chosen: dict[str, int] = {}
    wanted = USUAL if base is None else {name: base + place for place, name in enumerate(USUAL)}
    reserved = set(wanted.values())
    for name, first in wanted.items():
        others = (p for p in range(first + 1, 65_536) if p not in reserved and p not in chosen.values())
        port = next((p for p in chain([first], others) if p < 65_536 and free(p)), None)
        if port is None:
            raise OSError(f"no free port from {first} up for {name}")
        chosen[name] = port
    return chosen
