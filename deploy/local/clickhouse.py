"""ClickHouse on this machine: chDB in a process of its own that speaks ClickHouse's HTTP protocol."""

import sys
from importlib.util import find_spec
from pathlib import Path

from deploy.local.ports import HOST
from deploy.local.process import MissingError, Process
from deploy.local.settings import PROJECT


class ClickHouse(Process):
    """A real ClickHouse engine on a loopback port with its data in one folder."""

    def __init__(self, data: Path, port: int, log_path: Path) -> None:
        """Describe the server. Raises MissingError when chDB is not installed (it has no wheel for some platforms)."""
        if find_spec("chdb") is None:
            raise MissingError("the Python package chdb, which this platform may lack")
        self.data, self.port = data, port
        self.url = f"http://{HOST}:{port}"
        argv = [sys.executable, "-m", "deploy.local.clickhouse_server", "--data", str(data), "--port", str(port)]
        super().__init__("clickhouse", argv, log_path, cwd=PROJECT, check=f"{self.url}/ping")

    def start(self) -> None:
        """Start the server on its folder, which is made if need be."""
        self.data.mkdir(parents=True, exist_ok=True)
        super().start()
