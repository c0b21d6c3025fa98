"""Prometheus on this machine, where it is on PATH: scrapes every process of ours and keeps a week."""

import shutil
import string
from collections.abc import Mapping
from pathlib import Path

from deploy.local.ports import HOST
from deploy.local.process import MissingError, Process
from deploy.local.settings import PROJECT

TEMPLATE = PROJECT / "deploy" / "prometheus" / "prometheus.local.yml"
RULES = PROJECT / "deploy" / "prometheus" / "rules"


class Prometheus(Process):
    """A Prometheus server on a loopback port, its configuration made from a template for the ports of this run."""

    def __init__(self, data: Path, port: int, log_path: Path, targets: Mapping[str, int]) -> None:
        """Describe the server; `targets` gives each process' port. Raises MissingError."""
        program = shutil.which("prometheus")
        if program is None:
            raise MissingError("prometheus on PATH")
        self.data, self.port, self._targets = data, port, dict(targets)
        self.url = f"http://{HOST}:{port}"
        self._config = data / "prometheus.yml"
        argv = [
            program,
            f"--config.file={self._config}",
            f"--storage.tsdb.path={data / 'tsdb'}",
            "--storage.tsdb.retention.time=7d",
            f"--web.listen-address={HOST}:{port}",
        ]
        super().__init__("prometheus", argv, log_path, check=f"{self.url}/-/ready")

    def start(self) -> None:
        """Write the configuration and start the server."""
        self.data.mkdir(parents=True, exist_ok=True)
        template = string.Template(TEMPLATE.read_text())
        self._config.write_text(template.substitute(targets=_targets(self._targets), rules=RULES))
        super().start()


def _targets(ports: Mapping[str, int]) -> str:
    """The `static_configs` entries of the template."""
    return "\n".join(f'      - targets: ["{HOST}:{port}"]\n        labels: {{service: {name}}}' for name, port in ports.items())
