"""Apache Kafka on this machine: one KRaft node, controller and broker in one process of about 300 MB.

Its log is as durable as the page cache: a killed broker loses nothing, a power cut can lose the last seconds. Against
an existing cluster the same services run by RAPPORT_KAFKA_BOOTSTRAP.
"""

import subprocess
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path

from deploy.local import kafka_cache
from deploy.local.java import java
from deploy.local.kafka_jars import CACHE, classpath
from deploy.local.ports import HOST, free_port
from deploy.local.process import NotReadyError, Process
from shared.adapters.kafka_clients import KafkaConnection

HEAP_MB = 384
LARGEST_BATCH_BYTES = 9 * 1024 * 1024  # records of 8 MB and their framing
LOGGING = Path(__file__).with_name("kafka-log4j2.properties")
FORMAT_SECONDS = 60


class Kafka(Process):
    """A real broker on a loopback port with its data in one folder; starting again on that folder keeps everything."""

    def __init__(self, data: Path, port: int, log_path: Path, jars: Path = CACHE) -> None:
        """Describe the broker; jars are fetched into `jars` where absent. Raises MissingError (no java, no jars)."""
        self.data, self.port = data, port
        self.bootstrap = self.url = f"{HOST}:{port}"
        self._config = data / "server.properties"
        self._classpath = classpath(jars)
        self._cache = kafka_cache.place(java(), self._classpath, jars.parent)
        super().__init__("kafka", self._java("kafka.Kafka", str(self._config)), log_path, check=f"kafka://{self.bootstrap}")

    @property
    def connection(self) -> KafkaConnection:
        """What clients on this machine reach the broker by."""
        return KafkaConnection(self.bootstrap)

    def _java(self, main: str, *arguments: str, heap_mb: int = HEAP_MB) -> list[str]:
        return [
            java(),
            *kafka_cache.options(self._cache),
            *(f"-Xmx{heap_mb}m", "-Xms64m", *kafka_cache.JVM),
            *(f"-Dlog4j2.configurationFile={LOGGING}", "-cp", self._classpath, main),
            *arguments,
        ]

    def start(self) -> None:
        """Write the configuration, format the storage once, start the broker. Raises NotReadyError if it cannot be formatted."""
        self.data.mkdir(parents=True, exist_ok=True)
        logs = self.data / "logs"
        self._config.write_text("".join(f"{name}={value}\n" for name, value in self.properties(free_port(), logs).items()))
        if not (logs / "meta.properties").exists():
            self._format()
        super().start()

    def properties(self, controller_port: int, logs: Path) -> dict[str, object]:
        """The broker's configuration; the controller's port may change from start to start."""
        return _properties(self.port, controller_port, logs)

    def format_options(self) -> list[str]:
        """What else the storage is formatted with, once."""
        return []

    def _format(self) -> None:
        cluster_id = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")
        command = self._java("kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(self._config), heap_mb=128)
        done = subprocess.run(
            [*command, "--ignore-formatted", *self.format_options()], capture_output=True, text=True, timeout=FORMAT_SECONDS, check=False
        )
        if done.returncode:
            raise NotReadyError(f"kafka could not prepare its folder {self.data}\n{done.stdout}{done.stderr}")


def _properties(port: int, controller_port: int, logs: Path) -> dict[str, object]:
    return {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": logs,
        # Topics are created explicitly; a misspelt one is an error.
        "auto.create.topics.enable": "false",
        "message.max.bytes": LARGEST_BATCH_BYTES,
        "replica.fetch.max.bytes": LARGEST_BATCH_BYTES,
        # A crashed worker's partitions move on quickly.
        "group.min.session.timeout.ms": 1000,
        "group.initial.rebalance.delay.ms": 0,
        # A killed broker may register again when its old session has ended (9 s by default).
        "broker.session.timeout.ms": 2500,
        "broker.heartbeat.interval.ms": 500,
        # One node: one copy of the internal topics, few partitions.
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 1,
        # A small machine: few threads, small buffers (the log cleaner alone would take 128 MB of the heap).
        "num.network.threads": 2,
        "num.io.threads": 4,
        "background.threads": 2,
        "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
        "log.index.size.max.bytes": 2 * 1024 * 1024,
        "log.retention.hours": 672,
    }
