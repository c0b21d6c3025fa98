"""The demo: invoices become calls without a penny lost, and reach the API as an SDK's would."""

import gzip
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.demo.make_slice import LARGEST_BYTES, choose, pack
from deploy.demo.messages import Call, calls, weeks_to_now
from deploy.demo.replay import SLICE, Progress, prepare
from deploy.demo.retail import Invoice, Line, read_invoices, read_rows
from deploy.demo.sdk import GIVE_UP_SECONDS, LARGEST_BATCH_BYTES, LONGEST_TOLD_SECONDS, Batch, Sender, SendError, batches
from deploy.local.parts import DEMO_MAX_EVENT_BYTES
from shared.contracts.consent import consents

NOW = datetime(2026, 6, 1, 9, tzinfo=UTC)


@pytest.fixture(scope="module")
def slice_invoices() -> list[Invoice]:
    return read_invoices(read_rows(SLICE))


@pytest.fixture(scope="module")
def slice_calls(slice_invoices: list[Invoice]) -> list[Call]:
    return list(calls(slice_invoices, weeks_to_now(slice_invoices[-1].at, NOW)))


def _orders(made: list[Call]) -> list[Call]:
    return [call for call in made if str(call.body.get("event", "")).startswith("Order ")]


def test_the_sum_of_revenue_is_the_files_to_the_cent(slice_calls: list[Call]) -> None:
    of_file: Counter[str] = Counter()
    cents: dict[str, Decimal] = {}
    for number, _, _, quantity, _, price, _, _ in read_rows(SLICE):
        cents[number] = cents.get(number, Decimal(0)) + int(quantity) * Decimal(price)
        of_file[number] += 1
    sent = {c.body["properties"]["order_id"]: Decimal(json.dumps(c.body["properties"]["revenue"])) for c in _orders(slice_calls)}
    assert sent.keys() == of_file.keys()
    assert sum(sent.values()) == sum(total.quantize(Decimal("0.01")) for total in cents.values())
    assert {c.body["properties"]["order_id"]: len(c.body["properties"]["products"]) for c in _orders(slice_calls)} == of_file


def test_every_message_id_is_unique_short_and_the_same_next_time(slice_invoices: list[Invoice], slice_calls: list[Call]) -> None:
    ids = [call.body["messageId"] for call in slice_calls]
    assert len(set(ids)) == len(ids)
    assert max(map(len, ids)) < 100
    assert ids == [call.body["messageId"] for call in calls(slice_invoices, weeks_to_now(slice_invoices[-1].at, NOW))]


def test_calls_are_in_order_of_time_and_end_within_a_week_before_now(slice_calls: list[Call]) -> None:
    times = [call.at for call in slice_calls]
    assert times == sorted(times)
    assert NOW - timedelta(weeks=1) < times[-1] <= NOW


def test_everybody_identifies_once_and_before_any_other_call_under_the_user_id(slice_calls: list[Call]) -> None:
    known: set[str] = set()
    for call in slice_calls:
        user = str(call.body["userId"]) if "userId" in call.body else None
        if call.body["type"] == "identify":
            assert user is not None
            assert user not in known
            known.add(user)
        elif user is not None:
            assert user in known


def test_most_consent_to_mail_and_some_refuse(slice_calls: list[Call]) -> None:
    said = [
        consents(json.dumps(c.body["context"], separators=(",", ":")).encode(), None)["email"]
        for c in slice_calls
        if c.body["type"] == "identify"
    ]
    assert 0.05 < said.count(False) / len(said) < 0.15


def test_some_browse_anonymously_before_they_identify(slice_calls: list[Call]) -> None:
    visitors = {c.body["anonymousId"] for c in slice_calls if c.body["type"] == "page"}
    joined = {c.body["anonymousId"] for c in slice_calls if c.body["type"] == "identify" and "anonymousId" in c.body}
    assert visitors == joined
    assert len(visitors) > 500


def test_no_event_of_the_slice_exceeds_what_the_run_allows(slice_calls: list[Call]) -> None:
    packed = list(batches(call.body for call in slice_calls))
    assert max(len(call) for batch in packed for call in batch.calls) < DEMO_MAX_EVENT_BYTES
    assert max(sum(map(len, batch.calls)) for batch in packed) < LARGEST_BATCH_BYTES
    assert sum(len(batch.calls) for batch in packed) == len(slice_calls)


def test_the_slice_is_small_enough_and_repacks_to_the_same_lines() -> None:
    assert SLICE.stat().st_size <= LARGEST_BYTES
    rows = list(read_rows(SLICE))
    assert gzip.decompress(pack(rows)) == gzip.decompress(SLICE.read_bytes())


def test_choosing_takes_whole_customers(slice_invoices: list[Invoice]) -> None:
    chosen = choose(slice_invoices)
    by_customer: dict[str, set[bool]] = {}
    for invoice in slice_invoices:
        if invoice.customer:
            by_customer.setdefault(invoice.customer, set()).add(invoice.number in chosen)
    assert all(len(kept) == 1 for kept in by_customer.values())


def test_an_invoice_is_rounded_once_and_half_up() -> None:
    lines = [Line("A", "a", 1, "0.001"), Line("B", "b", 1, "0.004")]
    assert Invoice("1", NOW, None, "UK", lines).total == Decimal("0.01")


def test_a_cancellation_is_a_refund_below_zero_and_a_guest_has_the_invoices_id() -> None:
    bought = Invoice("5", NOW, None, "UK", [Line("A", "a", 2, "1.25")])
    returned = Invoice("C6", NOW, None, "UK", [Line("A", "a", -2, "1.25")])
    order, refund = (call.body for call in calls([bought, returned], 0))
    assert (order["event"], order["anonymousId"], order["properties"]["revenue"]) == ("Order Completed", "5", 2.5)
    assert (refund["event"], refund["anonymousId"], refund["properties"]["revenue"]) == ("Order Refunded", "C6", -2.5)


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_the_last_date_lands_in_the_week_before_now(seconds: int, further: int) -> None:
    last, now = datetime.fromtimestamp(seconds, UTC), datetime.fromtimestamp(further, UTC)
    moved = last + timedelta(weeks=weeks_to_now(last, now))
    assert now - timedelta(weeks=1) < moved <= now


class Server:
    """Answers as told, and keeps what it accepted."""

    def __init__(self, *answers: httpx.Response) -> None:
        self.answers = list(answers)
        self.accepted: list[dict[str, object]] = []
        self.requests: list[httpx.Request] = []
        self.slept: list[float] = []

    def sender(self) -> Sender:
        client = httpx.AsyncClient(base_url="http://ingest", transport=httpx.MockTransport(self._answer))
        return Sender(client, "wk_secret", sleep=self._sleep, clock=lambda: sum(self.slept))

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer.status_code == 200:
            self.accepted.append(json.loads(gzip.decompress(request.content)))
        return answer


BATCH = Batch((b'{"type":"track","messageId":"1"}',))


async def test_a_server_that_names_a_day_is_obeyed_up_to_the_bound() -> None:
    server = Server(
        httpx.Response(429, headers={"Retry-After": "86400"}), httpx.Response(503, headers={"Retry-After": "9" * 400}), httpx.Response(200)
    )
    await server.sender().send(BATCH)
    assert server.slept == [LONGEST_TOLD_SECONDS, LONGEST_TOLD_SECONDS]


async def test_a_batch_is_sent_again_after_the_seconds_that_the_server_names() -> None:
    server = Server(httpx.Response(429, headers={"Retry-After": "7"}), httpx.Response(503), httpx.Response(200))
    await server.sender().send(BATCH)
    assert server.slept[0] == 7.0
    assert 0.5 <= server.slept[1] <= 1.0, "the second wait of its own, drawn"
    assert [request.headers.get("X-Retry-Count") for request in server.requests] == [None, "1", "2"]
    assert len(server.accepted) == 1
    assert server.accepted[0]["batch"] == [{"type": "track", "messageId": "1"}]
    assert server.requests[0].headers["Authorization"] == httpx.BasicAuth("wk_secret", "")._auth_header
    assert server.requests[0].url.path == "/v1/batch"


async def test_a_refused_batch_is_not_sent_again() -> None:
    server = Server(httpx.Response(400, json={"code": "bad", "message": "no such thing"}))
    with pytest.raises(SendError, match="no such thing"):
        await server.sender().send(BATCH)
    assert len(server.requests) == 1


async def test_the_replay_gives_up_on_a_server_that_takes_nothing() -> None:
    server = Server(httpx.Response(503))
    with pytest.raises(SendError, match="took nothing"):
        await server.sender().send(BATCH)
    assert sum(server.slept) > GIVE_UP_SECONDS


def test_a_replay_that_goes_on_keeps_its_dates(tmp_path: Path) -> None:
    source, path = tmp_path / "some.csv.gz", tmp_path / "demo.json"
    source.write_bytes(pack([row for row, _ in zip(read_rows(SLICE), range(300), strict=False)]))
    kept = Progress(source.name, weeks=700, batches=3)
    kept.save(path)
    found = Progress.load(path, source.name)
    assert found == kept
    assert Progress.load(path, "another.csv") is None
    assert Progress.load(tmp_path / "none.json", source.name) is None
    assert prepare(source, found) == prepare(source, Progress(source.name, 700, 3))
    assert prepare(source, found)[1] != prepare(source, None)[1]
