"""Every service as a user of its own, on a broker where rights decide."""

import base64
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import httpx

from deploy.cli import acls
from deploy.local.clickhouse import ClickHouse
from deploy.local.mail import MailCatcher
from deploy.local.ports import HOST, free_port
from deploy.local.process import Process
from deploy.local.proxy.routes import backend_of
from deploy.local.redis import Redis
from deploy.local.settings import PROJECT
from tests.integration.secure_kafka import SecureKafka

USERS: Final = acls.users()
SERVICES: Final = ("profile", "segmentation", "messaging", "warehouse", "query", "control", "ingest")


def command(kafka: SecureKafka, user: str, *argv: str) -> str:
    """What a program of the project says, run as a user of the broker."""
    environment = os.environ | dict(kafka.environment(user))
    done = subprocess.run([sys.executable, *argv], env=environment, cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


class Installation:
    """Every service with a user of its own, on stores of this module alone."""

    def __init__(self, broker: SecureKafka, folder: Path) -> None:
        self.broker, self.folder = broker, folder
        self.redis = Redis(folder / "redis", free_port(), folder / "redis.log")
        self.clickhouse = ClickHouse(folder / "clickhouse", free_port(), folder / "clickhouse.log")
        smtp = free_port()
        self.mail = MailCatcher(folder / "mail", smtp, folder / "mail.log")
        self.ports = {name: free_port() for name in SERVICES}
        self.ingest_inside = free_port()
        self._stores = {
            "RAPPORT_REDIS_URL": self.redis.url,
            "RAPPORT_CLICKHOUSE_URL": self.clickhouse.url,
            "RAPPORT_SMTP_URL": f"smtp://{HOST}:{smtp}",
        }
        self.services = [self._service(name) for name in SERVICES]

    def _service(self, name: str) -> Process:
        port = str(self.ports[name])
        own = {"RAPPORT_PORT" if name in ("ingest", "query", "control") else "RAPPORT_HEALTH_PORT": port}
        own |= {"RAPPORT_HEALTH_PORT": str(self.ingest_inside)} if name == "ingest" else {}
        env = dict(self.broker.environment(USERS[name])) | self._stores | own
        ready = f"http://{HOST}:{port}/readyz"
        return Process(name, [sys.executable, "-m", f"services.{name}.main"], self.folder / f"{name}.log", env, PROJECT, ready)

    def start(self) -> None:
        stores = (self.redis, self.clickhouse, self.mail)
        for part in stores:
            part.start()
        for part in stores:
            part.wait_ready(120)
        environment = os.environ | self._stores
        subprocess.run([sys.executable, "-m", "services.warehouse.migrate"], env=environment, cwd=PROJECT, check=True, timeout=120)
        self.write_key = command(self.broker, USERS["cli"], "-m", "deploy.cli.main", "keys", "create", "shop")
        self.query_key = command(self.broker, USERS["cli"], "-m", "deploy.cli.main", "keys", "create", "me", "--kind", "query")
        self.applied = command(self.broker, USERS["control"], "-m", "services.control.apply")
        for service in self.services:
            service.start()
        for service in self.services:
            service.wait_ready(120)

    def stop(self) -> None:
        for part in (*self.services, self.mail, self.redis, self.clickhouse):
            part.kill()

    def send(self, batch: list[dict[str, Any]]) -> None:
        token = base64.b64encode(f"{self.write_key}:".encode()).decode()
        url = f"http://{HOST}:{self.ports['ingest']}/v1/batch"
        answer = httpx.post(url, json={"batch": batch}, headers={"authorization": f"Basic {token}"}, timeout=20)
        assert answer.status_code == 200, answer.text

    def tag(self, *words: str) -> None:
        """`rapport tag`, which knows the two APIs and no store."""
        urls = {name: f"http://{HOST}:{self.ports[service]}" for name, service in (("QUERY_URL", "query"), ("INGEST_URL", "ingest"))}
        told = {f"RAPPORT_{name}": value for name, value in {**urls, "QUERY_KEY": self.query_key, "WRITE_KEY": self.write_key}.items()}
        argv = [sys.executable, "-m", "deploy.cli.main", "tag", *words]
        subprocess.run(argv, env=os.environ | told, cwd=PROJECT, check=True, timeout=120)

    def get(self, path: str, key: str | None = None) -> httpx.Response:
        url = f"http://{HOST}:{self.ports[backend_of(f'/api/v1/{path}')]}/api/v1/{path}"
        return httpx.get(url, headers={"authorization": f"Bearer {key or self.query_key}"}, timeout=30)

    def refused(self, what: str, service: str = "query") -> set[str]:
        """Reasons for which a service has ignored records of the topic of keys, or of definitions."""
        port = self.ingest_inside if service == "ingest" else self.ports[service]
        told = httpx.get(f"http://{HOST}:{port}/metrics", timeout=30).text
        return set(re.findall(rf'rapport_{what}_records_refused_total\{{reason="(\w+)"\}} [1-9]', told))

    def data(self, path: str) -> list[dict[str, Any]]:
        answer = self.get(path)
        return list(answer.json()["data"]) if answer.status_code == 200 else []

    def logs(self) -> str:
        return "".join(path.read_text(errors="replace") for path in self.folder.glob("*.log"))
