"""Which TCP ports of the loopback address are free, and which each part gets."""

import random
import socket
from collections.abc import Callable, Mapping
from itertools import chain
from types import MappingProxyType
from typing import Final

HOST = "127.0.0.1"
USUAL: Mapping[str, int] = MappingProxyType(
    {
        "ingest": 8080,
        "proxy": 8081,
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
        "hooks": 8026,
        "query": 8096,
        "control": 8097,
    }
)
"""The port of each part when it is free; for a worker, and beside ingest's public one, that of its health pages. The API is the proxy."""
BELOW_OUTGOING = range(10_000, 32_768)
"""Where free ports are looked for. Several who look at the same time may each take a part of it."""
_RANDOM: Final = random.SystemRandom()
_TOLD: Final[set[int]] = set()


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
    """A port that is free now and that this process was not told before; another process may take it before you do.

    It lies below those that a kernel gives to outgoing connections: one of these could take the port of a server while it starts again.
    Raises OSError when none is found.
    """
    for _ in range(1_000):
        port = _RANDOM.choice(BELOW_OUTGOING)
        if port not in _TOLD and is_free(port):
            _TOLD.add(port)
            return port
    raise OSError(f"no free port from {BELOW_OUTGOING.start} to {BELOW_OUTGOING.stop - 1}")


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
