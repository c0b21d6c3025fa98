"""What one client can cost everybody else: bystanders' orders are looked for while somebody attacks.

Everything comes by HTTP, with a write key, which is in every browser, or with a query key.
"""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

import httpx

from shared.contracts.slots import slot
from tests.bench.latency import MEMBER, PROFILE, Probe, Probing, latency
from tests.bench.system import NotMeasuredError, System

SECONDS: Final = 15.0
SETTLED_S, SETTLE_SECONDS = 0.5, 300.0
PROBES_A_SECOND: Final = 4.0
"""People of two bystanders, twice a second each."""
TRAITS, IDENTIFIES, TRAIT_BYTES = 199, 2_000, 1_000
ORDERS, MERGES, CHAIN, CROWD = 3_000, 5_000, 2_500, 5_000
CONNECTIONS, BODY_BYTES, ASKING = 400, 5_000_000, 12
ABSURD: Final = 999_999_999_999


@dataclass(frozen=True)
class Attack:
    """One attack. `statuses`: how often which HTTP status was answered, of a connection that broke or was hung up on: 0."""

    seen: Mapping[str, float]
    missing: int
    probes: int
    statuses: Mapping[int, int]


class Client:
    """Somebody with a write key and a query key, who goes on until told to stop."""

    def __init__(self, system: System, name: str) -> None:
        self.env = system.env
        self.name = f"{name}-{system.next_trial()}"
        self.stopping = threading.Event()
        self.statuses: dict[int, int] = {}
        self._lock = threading.Lock()

    def count(self, status: int) -> None:
        with self._lock:
            self.statuses[status] = self.statuses.get(status, 0) + 1

    def batches(self, calls: Iterator[dict[str, object]], size: int = 100) -> None:
        """Send calls in requests of `size`, as long as there are any."""
        with self._writing() as client:
            rest = list(calls)
            for start in range(0, len(rest), size):
                if self.stopping.is_set():
                    return
                self._asked(lambda start=start: client.post("/v1/batch", json={"batch": rest[start : start + size]}))  # type: ignore[misc]

    def raw(self, body: bytes) -> None:
        """Send bytes as a batch, again and again."""
        with self._writing() as client:
            while not self.stopping.is_set():
                self._asked(lambda: client.post("/v1/batch", content=body))

    def ask(self, path: str, question: Mapping[str, object]) -> None:
        """Ask the same, again and again."""
        key = {"authorization": f"Bearer {self.env['RAPPORT_QUERY_KEY']}"}
        with httpx.Client(base_url=self.env["RAPPORT_QUERY_URL"], headers=key, trust_env=False, timeout=60) as client:
            while not self.stopping.is_set():
                self._asked(lambda: client.post(path, json=question))

    def hang(self) -> None:
        """Hold connections whose heads never end, and take new ones for those that were hung up on."""
        where = urlsplit(self.env["RAPPORT_INGEST_URL"])
        held: list[socket.socket] = []
        while not self.stopping.is_set():
            while len(held) < CONNECTIONS:
                one = socket.create_connection((where.hostname or "127.0.0.1", where.port or 80), 5)
                one.sendall(b"POST /v1/batch HTTP/1.1\r\nhost: x\r\n")
                held.append(one)
            self.stopping.wait(0.5)
            held = [one for one in held if self._holds(one)]
        for one in held:
            one.close()

    def _holds(self, one: socket.socket) -> bool:
        try:
            one.sendall(b"x-more: 1\r\n")
        except OSError:
            self.count(0)
            one.close()
            return False
        return True

    def _writing(self) -> httpx.Client:
        return httpx.Client(base_url=self.env["RAPPORT_INGEST_URL"], auth=(self.env["RAPPORT_WRITE_KEY"], ""), trust_env=False, timeout=60)

    def _asked(self, call: Callable[[], httpx.Response]) -> None:
        try:
            self.count(call().status_code)
        except httpx.TransportError:
            self.count(0)


def _fat(client: Client) -> None:
    client.batches(iter([_identify(client.name, {f"t{n}": "x" * TRAIT_BYTES for n in range(TRAITS)})]))
    client.batches((_identify(client.name, {"city": str(n)}) for n in range(IDENTIFIES)), IDENTIFIES)


def _absurd(client: Client) -> None:
    order: dict[str, object] = {
        "type": "track",
        "userId": client.name,
        "event": "Order Completed",
        "properties": {"revenue": ABSURD, "currency": "GBP"},
    }
    client.batches(order for _ in range(ORDERS))


def _kiosk(client: Client) -> None:
    """Browsers that came alone before, so that each has something to bring."""
    client.batches(call for n in range(MERGES) for call in _came_alone_then_as(client.name, f"{client.name}-{n}"))


def _came_alone_then_as(user: str, browser: str) -> Iterator[dict[str, object]]:
    yield {"type": "page", "anonymousId": browser}
    yield {"type": "identify", "userId": user, "anonymousId": browser}


def _chain(client: Client) -> None:
    client.batches(({"type": "alias", "previousId": f"{client.name}-{n}", "userId": f"{client.name}-{n + 1}"} for n in range(CHAIN)), CHAIN)


def _hot(client: Client) -> None:
    """People who all live in one slot."""
    crowd = (name for name in (f"{client.name}-{n}" for n in range(1 << 30)) if slot(f"u:{name}") == 0)
    people = [next(crowd) for _ in range(CROWD)]
    client.batches({"type": "track", "userId": name, "event": "Product Viewed", "properties": {"product_id": "p"}} for name in people)


def _large(client: Client) -> None:
    _together(8, lambda: client.raw(b'{"batch":[' + b" " * BODY_BYTES))


def _deep(client: Client) -> None:
    _together(4, lambda: client.raw(b'{"batch":[{"type":"track","userId":"u","event":"e","properties":' + b'{"a":' * 60_000))


def _slow_questions(client: Client) -> None:
    now = datetime.now(UTC)
    year = {"from": (now - timedelta(days=365)).isoformat(), "to": now.isoformat()}
    question = {"event": "Product Viewed", "measure": "unique_people", "interval": "day", **year}
    _together(ASKING, lambda: client.ask("/api/v1/queries/timeseries", question))


ATTACKS: Final[Mapping[str, Callable[[Client], None]]] = {
    "2,000 identifies of a fat profile in a request": _fat,
    "3,000 absurd orders": _absurd,
    "5,000 merges into one person": _kiosk,
    "a chain of 2,500 aliases in a request": _chain,
    "5,000 people of one slot": _hot,
    "bodies of 5 MB": _large,
    "bodies that nest": _deep,
    "heads that never end": Client.hang,
    "12 askers of a time series": _slow_questions,
}


def _identify(user: str, traits: Mapping[str, object]) -> dict[str, object]:
    return {"type": "identify", "userId": user, "traits": traits}


def _together(many: int, what: Callable[[], None]) -> None:
    threads = [threading.Thread(target=what) for _ in range(many)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextmanager
def _under(attack: Callable[[Client], None], client: Client) -> Iterator[None]:
    failed: list[BaseException] = []

    def run() -> None:
        try:
            attack(client)
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        client.stopping.set()
        thread.join()
    if failed:
        raise NotMeasuredError(f"the attack itself failed: {failed[0]!r}")


def measure(system: System, say: Callable[[str], None], seconds: float = SECONDS) -> dict[str, Attack]:
    """Each attack, one after another, on one installation. Raises NotMeasuredError where a part ended or a bystander was refused."""
    found: dict[str, Attack] = {}
    for name, attack in {"nobody attacks": lambda client: None, **ATTACKS}.items():
        _settle(system)
        client = Client(system, "attacker")
        with _under(attack, client):
            time.sleep(1.0)
            probes = asyncio.run(Probing(system, warehouse=False, a_second=PROBES_A_SECOND).run(seconds))
        system.check_alive()
        found[name] = _told(probes, client.statuses)
        seen = ", ".join(f"{what} {waited:.2f} s" for what, waited in found[name].seen.items())
        say(f"{name}: bystanders' events seen after at most {seen}; answers {client.statuses}")
    return found


def _settle(system: System) -> None:
    """Return once a bystander is seen at once again. Raises NotMeasuredError after SETTLE_SECONDS."""
    end = time.monotonic() + SETTLE_SECONDS
    while True:
        probes = asyncio.run(Probing(system, warehouse=False, a_second=PROBES_A_SECOND).run(1.0))
        if max(_told(probes, {}).seen.values()) < SETTLED_S:
            return
        if time.monotonic() > end:
            raise NotMeasuredError(f"bystanders waited for more than {SETTLED_S} s for {SETTLE_SECONDS:.0f} s after an attack")


def _told(probes: list[Probe], statuses: Mapping[int, int]) -> Attack:
    each = {what: latency([probe.seen.get(what) for probe in probes]) for what in (PROFILE, MEMBER)}
    missing = max(one.missing for one in each.values())
    return Attack({what: one.highest for what, one in each.items()}, missing, len(probes), dict(statuses))
