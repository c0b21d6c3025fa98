"""`rapport tag`: who is found, what is written of them, and what a repeat, an unknown person and a busy ingest come to."""

import gzip
import json
from itertools import permutations
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from deploy.cli import tags
from deploy.cli.api import Api
from deploy.cli.main import app
from deploy.demo.sdk import LONGEST_TOLD_SECONDS
from services.ingest.domain.accept import Accepted, Frame, accept
from services.ingest.domain.limits import Limits
from shared.contracts.events import EVENT_DECODER, ReceivedEvent
from shared.rules.oracle import Happening
from tests.unit.test_segmentation_features import Person, segments

PEOPLE = {
    "/api/v1/profiles:lookup?user_id=ada": "u:ada",
    "/api/v1/profiles:lookup?email=bob%40example.com": "email:bob@example.com",
    "/api/v1/profiles:lookup?user_id=cy%40shop": "u:cy@shop",
    "/api/v1/profiles/a:d-1": "a:d-1",
    "/api/v1/profiles:lookup?external_id=phone:13800138000": "phone:+8613800138000",
    "/api/v1/profiles:lookup?external_id=wecom:wx_1": "wecom:wx_1",
    "/api/v1/profiles:lookup?user_id=shop%3A7": "u:shop:7",
    "/api/v1/profiles:lookup?user_id=masked": "u:m***@example.com",
}


class Installation:
    """The query API and ingest: the calls that came in, batch by batch; `answers` of ingest, the last one for good."""

    def __init__(self) -> None:
        self.batches: list[list[dict[str, Any]]] = []
        self.answers = [httpx.Response(200)]
        self.tried = 0
        self.authorization: set[str] = set()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.authorization.add(request.headers["authorization"].split()[0])
        if request.url.path != "/v1/batch":
            target = request.url.raw_path.decode()
            if "user_id=many-" in target:
                return httpx.Response(200, json={"profile_id": "u:" + target.partition("=")[2]})
            found = PEOPLE.get(target)
            gone = {"code": "unknown_profile", "message": "nobody is known by that id"}
            return httpx.Response(200, json={"profile_id": found}) if found else httpx.Response(404, json=gone)
        self.tried += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer.status_code == 200:
            self.batches.append(json.loads(gzip.decompress(request.content))["batch"])
        return httpx.Response(answer.status_code, headers=answer.headers, text=answer.text)

    @property
    def calls(self) -> list[dict[str, Any]]:
        return [call for batch in self.batches for call in batch]


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Installation:
    made, sync, async_ = Installation(), httpx.Client, httpx.AsyncClient
    monkeypatch.setattr(httpx, "Client", lambda **told: sync(**told, transport=httpx.MockTransport(made)))
    monkeypatch.setattr(httpx, "AsyncClient", lambda **told: async_(**told, transport=httpx.MockTransport(made)))
    for name, value in {"QUERY_URL": "http://query", "QUERY_KEY": "q", "INGEST_URL": "http://ingest", "WRITE_KEY": "w"}.items():
        monkeypatch.setenv(f"RAPPORT_{name}", value)
    return made


FRAME = Frame(source_id="crm", received_at=4_000_000_000_000, new_id=lambda: "made", limits=Limits(), phone_region="CN")


def as_received(call: dict[str, Any]) -> ReceivedEvent:
    """What ingest writes of a call."""
    outcome = accept(json.dumps(call).encode(), FRAME)
    assert isinstance(outcome, Accepted)
    return EVENT_DECODER.decode(outcome.value)


def tag(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["tag", *arguments])
    return done.exit_code, done.output


@pytest.mark.parametrize(
    ("person", "identity"),
    [
        ("ada", {"userId": "ada"}),
        ("cy@shop", {"userId": "cy@shop"}),
        ("a:d-1", {"anonymousId": "d-1"}),
        (
            "bob@example.com",
            {"context": {"externalIds": [{"id": "bob@example.com", "type": "email", "collection": "users", "encoding": "none"}]}},
        ),
    ],
)
def test_a_person_is_named_by_user_id_profile_id_or_address(there: Installation, person: str, identity: dict[str, Any]) -> None:
    until = "2099-06-01T09:00:00+08:00"
    code, output = tag("add", person, "--tag", "vip", "--reason", "fair", "--until", until, "--by", "tim")
    assert (code, output) == (0, "Tag Added: vip\n")
    (call,) = there.calls
    assert {name: call[name] for name in identity} == identity
    assert {"userId", "anonymousId", "context"} & set(call) == set(identity)
    assert (call["type"], call["event"]) == ("track", "Tag Added")
    assert call["properties"] == {"tag": "vip", "by": "tim", "reason": "fair", "until": until}
    assert there.authorization == {"Bearer", "Basic"}


def test_a_tag_is_taken_and_who_says_so_is_the_user_of_the_machine(there: Installation) -> None:
    assert tag("remove", "ada", "--tag", "vip")[0] == 0
    (call,) = there.calls
    assert call["event"] == "Tag Removed"
    assert "@" in call["properties"]["by"]


def test_nothing_is_written_of_somebody_unknown(there: Installation) -> None:
    code, output = tag("add", "nobody", "--tag", "vip")
    assert (code, there.calls) == (1, [])
    assert "unknown: nobody" in output


def test_an_import_lists_unknown_people_and_tags_the_others(there: Installation, tmp_path: Path) -> None:
    file = tmp_path / "people.txt"
    file.write_text("\ufeffada\n\nnobody@example.com\nbob@example.com", encoding="utf-8")
    code, output = tag("import", str(file), "--tag", "vip", "--reason", "fair")
    assert code == 1
    assert "unknown: nobody@example.com" in output
    assert "given on 2 lines, unknown 1" in output
    assert len(there.calls) == 2


def test_an_import_after_a_removal_gives_the_tag_again(there: Installation, tmp_path: Path) -> None:
    file = tmp_path / "people.txt"
    file.write_text("ada\nbob@example.com\n")
    importing = ("import", str(file), "--tag", "vip", "--reason", "fair")
    assert tag(*importing)[0] == tag("remove", "ada", "--tag", "vip")[0] == tag(*importing)[0] == 0
    of_ada = [as_received(call) for call in there.calls if call.get("userId") == "ada"]
    assert len({call.message_id for call in of_ada}) == len({call.timestamp for call in of_ada}) == 3
    for order in permutations(of_ada):
        person = Person.new(segments({"tag": "vip"}), "UTC").at(max(call.timestamp for call in of_ada))
        for call in order:
            person.take(Happening(call.timestamp, call.message_id, call.event or "", json.loads(bytes(call.properties))))
        assert person.members() == [True]


def test_who_is_named_twice_in_a_file_is_spoken_of_once(there: Installation, tmp_path: Path) -> None:
    file = tmp_path / "people.txt"
    file.write_text("phone:13800138000\nada\nada\nphone:13800138000\n")
    assert tag("import", str(file), "--tag", "vip", "--reason", "fair")[0] == 0
    assert len({call["messageId"] for call in there.calls}) == 2


@pytest.mark.parametrize(
    ("person", "key"),
    [
        ("ada", "u:ada"),
        ("shop:7", "u:shop:7"),
        ("a:d-1", "a:d-1"),
        ("bob@example.com", "email:bob@example.com"),
        ("phone:13800138000", "phone:+8613800138000"),
        ("wecom:wx_1", "wecom:wx_1"),
    ],
)
def test_ingest_takes_what_is_said_under_the_id_that_the_person_was_found_by(there: Installation, person: str, key: str) -> None:
    assert tag("add", person, "--tag", "vip")[0] == 0
    (call,) = there.calls
    outcome = accept(json.dumps(call).encode(), FRAME)
    assert isinstance(outcome, Accepted)
    assert outcome.key.decode() == key


def test_a_long_file_goes_in_batches_of_a_hundred_and_says_how_far_it_is(there: Installation, tmp_path: Path) -> None:
    file = tmp_path / "people.txt"
    file.write_text("".join(f"many-{n}\n" for n in range(1050)))
    code, output = tag("import", str(file), "--tag", "vip", "--reason", "fair")
    assert code == 0
    assert [len(batch) for batch in there.batches] == [100] * 10 + [50]
    assert "1,000 of 1,050 lines" in output


@pytest.mark.parametrize("status", [429, 503])
def test_ingest_that_says_wait_gets_the_batch_again(there: Installation, status: int) -> None:
    there.answers = [httpx.Response(status, headers={"retry-after": "0"}), httpx.Response(200)]
    assert tag("add", "ada", "--tag", "vip")[0] == 0
    assert (there.tried, len(there.calls)) == (2, 1)


def test_the_query_api_is_asked_again_after_the_seconds_that_it_names_and_no_longer_than_the_bound() -> None:
    slept: list[float] = []
    answers = iter([({"retry-after": "7"}, 503), ({"retry-after": "86400"}, 429), ({}, 503), ({}, 200)])

    def answer(_: httpx.Request) -> httpx.Response:
        headers, status = next(answers)
        return httpx.Response(status, headers=headers, json={"code": "too_busy", "message": "later", "profile_id": "u:ada"})

    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        lookup = tags.Lookup(Api("http://query", "q", client), slept.append, lambda: 0.0)
        assert lookup.profile_id("ada") == "u:ada"
    assert slept == [7.0, LONGEST_TOLD_SECONDS, tags.PAUSE_SECONDS]


def test_what_ingest_refuses_is_said_in_its_words(there: Installation) -> None:
    there.answers = [httpx.Response(401, text="there is no such write key")]
    code, output = tag("add", "ada", "--tag", "vip")
    assert (code, there.tried) == (1, 1)
    assert "there is no such write key" in output
    assert "0 were sent for certain" in output


def test_a_key_that_sees_people_masked_writes_of_nobody(there: Installation) -> None:
    code, output = tag("add", "masked", "--tag", "vip")
    assert (code, there.calls) == (1, [])
    assert "personal" in output


@pytest.mark.parametrize(
    "wrong",
    [
        ["--tag", "x" * 101],
        ["--tag", "x", "--reason", "y" * 251],
        ["--tag", "x", "--until", "2026-06-01"],
        ["--tag", "x", "--until", "2020-06-01T09:00:00Z"],
    ],
)
def test_what_a_reader_would_pass_over_is_refused_before_it_is_sent(there: Installation, wrong: list[str]) -> None:
    assert (tag("add", "ada", *wrong)[0], there.tried) == (2, 0)
