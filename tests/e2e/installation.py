"""The whole product on this machine, as `make up` starts it, on free ports and in a temporary folder."""

import time
from pathlib import Path

from deploy.local.parts import Step, steps
from deploy.local.ports import USUAL, free_port
from deploy.local.process import Process
from deploy.local.settings import Home


class Installation:
    """Every part of the product, on free ports, in a temporary folder."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder)
        self.home.make()
        self.ports = dict(zip(USUAL, _distinct_ports(len(USUAL)), strict=True))
        self.steps: dict[str, Step] = {step.name: step for step in steps(self.ports, self.home) if step.name != "prometheus"}
        self.parts: dict[str, Process] = {}

    def start(self) -> None:
        """Start everything in order, each group ready before the next."""
        for group in sorted({step.group for step in self.steps.values()}):
            here = [step for step in self.steps.values() if step.group == group]
            for step in here:
                self.parts[step.name] = step.make()
                self.parts[step.name].start()
            for step in here:
                if step.once:
                    self._wait_done(self.parts[step.name])
                else:
                    self.parts[step.name].wait_ready(120)

    def _wait_done(self, process: Process) -> None:
        end = time.monotonic() + 60
        while process.alive:
            if time.monotonic() > end:
                raise SystemExit(f"{process.name} did not end:\n{process.log_tail()}")
            time.sleep(0.05)
        if process.returncode:
            raise SystemExit(f"{process.name} failed:\n{process.log_tail()}")

    def stop(self) -> None:
        for step in sorted(self.steps.values(), key=lambda step: -(step.drains or step.group)):
            if step.name in self.parts:
                self.parts[step.name].stop()


def _distinct_ports(wanted: int) -> list[int]:
    found: set[int] = set()
    while len(found) < wanted:
        found.add(free_port())
    return list(found)
