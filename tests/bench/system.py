"""The system under measurement: parts of `rapport up` on free ports, in a temporary folder that goes away with it."""

import tempfile
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka.admin import AdminClient

from deploy.local import key_secret, keys
from deploy.local.parts import Step, steps, urls
from deploy.local.ports import USUAL, free_port
from deploy.local.process import MissingError, NotReadyError, Process
from deploy.local.settings import Home
from shared.adapters.kafka_clients import KafkaConnection
from shared.adapters.partitions import read_count
from shared.contracts.control import KeyKind
from shared.contracts.topics import EVENT_RECEIVED
from shared.testing.installation import partitions

START_SECONDS = 180.0
STOP_SECONDS = 20.0
NOT_MEASURED = "prometheus"
"""Where it is installed it runs beside the parts, but is none of them."""


class NotMeasuredError(Exception):
    """Something cannot be measured here; the message says why."""


@dataclass
class System:
    """What runs. `env`: the URLs as .rapport/env has them, and the keys. `cold_start_s`: from nothing to everything ready."""

    home: Home
    ports: dict[str, int]
    env: dict[str, str]
    parts: dict[str, Process]
    cold_start_s: float = 0.0
    trials: int = 0

    @property
    def bootstrap(self) -> str:
        return self.env["RAPPORT_KAFKA_BOOTSTRAP"]

    def next_trial(self) -> int:
        """A number that no run of the load against this installation has had."""
        self.trials += 1
        return self.trials

    def check_alive(self) -> None:
        """Raises NotMeasuredError when a part has ended."""
        for name, part in self.parts.items():
            if not part.alive:
                raise NotMeasuredError(f"{name} ended with code {part.returncode} under the load:\n{part.log_tail()}")


@contextmanager
def running(without: Collection[str] = (), only: Collection[str] | None = None) -> Iterator[System]:
    """Start the parts, all or `only` these, and stop them at the end. Raises NotMeasuredError when one does not become ready."""
    with tempfile.TemporaryDirectory(prefix="rapport-bench-") as folder:
        home = Home(Path(folder))
        home.make()
        ports = dict(zip(USUAL, _distinct_ports(len(USUAL)), strict=True))
        system = System(home, ports, urls(ports, home), {})
        left_out = {*without, NOT_MEASURED}
        wanted = [step for step in steps(ports, home) if step.name not in left_out and (only is None or step.name in only)]
        try:
            _start(system, wanted)
            with partitions(_partitions(system)):
                yield system
        finally:
            _stop(system, wanted)


def _partitions(system: System) -> int:
    """Of the data topics, as the services read it."""
    return read_count(AdminClient({"bootstrap.servers": system.bootstrap, "log_level": 0}), [EVENT_RECEIVED])


def _start(system: System, wanted: list[Step]) -> None:
    """Group after group as the supervisor does; the keys are made beside the services."""
    began = time.monotonic()
    with ThreadPoolExecutor(len(wanted) + 1) as side_by_side:
        beside = []
        for group in sorted({step.group for step in wanted}):
            if group == 3:
                beside.append(side_by_side.submit(_make_keys, system))
            here = [step for step in wanted if step.group == group]
            for done in [side_by_side.submit(_start_one, system, step) for step in here]:
                done.result()
        for done in beside:
            done.result()
    system.cold_start_s = time.monotonic() - began


def _start_one(system: System, step: Step) -> None:
    try:
        part = step.make()
        system.parts[step.name] = part
        part.start()
        if not step.once:
            part.wait_ready(START_SECONDS)
            return
        end = time.monotonic() + START_SECONDS
        while part.alive and time.monotonic() < end:
            time.sleep(0.02)
        del system.parts[step.name]
        if part.alive or part.returncode:
            raise NotMeasuredError(f"{step.name} failed:\n{part.log_tail()}")
    except (NotReadyError, MissingError) as error:
        raise NotMeasuredError(f"{step.name} could not be started: {error}") from None


def _make_keys(system: System) -> None:
    for name, kind in (("RAPPORT_WRITE_KEY", KeyKind.WRITE), ("RAPPORT_QUERY_KEY", KeyKind.QUERY)):
        try:
            system.env[name] = keys.create(KafkaConnection(system.bootstrap), key_secret.of_home(system.home), kind, "bench").secret
        except keys.KeysUnavailableError as error:
            raise NotMeasuredError(str(error)) from None


def _stop(system: System, wanted: list[Step]) -> None:
    order = {step.name: step.group if step.drains is None else step.drains for step in wanted}
    for place in sorted(set(order.values()), reverse=True):
        group = [part for name, part in system.parts.items() if order[name] == place]
        if group:
            with ThreadPoolExecutor(len(group)) as side_by_side:
                list(side_by_side.map(lambda part: part.stop(STOP_SECONDS), group))


def _distinct_ports(wanted: int) -> list[int]:
    found: set[int] = set()
    while len(found) < wanted:
        found.add(free_port())
    return list(found)
