"""The real processes of the API for the tests, query and control behind the proxy, with a query key of its own."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from confluent_kafka.admin import AdminClient

from deploy.local import keys, topics
from deploy.local.ports import HOST, free_port
from deploy.local.process import Process
from deploy.local.settings import PROJECT
from shared.adapters.kafka_clients import KafkaConnection
from shared.contracts.control import KeyKind
from shared.contracts.topics import TOPICS
from tests.applied import apply_folder
from tests.key_secrets import SECRETS


class Api:
    """One API over these servers; `get` and `post` come with a key that may do everything."""

    def __init__(self, kafka: Process, redis_url: str, clickhouse_url: str, folder: Path, **settings: Any) -> None:
        self.bootstrap: str = kafka.bootstrap  # type: ignore[attr-defined]
        topics.ensure(AdminClient({"bootstrap.servers": self.bootstrap}), TOPICS, topics.TopicSettings(kafka_bootstrap=self.bootstrap))
        apply_folder(self.bootstrap)
        self.key = keys.create(KafkaConnection(self.bootstrap), SECRETS, KeyKind.QUERY, "tests").secret
        env = {"RAPPORT_KAFKA_BOOTSTRAP": self.bootstrap, "RAPPORT_REDIS_URL": redis_url, "RAPPORT_CLICKHOUSE_URL": clickhouse_url}
        env |= {f"RAPPORT_{name.upper()}": str(value) for name, value in settings.items()}
        ports = {name: free_port() for name in ("query", "control", "proxy")}
        env |= {f"RAPPORT_PROXY_{name.upper()}_URL": f"http://{HOST}:{ports[name]}" for name in ("query", "control")}
        modules = {"query": "services.query.main", "control": "services.control.main", "proxy": "deploy.local.proxy"}
        self.parts = {
            name: Process(
                name,
                [sys.executable, "-m", modules[name]],
                folder / f"{name}-{port}.log",
                env | {"RAPPORT_PORT": str(port)},
                PROJECT,
                f"http://{HOST}:{port}/readyz",
            )
            for name, port in ports.items()
        }
        self.url = f"http://{HOST}:{ports['proxy']}"

    def start(self) -> None:
        """Start every process that does not run, side by side; return when the address says that it is ready."""
        for part in self.parts.values():
            if not part.alive:
                part.start()
        for part in self.parts.values():
            part.wait_ready()

    def stop(self) -> None:
        for part in self.parts.values():
            part.stop()

    def get(self, path: str, key: str | None = None, **query: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {key or self.key}"}
        return httpx.get(f"{self.url}/api/v1/{path}", params=query, headers=headers, timeout=30)

    def post(self, path: str, body: Any, key: str | None = None) -> httpx.Response:
        headers = {"authorization": f"Bearer {key or self.key}"}
        return httpx.post(f"{self.url}/api/v1/{path}", json=body, headers=headers, timeout=30)

    def delete(self, path: str) -> httpx.Response:
        return httpx.delete(f"{self.url}/api/v1/{path}", headers={"authorization": f"Bearer {self.key}"}, timeout=30)

    def pages(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Every item of a list, page by page."""
        cursor = None
        while True:
            answer = self.get(path, **query, **({} if cursor is None else {"cursor": cursor}))
            assert answer.status_code == 200, answer.text
            page = answer.json()
            yield from page["data"]
            cursor = page["next_cursor"]
            if cursor is None:
                return


@contextmanager
def running(kafka: Process, redis_url: str, clickhouse_url: str, folder: Path, **settings: Any) -> Iterator[Api]:
    """A ready API that is stopped at the end."""
    api = Api(kafka, redis_url, clickhouse_url, folder, **settings)
    try:
        api.start()
        yield api
    finally:
        api.stop()
