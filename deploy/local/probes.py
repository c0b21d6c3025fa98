"""Asks a part whether it is ready, by its address: `http://…`, `kafka://host:port`, `redis://host:port`, `tcp://host:port`."""

import socket
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from confluent_kafka import KafkaException

from shared.adapters.kafka_clients import KafkaConnection
from shared.adapters.kafka_offsets import Offsets
from shared.runtime.ports import LogAway

SECONDS = 2.0
LONGEST_REASON = 300


def reason_not_ready(check: str) -> str | None:
    """None when the part at `check` is ready, else why not, in words. Takes SECONDS at most; raises ValueError on a bad address."""
    address = urlsplit(check)
    host, port = address.hostname, address.port
    if host is None or port is None:
        raise ValueError(f"no host and port in {check!r}")
    if address.scheme in ("http", "https"):
        return _http(check)
    try:
        with socket.create_connection((host, port), timeout=SECONDS) as connection:
            if address.scheme == "redis":
                return _redis(connection)
    except OSError as error:
        return f"no connection to {host}:{port} ({error.strerror or error})"
    return _kafka(f"{host}:{port}") if address.scheme == "kafka" else None


def _http(url: str) -> str | None:
    try:
        with urlopen(url, timeout=SECONDS) as answer:
            return None if answer.status == 200 else f"{url} answers {answer.status}"
    except HTTPError as error:
        with error:
            told = error.read(LONGEST_REASON).decode(errors="replace").strip()
        return f"{url} answers {error.code}: {told}"
    except (URLError, OSError) as error:
        return f"no answer from {url} ({getattr(error, 'reason', error)})"


def _redis(connection: socket.socket) -> str | None:
    connection.sendall(b"PING\r\n")
    told = connection.recv(128)
    return None if told.startswith((b"+PONG", b"-NOAUTH")) else told.decode(errors="replace").strip() or "it hung up"


def _kafka(bootstrap: str) -> str | None:
    """Ready is a broker that gives the end of every partition: after a start it answers before it leads them."""
    client = KafkaConnection(bootstrap).admin({"log_level": 0, "socket.timeout.ms": int(SECONDS * 1000)})
    offsets = Offsets(KafkaConnection(bootstrap), SECONDS, {"log_level": 0})
    try:
        cluster = client.list_topics(timeout=SECONDS)
        if not cluster.brokers:
            return "no broker in the cluster's metadata"
        offsets.ends((name, number) for name, topic in cluster.topics.items() for number in topic.partitions)
    except (KafkaException, LogAway) as error:
        told = error.args[0].str() if isinstance(error, KafkaException) else str(error)
        return f"{bootstrap} does not lead all its partitions yet ({told})"
    finally:
        offsets.close()
    return None
