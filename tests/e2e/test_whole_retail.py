"""All of Online Retail (541,909 lines) through the public API: every figure in ClickHouse and in the live profiles is the file's."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from confluent_kafka.admin import AdminClient

from deploy.demo.messages import calls, weeks_to_now
from deploy.demo.retail import Invoice, read_invoices, read_rows
from deploy.demo.sdk import Sender, batches
from deploy.local import key_secret, keys
from deploy.local.settings import PROJECT
from shared.adapters.kafka_clients import KafkaConnection
from shared.contracts.control import KeyKind
from shared.contracts.profile_blob import decode_profile
from tests.e2e.installation import Installation
from tests.integration.pipeline import Pipeline
from tests.kept import undeclared_keys, undeclared_paths, undeclared_tables, undeclared_topics
from tests.waiting import wait_until

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

FULL = PROJECT.parent / "shared" / "data" / "online_retail" / "online_retail_2010-12_2011-12.csv.gz"


class Shop:
    """The installation after everything has been sent and has settled."""

    def __init__(self, invoices: list[Invoice], weeks: int, installation: Installation, pipeline: Pipeline, sent: int) -> None:
        self.invoices = invoices
        self.shift = timedelta(weeks=weeks)
        self.sent = sent
        self.pipeline = pipeline
        self.clickhouse = f"http://127.0.0.1:{installation.ports['clickhouse']}"
        self.home = installation.home
        self.mail = self.home.mail

    def rows(self, sql: str) -> list[dict[str, str]]:
        answer = httpx.post(self.clickhouse, content=sql + " FORMAT JSONEachRow", timeout=120)
        assert answer.status_code == 200, answer.text
        return [json.loads(line) for line in answer.text.splitlines()]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    if not FULL.exists():
        pytest.skip("not run: needs the full Online Retail CSV beside the project (deploy/demo/README.md)")
    invoices = read_invoices(read_rows(FULL))
    weeks = weeks_to_now(invoices[-1].at, datetime.now(UTC))
    installation = Installation(tmp_path_factory.mktemp("whole"))
    try:
        installation.start()
        pipeline = Pipeline(installation.parts["kafka"], installation.parts["redis"], installation.home.logs)
        write_key = keys.create(KafkaConnection(pipeline.bootstrap), key_secret.of_home(installation.home), KeyKind.WRITE, "shop").secret
        sent = asyncio.run(_send(invoices, weeks, f"http://127.0.0.1:{installation.ports['ingest']}", write_key))
        made = Shop(invoices, weeks, installation, pipeline, sent)
        pipeline.wait_settled(300)
        wait_until("ClickHouse has everything", lambda: int(made.rows("SELECT count() AS n FROM rapport.events")[0]["n"]) >= sent, 120)
        yield made
    finally:
        installation.stop()


async def _send(invoices: list[Invoice], weeks: int, url: str, write_key: str) -> int:
    sent = 0
    async with httpx.AsyncClient(base_url=url) as client:
        sender = Sender(client, write_key)
        for batch in batches(call.body for call in calls(invoices, weeks)):
            await sender.send(batch)
            sent += len(batch.calls)
    return sent


def _signed(rows: list[dict[str, str]]) -> dict[str, Decimal]:
    return {row["name"]: Decimal(row["amount"]) for row in rows}


def test_every_call_is_in_clickhouse_once(shop: Shop) -> None:
    (row,) = shop.rows("SELECT count() AS n, uniqExact(source_id, message_id) AS ids FROM rapport.events FINAL")
    assert (int(row["n"]), int(row["ids"])) == (shop.sent, shop.sent)


def test_all_lines_of_all_invoices_are_there(shop: Shop) -> None:
    (row,) = shop.rows(
        "SELECT count() AS invoices, sum(JSONLength(raw, 'properties', 'products')) AS lines FROM rapport.events FINAL "
        "WHERE event LIKE 'Order%'"
    )
    assert (int(row["invoices"]), int(row["lines"])) == (len(shop.invoices), 541_909)


def test_revenue_per_month_is_the_files_to_the_cent(shop: Shop) -> None:
    expected: defaultdict[str, Decimal] = defaultdict(Decimal)
    for invoice in shop.invoices:
        expected[f"{invoice.at + shop.shift:%Y-%m}"] += invoice.total
    found = shop.rows(
        "SELECT formatDateTime(timestamp, '%Y-%m') AS name, toString(sum(revenue)) AS amount FROM rapport.events FINAL "
        "WHERE event LIKE 'Order%' GROUP BY name"
    )
    assert _signed(found) == dict(expected)


def test_revenue_per_customer_is_the_files_and_the_live_profiles(shop: Shop) -> None:
    expected: defaultdict[str, Decimal] = defaultdict(Decimal)
    for invoice in shop.invoices:
        expected[f"u:{invoice.customer}" if invoice.customer else f"a:{invoice.number}"] += invoice.total
    found = shop.rows(
        "SELECT profile_id AS name, toString(sum(revenue)) AS amount FROM rapport.events FINAL WHERE event LIKE 'Order%' GROUP BY name"
    )
    assert _signed(found) == dict(expected)
    live = {}
    for stage, key, blob, _ in shop.pipeline.stored():
        if stage == "folder":
            profile = decode_profile(blob)
            if profile.money:
                live[key] = sum((money.net for money in profile.money.values()), Decimal(0))
    assert live == dict(expected)


def test_all_that_exists_after_the_run_says_what_personal_data_it_holds(shop: Shop) -> None:
    topics = AdminClient({"bootstrap.servers": shop.pipeline.bootstrap}).list_topics(timeout=10).topics
    with shop.pipeline.client() as client:
        keys = [key.decode() for key in client.scan_iter(count=10_000)]
    tables = [row["name"] for row in shop.rows("SELECT name FROM system.tables WHERE database = 'rapport'")]
    assert len(topics) > 20
    assert len(keys) > 4_000
    assert len(tables) > 8
    assert undeclared_topics(topics) == set(), "declare it in shared/contracts/topics.py"
    assert undeclared_keys(keys) == set(), "declare it in shared/contracts/redis_keys.py"
    assert undeclared_tables(tables) == set(), "declare it in services/warehouse/domain/kept.py"
    assert undeclared_paths(shop.home.root) == set(), "declare it in deploy/local/kept.py"


def test_nobody_is_mailed_twice_and_nobody_forgotten(shop: Shop) -> None:
    entered = shop.rows(
        "SELECT uniqExact(profile_id) AS n FROM rapport.segment_transitions FINAL "
        "WHERE segment = 'important_keep' AND transition = 'entered'"
    )
    settled = "SELECT dispatch_id, any(channel) AS channel, argMax(status, at) AS status FROM rapport.messages FINAL GROUP BY dispatch_id"
    wait_until(
        "every message has an end",
        lambda: (
            len(rows := shop.rows(settled)) >= 3 * int(entered[0]["n"])  # an e-mail, a webhook, a notice to staff
            and all(row["status"] in {"sent", "suppressed", "expired", "failed"} for row in rows)
        ),
        120,
    )
    ended = shop.rows(settled)
    sent = [row for row in ended if row["status"] == "sent" and row["channel"] == "email"]
    receivers = [
        line for path in Path(shop.mail).glob("*.eml") for line in path.read_text().split("\n\n")[0].splitlines() if line.startswith("To:")
    ]
    assert len(receivers) == len(set(receivers)) == len(sent) > 0
    for channel in ("webhook", "wecom_group"):
        taken = len(list(shop.home.hooks.glob(f"*-{channel}.json")))
        assert taken == sum(row["status"] == "sent" and row["channel"] == channel for row in ended) > 0
        assert {row["status"] for row in ended if row["channel"] == channel} <= {"sent", "expired"}
