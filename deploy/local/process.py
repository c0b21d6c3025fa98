"""A child process with a log file, that can be started again and again, and that never outlives us."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from deploy.local.probes import reason_not_ready

LEASH = Path(__file__).with_name("leash.py")
POLL_SECONDS = 0.05
LONGEST_TAIL_BYTES = 65_536

# The kernel ties a child to the *thread* that started it, so one thread that lives as long as we do starts them all.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")


class NotReadyError(Exception):
    """A child did not become ready; the message says which, why, and ends with the last lines of its log."""


class MissingError(Exception):
    """Something that a part needs is not on this machine; the message completes the sentence "it needs …"."""


class Process:
    """One child process: start, stop, kill, pause, and start again with the same command, log file and port."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        log_path: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        check: str | None = None,
    ) -> None:
        """Describe the child without starting it.

        `env` is laid over our own environment. `check` is the address at which it says that it is ready (probes.py); a
        child without one is ready as soon as it runs.
        """
        self.name = name
        self.argv = list(argv)
        self.log_path = log_path
        self.check = check
        self._env = dict(env or {})
        self._cwd = cwd
        self._popen: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    def __enter__(self) -> Self:
        """Start the child if it is not running and wait until it is ready."""
        if not self.alive:
            self.start()
        self.wait_ready()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the child."""
        self.stop()

    @property
    def pid(self) -> int:
        """The child's process id; raises NotReadyError if it was never started."""
        if self._popen is None:
            raise NotReadyError(f"{self.name} has not been started")
        return self._popen.pid

    @property
    def alive(self) -> bool:
        """Whether the child runs (a paused one does)."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def returncode(self) -> int | None:
        """Exit code of the last run, negative for a signal; None while it runs or before the first start."""
        return None if self._popen is None else self._popen.poll()

    def start(self) -> None:
        """Start the child in its own session (a Ctrl-C of the terminal reaches only us); its output goes to the log.

        Raises MissingError when the program does not exist.
        """
        if self.alive:
            raise RuntimeError(f"{self.name} is running already (pid {self.pid})")
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        leashed = [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), *self.argv]
        with self.log_path.open("ab") as log:
            self._log_start = log.tell()
            self._popen = _spawner.submit(self._spawn, leashed, log.fileno()).result()

    def _spawn(self, argv: list[str], log_fd: int) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log_fd,
            stderr=log_fd,
            env={**os.environ, **self._env},
            cwd=self._cwd,
            start_new_session=True,
        )

    def probe(self) -> bool:
        """Whether the child is ready now."""
        return self.alive and (self.check is None or reason_not_ready(self.check) is None)

    def wait_ready(self, deadline_s: float = 60.0) -> None:
        """Return once the child answers; raises NotReadyError when it ended or `deadline_s` seconds have passed."""
        end = time.monotonic() + deadline_s
        while True:
            if not self.alive:
                raise NotReadyError(f"{self.name} ended with code {self.returncode}\n{self.log_tail()}")
            if self.probe():
                return
            if time.monotonic() > end:
                why = reason_not_ready(self.check) if self.check else None
                raise NotReadyError(f"{self.name} was not ready within {deadline_s:g} s: {why}\n{self.log_tail()}")
            time.sleep(POLL_SECONDS)

    def stop(self, deadline_s: float = 30.0) -> None:
        """SIGTERM, then SIGKILL after `deadline_s` seconds; returns when the child is gone. Harmless when it is."""
        if self._popen is None or self._popen.poll() is not None:
            return
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)
        try:
            self._popen.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL; returns when the child is gone."""
        self.signal(signal.SIGKILL)
        if self._popen is not None:
            self._popen.wait()

    def pause(self) -> None:
        """SIGSTOP: the child keeps its sockets and answers nothing."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: undo `pause`."""
        self.signal(signal.SIGCONT)

    def signal(self, number: signal.Signals) -> None:
        """Send one signal; nothing happens when the child has ended."""
        if self._popen is not None:
            self._popen.send_signal(number)

    def log_tail(self, lines: int = 15) -> str:
        """The last lines that the child wrote to its log since it was started, for messages to people."""
        if not self.log_path.exists():
            return ""
        with self.log_path.open("rb") as log:
            log.seek(max(self._log_start, self.log_path.stat().st_size - LONGEST_TAIL_BYTES))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])
