"""Ingest on a real broker: what was answered 200 is in the log, whatever stops; where a record goes; keys followed live."""

import concurrent.futures
import functools
import json
import socket
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.local import keys
from deploy.local.kafka import Kafka
from deploy.local.ports import HOST, free_port
from deploy.local.process import Process
from shared.adapters.kafka_clients import KafkaConnection
from shared.contracts.control import KeyKind
from shared.contracts.slots import slot
from tests.integration.ingest_service import Ingest, running
from tests.key_secrets import SECRETS
from tests.waiting import wait_until

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def ingest(kafka: Process, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    with running(kafka, tmp_path_factory.mktemp("ingest")) as service:
        yield service


@pytest.fixture(scope="module")
def own_kafka(kafka: Process, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """A broker of this module alone: it may be paused and killed. (`kafka` says whether there can be one.)"""
    folder = tmp_path_factory.mktemp("own-kafka")
    with Kafka(folder / "kafka", free_port(), folder / "kafka.log") as broker:
        yield broker


def track(message_id: str, **fields: Any) -> dict[str, Any]:
    return {"type": "track", "event": "E", "anonymousId": f"a-{message_id}", "messageId": message_id} | fields


def _is_taken(ingest: Ingest, message_id: str) -> bool:
    return ingest.post({"batch": [track(message_id)]}).status_code == 200


def _more_than(acknowledged: list[str], count: int) -> bool:
    return len(acknowledged) > count


def ids() -> Iterator[str]:
    while True:
        yield uuid.uuid4().hex


def test_records_lie_in_the_slot_of_their_key(ingest: Ingest) -> None:
    people = ["1", "客户-7", "é" * 40, "x" * 500, *(uuid.uuid4().hex for _ in range(200))]
    response = ingest.post({"batch": [track(uuid.uuid4().hex, anonymousId=person, event="slots") for person in people]})
    assert response.status_code == 200
    logged = [one for one in ingest.logged() if one.event.event == "slots"]
    assert sorted(one.key for one in logged) == sorted(f"a:{person}" for person in people)
    assert [one.partition for one in logged] == [slot(one.key) for one in logged]
    assert len({one.partition for one in logged}) > 1


def test_a_rejected_item_stands_in_the_rejected_topic(ingest: Ingest) -> None:
    assert ingest.post({"batch": [track("ok-1"), {"type": "track", "userId": "u", "messageId": "bad"}]}).status_code == 200
    [kept] = [one for one in ingest.rejected() if b'"bad"' in one.original]
    assert (kept.reason, kept.field, kept.path) == ("missing_field", "event", "/v1/batch")


def test_keys_are_followed_live(ingest: Ingest) -> None:
    made = keys.create(KafkaConnection(ingest.bootstrap), SECRETS, KeyKind.WRITE, "second")
    secret = {"authorization": f"Bearer {made.secret}"}
    body = json.dumps(track("live") | {"userId": "u"}).encode()
    assert httpx.post(f"{ingest.url}/v1/track", content=body, headers=secret).status_code == 200
    keys.revoke(KafkaConnection(ingest.bootstrap), SECRETS, made.record)
    wait_until("the revoked key is refused", lambda: httpx.post(f"{ingest.url}/v1/track", content=body, headers=secret).status_code == 401)


def test_a_query_key_may_not_write(ingest: Ingest) -> None:
    made = keys.create(KafkaConnection(ingest.bootstrap), SECRETS, KeyKind.QUERY, "reader")
    answer = httpx.post(f"{ingest.url}/v1/track", content=b"{}", headers={"authorization": f"Bearer {made.secret}"})
    assert answer.status_code == 401


def _raw(ingest: Ingest, payload: bytes) -> bytes:
    """What comes back for these bytes until the service hangs up or has nothing more to say (we send no more)."""
    with socket.create_connection((HOST, ingest.port), timeout=20) as connection:
        connection.sendall(payload)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(65_536):
            answer += part
        return answer


def test_broken_requests_neither_hang_nor_break_the_service(ingest: Ingest) -> None:
    key = ingest.basic()["authorization"].encode()
    head = b"POST /v1/batch HTTP/1.1\r\nhost: x\r\nauthorization: " + key + b"\r\n"
    whole = head + b"content-length: 13\r\n\r\n" + b'{"batch": []}'
    for payload in (
        b"",
        b"\0" * 1000,
        b"GET\r\n\r\n",
        b"POST /v1/batch HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/b\xff\xfe HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n",
        head + b"content-length: 100\r\n\r\n{",
        head + b"transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        head + b"transfer-encoding: chunked\r\n\r\n5\r\n{\r\n",
        head + b"content-length: 4\r\ncontent-encoding: gzip\r\n\r\n\x1f\x8b\x08\x00",
        whole * 3,
    ):
        answer = _raw(ingest, payload)
        assert b"HTTP/1.1 5" not in answer, (payload, answer)
    assert ingest.post({"batch": [track(uuid.uuid4().hex)]}).status_code == 200
    assert "Traceback" not in ingest.process.log_tail(200)


def _send_until(stop: threading.Event, ingest: Ingest, source: Iterator[str], acknowledged: list[str]) -> None:
    """Send batches of 20 one after the other; note the ids of those that were answered 200."""
    with httpx.Client(headers=ingest.basic(), timeout=10) as client:
        while not stop.is_set():
            batch = [next(source) for _ in range(20)]
            try:
                answer = client.post(f"{ingest.url}/v1/batch", content=json.dumps({"batch": [track(one) for one in batch]}))
            except httpx.HTTPError:
                stop.wait(0.02)
                continue
            if answer.status_code == 200:
                acknowledged += batch


def test_ids_answered_200_are_a_subset_of_ids_in_kafka_when_ingest_is_killed(kafka: Process, tmp_path: Path) -> None:
    ingest = Ingest(kafka, tmp_path)
    acknowledged: list[str] = []
    stop = threading.Event()
    with ingest.process, concurrent.futures.ThreadPoolExecutor(4) as pool:
        senders = [pool.submit(_send_until, stop, ingest, ids(), acknowledged) for _ in range(4)]
        try:
            for round_ in range(1, 4):
                wait_until("more is acknowledged", functools.partial(_more_than, acknowledged, round_ * 400))
                ingest.process.kill()
                ingest.process.start()
                ingest.process.wait_ready()
        finally:
            stop.set()
        for sender in senders:
            sender.result(20)
    logged = Counter(one.event.message_id for one in ingest.logged())
    lost = set(acknowledged) - set(logged)
    doubled = [one for one, count in logged.items() if count > 1]
    print(f"acknowledged={len(acknowledged)} logged={len(logged)} lost={len(lost)} doubled={len(doubled)}")  # noqa: T201 the ledger
    assert not lost
    assert not doubled


def test_a_paused_kafka_means_fast_503s_and_no_loss(own_kafka: Kafka, tmp_path: Path) -> None:
    with running(own_kafka, tmp_path, stall_seconds=0.5, delivery_timeout_seconds=4) as ingest:
        sent = [uuid.uuid4().hex for _ in range(5)]
        assert ingest.post({"batch": [track(sent[0])]}).status_code == 200
        own_kafka.pause()
        try:
            wait_until("callers get 503", lambda: ingest.post({"batch": [track(sent[1])]}).status_code == 503)
            answers = [ingest.post({"batch": [track(one)]}) for one in sent[1:]]
            assert [answer.status_code for answer in answers] == [503] * 4
            assert all(answer.headers["retry-after"].isdigit() for answer in answers)
            assert {answer.json()["code"] for answer in answers} == {"kafka_unavailable"}
            # At once, not after a wait for Kafka: the client would hang up before the delivery timeout.
            assert {ingest.post({"batch": [track(sent[1])]}, seconds=3).status_code for _ in range(100)} == {503}
            assert httpx.get(f"{ingest.url}/readyz").status_code == 503
        finally:
            own_kafka.resume()
        for one in sent:
            wait_until("the retry is taken", functools.partial(_is_taken, ingest, one))
        wait_until("ready again", lambda: httpx.get(f"{ingest.url}/readyz").status_code == 200)
        assert {one.event.message_id for one in ingest.logged()} == set(sent)


def test_a_kafka_that_is_gone_turns_readiness_red_without_traffic(own_kafka: Kafka, tmp_path: Path) -> None:
    with running(own_kafka, tmp_path) as ingest:
        own_kafka.kill()
        wait_until("not ready", lambda: httpx.get(f"{ingest.url}/readyz").status_code == 503)
        assert httpx.get(f"{ingest.url}/readyz").json()["parts"]["kafka"] != "ok"
        assert httpx.get(f"{ingest.url}/healthz").status_code == 200
        own_kafka.start()
        own_kafka.wait_ready()
        wait_until("ready", lambda: httpx.get(f"{ingest.url}/readyz").status_code == 200)
        assert ingest.post({"batch": [track("after")]}).status_code == 200


def test_sigterm_answers_what_is_under_way_and_ends_with_code_0(kafka: Process, tmp_path: Path) -> None:
    ingest = Ingest(kafka, tmp_path)
    acknowledged: list[str] = []
    stop = threading.Event()
    with ingest.process, concurrent.futures.ThreadPoolExecutor(2) as pool:
        senders = [pool.submit(_send_until, stop, ingest, ids(), acknowledged) for _ in range(2)]
        wait_until("some are acknowledged", lambda: len(acknowledged) > 100)
        ingest.process.stop()
        stop.set()
        for sender in senders:
            sender.result(20)
    assert ingest.process.returncode == 0
    assert '"unacknowledged": 0' in ingest.process.log_tail()
    assert set(acknowledged) <= {one.event.message_id for one in ingest.logged()}


def test_several_processes_share_the_port_and_their_metrics(kafka: Process, tmp_path: Path) -> None:
    with running(kafka, tmp_path, ingest_processes=2) as ingest:
        sent = [uuid.uuid4().hex for _ in range(40)]
        for one in sent:  # a connection each, so that both processes get some
            assert ingest.post({"batch": [track(one)]}).status_code == 200
        assert {one.event.message_id for one in ingest.logged()} == set(sent)
        text = httpx.get(f"{ingest.inside}/metrics").text
        assert 'rapport_ingest_events_received_total{type="track"} 40.0' in text


def test_no_secret_and_no_person_gets_into_the_log(kafka: Process, tmp_path: Path) -> None:
    with running(kafka, tmp_path, log_level="DEBUG") as ingest:
        ingest.post({"batch": [track("m", traits={"email": "ann@example.com"}), {"type": "x", "userId": "ann@example.com"}]})
        ingest.post(b"{", "/v1/track")
    log = ingest.process.log_path.read_text()
    assert "started" in log
    assert ingest.write_key not in log
    assert "ann@example.com" not in log
    assert all(json.loads(line) for line in log.splitlines())
