"""The parts of one machine's run, in the order in which they start; they drain in the reverse order.

What a part needs to know of the others it gets in environment variables, the same as under docker compose.
"""

import os
import secrets
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local import key_secret
from deploy.local.clickhouse import ClickHouse
from deploy.local.hooks import HookCatcher, channels_file
from deploy.local.kafka import Kafka
from deploy.local.mail import MailCatcher
from deploy.local.ports import HOST
from deploy.local.process import Process
from deploy.local.prometheus import Prometheus
from deploy.local.redis import Redis
from deploy.local.servers import STARTED_HERE, VARIABLES, Servers
from deploy.local.settings import PROJECT, Home

HTTP_SERVICES = ("ingest", "query", "control")
BEHIND_PROXY = ("query", "control")
WORKERS = ("profile", "segmentation", "messaging", "warehouse")
DEMO_MAX_EVENT_BYTES = 262_144  # invoices of the whole set reach 140 KB as an event


ALL_HERE = Servers()
"""No server is elsewhere."""


@dataclass(frozen=True)
class Step:
    """One part, or one thing to be done once: made when its turn comes; groups of equal number start side by side.

    `drains`: its place in the drain, largest first; the number of its group unless given.
    """

    name: str
    group: int
    make: Callable[[], Process]
    once: bool = False
    drains: int | None = None


def urls(ports: Mapping[str, int], home: Home, servers: Servers = ALL_HERE) -> dict[str, str]:
    """RAPPORT_ variables that say where every part that runs here is: for the services, the CLI, and .rapport/env.

    Servers elsewhere are not among them: services inherit those variables from our own environment, and a file needs no password.
    """
    found = {
        "RAPPORT_INGEST_URL": f"http://{HOST}:{ports['ingest']}",
        "RAPPORT_QUERY_URL": f"http://{HOST}:{ports['proxy']}",
        "RAPPORT_KAFKA_BOOTSTRAP": f"{HOST}:{ports['kafka']}",
        "RAPPORT_REDIS_URL": f"redis://{HOST}:{ports['redis']}/0",
        "RAPPORT_CLICKHOUSE_URL": f"http://{HOST}:{ports['clickhouse']}",
        "RAPPORT_SMTP_URL": f"smtp://{HOST}:{ports['smtp']}",
        "RAPPORT_CHANNELS_FILE": str(channels_file(home).resolve()),
        **key_secret.variables(home),
    }
    here = {name: value for name, value in found.items() if name not in servers.variables}
    started = " ".join(f"{name}={here[name]}" for name in VARIABLES.values() if name in here)
    return here | {STARTED_HERE: started}


def common(ports: Mapping[str, int], home: Home, servers: Servers = ALL_HERE) -> dict[str, str]:
    """What every service is given over our own environment: where the others are, and the one default that the demo cannot keep."""
    unused = dict.fromkeys(servers.ignored, "")  # an empty variable is an absent one
    largest = os.environ.get("RAPPORT_MAX_EVENT_BYTES", str(DEMO_MAX_EVENT_BYTES))
    return urls(ports, home, servers) | unused | {"RAPPORT_HOST": HOST, "RAPPORT_MAX_EVENT_BYTES": largest}


def steps(ports: Mapping[str, int], home: Home, servers: Servers = ALL_HERE) -> list[Step]:
    """Every part that is to run here, on these ports and in this folder. Making a part raises MissingError where it cannot run."""
    shared = common(ports, home, servers)
    between_services = secrets.token_urlsafe(32)  # control replays rejected events at ingest with it; new at each start

    def log(name: str) -> Path:
        return home.logs / f"{name}.log"

    def module(name: str, path: str, group: int = 2) -> Step:
        argv = [sys.executable, "-m", path]
        return Step(name, group, lambda: Process(name, argv, log(name), shared, cwd=PROJECT), once=True)

    def service(name: str, group: int = 3, drains: int = 3) -> Step:
        port = ports[name]
        own = {"RAPPORT_PORT" if name in HTTP_SERVICES else "RAPPORT_HEALTH_PORT": str(port)}
        if name == "ingest":
            own["RAPPORT_HEALTH_PORT"] = str(ports["ingest-health"])
        if name in ("ingest", "control"):
            own["RAPPORT_INTERNAL_TOKEN"] = between_services
        argv = [sys.executable, "-m", f"services.{name}.main"]
        ready = f"http://{HOST}:{port}/readyz"
        return Step(name, group, lambda: Process(name, argv, log(name), shared | own, PROJECT, ready), drains=drains)

    def proxy() -> Process:
        own = {"RAPPORT_PORT": str(ports["proxy"])}
        own |= {f"RAPPORT_PROXY_{name.upper()}_URL": f"http://{HOST}:{ports[name]}" for name in BEHIND_PROXY}
        argv = [sys.executable, "-m", "deploy.local.proxy"]
        return Process("proxy", argv, log("proxy"), shared | own, PROJECT, f"http://{HOST}:{ports['proxy']}/readyz")

    found = [
        Step("kafka", 1, lambda: Kafka(home.data / "kafka", ports["kafka"], log("kafka"))),
        Step("redis", 1, lambda: Redis(home.data / "redis", ports["redis"], log("redis"))),
        Step("clickhouse", 1, lambda: ClickHouse(home.data / "clickhouse", ports["clickhouse"], log("clickhouse"))),
        module("topics", "deploy.local.topics"),
        module("migrations", "services.warehouse.migrate"),
        module("definitions", "services.control.apply", 3),
        Step("mail", 3, lambda: MailCatcher(home.mail, ports["smtp"], log("mail"))),
        Step("hooks", 2, lambda: HookCatcher(home, ports["hooks"], log("hooks"))),  # before messaging, which reads its channels file
        *(service(name) for name in (*WORKERS, *BEHIND_PROXY)),
        # Nothing comes in before the definitions that it is to be counted by, and nothing new while the rest finishes.
        service("ingest", group=4, drains=4),
        Step("proxy", 3, proxy, drains=4),
    ]
    if shutil.which("prometheus"):
        targets = {name: ports[name] for name in (*HTTP_SERVICES, "proxy", *WORKERS)} | {"ingest": ports["ingest-health"]}
        data = home.data / "prometheus"
        found.append(Step("prometheus", 3, lambda: Prometheus(data, ports["prometheus"], log("prometheus"), targets)))
    return [step for step in found if step.name not in servers.elsewhere]
