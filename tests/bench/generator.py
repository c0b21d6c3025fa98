"""Runs the load generator and hears what it tells."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from deploy.demo.replay import SLICE
from deploy.demo.retail import read_invoices, read_rows
from deploy.local.settings import PROJECT
from tests.bench.load import Orders, Told
from tests.bench.system import NotMeasuredError, System
from tests.bench.workload import Templates, templates

PATIENCE_SECONDS = 60.0


class Generator:
    """One run of it. `told` is the newest it said."""

    def __init__(self, orders: Orders, log: Path) -> None:
        self.told: Told | None = None
        self._log = log
        self._heard = threading.Event()
        with log.open("wb") as errors:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "tests.bench.load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, cwd=PROJECT
            )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        assert self._child.stdin is not None
        self._child.stdin.write(msgspec.json.encode(orders) + b"\n")
        self._child.stdin.flush()

    def _listen(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            self.told = msgspec.json.decode(line, type=Told)
            self._heard.set()
        self._heard.set()

    def begun(self) -> None:
        """Return once it sends. Raises NotMeasuredError."""
        if not self._heard.wait(PATIENCE_SECONDS) or self.told is None:
            raise NotMeasuredError(f"the load generator does not send: {self._log.read_text()[-2000:]}")

    @property
    def sending(self) -> bool:
        return self._child.poll() is None and not (self.told is not None and self.told.finished)

    def stop(self) -> Told:
        """End it if it goes on; answers its last words. Raises NotMeasuredError."""
        if self._child.stdin is not None:
            self._child.stdin.close()
        try:
            self._child.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._listener.join(PATIENCE_SECONDS)
        if self.told is None:
            raise NotMeasuredError(f"the load generator said nothing: {self._log.read_text()[-2000:]}")
        return self.told


@contextmanager
def sending(system: System, made: Path, rate: float, batch: int, seconds: float) -> Iterator[Generator]:
    """The load, from when it sends until the block ends or its time is over."""
    orders = Orders(
        templates=str(made),
        port=system.ports["ingest"],
        write_key=system.env["RAPPORT_WRITE_KEY"],
        rate=rate,
        batch=batch,
        seconds=seconds,
        trial=system.next_trial(),
    )
    generator = Generator(orders, system.home.logs / f"load-{orders.trial}.log")
    try:
        generator.begun()
        yield generator
    finally:
        generator.stop()


def write_templates(path: Path) -> Templates:
    """Make the events of the demo's orders, and keep them where the generator reads them."""
    made = templates(read_invoices(read_rows(SLICE)))
    path.write_bytes(msgspec.msgpack.encode(made))
    return made
