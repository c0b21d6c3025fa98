"""docker-compose.yml for real: up, used from outside, broken part by part, taken down and up again. `make compose-test` runs it.

The tests build on each other, in the order in which they stand.
"""

import os
import re
from collections import Counter
from typing import Final

import httpx
import pytest

from tests.e2e.compose.driver import SERVERS, SERVICES, System, within
from tests.e2e.compose.shopper import EVENTS_A_PERSON, ORDERS, REVENUE

pytestmark = [
    pytest.mark.needs_docker,
    pytest.mark.skipif(os.environ.get("RAPPORT_COMPOSE_TEST") != "1", reason="not run: needs a Docker engine: `make compose-test` runs it"),
]

PEOPLE: Final = 10
SEGMENT: Final = "important_keep"
ARRIVAL_SECONDS: Final = 120.0


@pytest.fixture(scope="module")
def system() -> System:
    """Everything up and healthy, with keys. compose_test.sh takes it down."""

    def address(name: str) -> str:
        return f"http://127.0.0.1:{os.environ[f'RAPPORT_{name}_PORT']}"

    made = System(address("INGEST"), address("QUERY"), address("CLICKHOUSE"))
    made.up()
    made.make_keys()
    within(30, lambda: made.ask("segments").status_code == 200, lambda: made.ask("segments").text)
    return made


@pytest.fixture(scope="module")
def sent() -> list[str]:
    """Everybody for whom the SDK has handed all events over, over all tests."""
    return []


def shopped(system: System, sent: list[str], prefix: str, broken: str | None = None) -> None:
    """People shop while a part is broken; the SDK gets everything through in the end."""
    shopper = system.shop(prefix, PEOPLE, pause=0.3)
    if broken is not None:
        system.crash(broken)
    told, _ = shopper.communicate(timeout=240)
    assert shopper.returncode == 0, told
    sent += [f"{prefix}-{number}" for number in range(PEOPLE)]


def profile_wrong(system: System, person: str) -> str | None:
    """What a person's live profile has that it should not, or lacks."""
    answer = system.ask("profiles:lookup", user_id=person)
    if answer.status_code != 200:
        return f"{person}: {answer.status_code} {answer.text}"
    found = answer.json()
    seen = (found["events"], found["orders"], float(found["revenue"]), found["traits"]["email"]["value"])
    wanted = (EVENTS_A_PERSON, ORDERS, float(ORDERS * REVENUE), f"{person}@example.com")
    return None if seen == wanted else f"{person}: {seen} instead of {wanted}"


def all_arrived(system: System, people: list[str]) -> None:
    """Each person: the profile, the segment and ClickHouse have each event once; one e-mail, or one whose outcome is listed as unknown."""
    late = set(people)

    def profiles() -> bool:
        nonlocal late
        late = {person for person in late if profile_wrong(system, person)}
        return not late

    within(ARRIVAL_SECONDS, profiles, lambda: [profile_wrong(system, person) for person in sorted(late)[:5]])
    ids = {person: system.ask("profiles:lookup", user_id=person).json()["profile_id"] for person in people}

    def outside() -> set[str]:
        members = {row["profile_id"] for row in system.pages(f"segments/{SEGMENT}/members")}
        return {person for person, profile_id in ids.items() if profile_id not in members}

    within(ARRIVAL_SECONDS, lambda: not outside(), lambda: f"not in {SEGMENT}: {sorted(outside())[:5]}")

    def unlike() -> dict[str, list[str]]:
        events = {person: list(system.pages(f"profiles/{profile_id}/events")) for person, profile_id in ids.items()}
        wanted = sorted(["identify"] + ["track"] * ORDERS)
        return {person: [row["type"] for row in rows] for person, rows in events.items() if sorted(row["type"] for row in rows) != wanted}

    within(ARRIVAL_SECONDS, lambda: not unlike(), lambda: f"in ClickHouse: {list(unlike().items())[:3]}")

    def unmailed() -> set[str]:
        unknown = {row["profile_id"] for row in system.pages("messages", status="unknown")}
        mailed = set(system.mails())
        return {person for person, profile_id in ids.items() if f"{person}@example.com" not in mailed and profile_id not in unknown}

    within(ARRIVAL_SECONDS, lambda: not unmailed(), lambda: f"no e-mail: {sorted(unmailed())[:5]}")
    assert {address: count for address, count in Counter(system.mails()).items() if count > 1} == {}


def test_everything_comes_up_healthy_at_the_first_try(system: System) -> None:
    for part in (*SERVICES, *SERVERS, "mail"):
        assert system.healthy(part)
        assert system.inspect(part)["RestartCount"] == 0
    for job in ("topics", "migrate", "definitions"):
        assert system.inspect(job)["State"]["ExitCode"] == 0


def test_only_what_is_meant_for_callers_listens_and_only_on_this_machine(system: System) -> None:
    published = {
        (part, bound["HostIp"])
        for part in (*SERVICES, *SERVERS, "mail")
        for bounds in system.inspect(part)["NetworkSettings"]["Ports"].values()
        for bound in bounds or []
    }
    assert published == {("ingest", "127.0.0.1"), ("proxy", "127.0.0.1"), ("clickhouse", "127.0.0.1")}


def test_events_of_an_sdk_arrive_in_profile_segment_mailbox_and_clickhouse(system: System, sent: list[str]) -> None:
    shopped(system, sent, "calm")
    all_arrived(system, sent)
    rows = "SELECT count() FROM rapport.events WHERE startsWith(user_id, 'calm-') FORMAT TabSeparated"
    password = os.environ["RAPPORT_CLICKHOUSE_READER_PASSWORD"]
    answer = httpx.get(system.clickhouse, params={"query": rows}, auth=("reader", password))
    assert (answer.status_code, answer.text.strip()) == (200, str(PEOPLE * EVENTS_A_PERSON))


def test_nobody_enters_without_a_key_or_a_password(system: System) -> None:
    assert httpx.get(f"{system.query}/api/v1/segments").status_code == 401
    assert httpx.post(f"{system.ingest}/v1/track", json={"userId": "x", "event": "y"}).status_code == 401
    assert httpx.get(system.clickhouse, params={"query": "SELECT 1"}).status_code in (401, 403, 516)


@pytest.mark.parametrize("part", [*SERVICES, *SERVERS, "mail"])
def test_a_crash_is_survived(system: System, sent: list[str], part: str) -> None:
    shopped(system, sent, f"crash-{part}", broken=part)


def test_a_restart_of_the_broker_is_survived(system: System, sent: list[str]) -> None:
    shopper = system.shop("restart", PEOPLE, pause=0.5)
    system.compose("restart", "kafka")
    told, _ = shopper.communicate(timeout=240)
    assert shopper.returncode == 0, told
    sent += [f"restart-{number}" for number in range(PEOPLE)]
    within(120, lambda: all(system.healthy(part) for part in SERVICES), system.troubled)


def test_a_second_process_of_a_service_takes_half_and_leaves_again(system: System, sent: list[str]) -> None:
    system.compose("up", "--detach", "--no-deps", "--no-recreate", "--scale", "profile=2", "profile")
    owned = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8090/metrics').read().decode())"

    def slots() -> list[float]:
        """Slots of the folder that each of the two processes owns."""
        texts = (system.compose("exec", "-T", "--index", index, "profile", "python", "-c", owned, check=False) for index in ("1", "2"))
        return [float(found[1]) for text in texts if (found := re.search(r'rapport_slots_owned\{stage="folder"\} (\S+)', text))]

    within(90, lambda: slots() == [4.0, 4.0], lambda: f"{slots()} {system.compose('logs', '--no-color', '--tail', '30', 'profile')}")
    shopped(system, sent, "shared")
    system.compose("up", "--detach", "--no-deps", "--no-recreate", "--scale", "profile=1", "profile")
    within(90, lambda: slots() == [8.0], slots)


def test_after_all_crashes_nothing_is_lost_and_nothing_counted_or_mailed_twice(system: System, sent: list[str]) -> None:
    assert len(sent) == PEOPLE * (3 + len(SERVICES) + len(SERVERS) + 1)
    all_arrived(system, sent)


def test_prometheus_scrapes_every_service(system: System) -> None:
    system.compose("up", "--detach", "--wait", "prometheus")
    address = f"http://127.0.0.1:{os.environ['RAPPORT_PROMETHEUS_PORT']}/api/v1/query"

    def up() -> set[str]:
        answer = httpx.get(address, params={"query": 'up{job="rapport"} == 1'}).json()
        return {series["metric"]["service"] for series in answer["data"]["result"]}

    within(60, lambda: up() == set(SERVICES), up)
    alerts = httpx.get(address, params={"query": 'ALERTS{alertstate="firing", severity="page"}'}).json()["data"]["result"]
    assert alerts == []


def test_no_log_holds_a_secret_or_an_address(system: System) -> None:
    logs = system.compose("logs", "--no-color")
    secrets = [os.environ[name] for name in os.environ if name.startswith("RAPPORT_") and name.endswith(("_PASSWORD", "_TOKEN"))]
    for secret in (*secrets, system.write_key, system.query_key, "@example.com", "Name of "):
        assert secret not in logs


def test_down_and_up_keep_everything(system: System, sent: list[str]) -> None:
    before = Counter(system.mails())
    system.compose("stop", "--timeout", "40", *SERVICES)
    assert {part: system.inspect(part)["State"]["ExitCode"] for part in SERVICES} == dict.fromkeys(SERVICES, 0)
    system.compose("--profile", "*", "down")
    system.up()
    within(60, lambda: system.ask("segments").status_code == 200, lambda: system.ask("segments").text)
    all_arrived(system, sent)
    assert Counter(system.mails()) == before
    shopped(system, sent, "later")
    all_arrived(system, sent)
