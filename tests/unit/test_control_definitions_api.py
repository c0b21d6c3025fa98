"""Definitions over HTTP: planned, applied, rolled back and read, by whoever may."""

import asyncio
import difflib
import json
import threading
from typing import Any

import pytest

from services.control.adapters.http import definitions as routes
from services.control.domain import applying, versions
from shared.adapters.definition_writer import HistoryFull, Overtaken
from shared.contracts.bodies import MAX_BODY, MAX_DEFINITIONS_BODY, MAX_FILES, MOST_COMMAS, too_many_parts
from shared.contracts.redis_keys import meta_key
from shared.contracts.slots import partition_count
from shared.definitions.folder import MOST_NEAR
from shared.runtime.ports import LogAway
from tests.control_fakes import World
from tests.unit.test_control_definitions import BOUGHT, VIEWED, segment

CI = "qk_ci"


@pytest.fixture
def world() -> World:
    made = World()
    made.query_keys.add(CI, "definitions")
    return made


async def applied(world: World, files: dict[str, str], base: int = 0, **more: Any) -> dict[str, Any]:
    answer = await world.post("definitions:apply", {"files": files, "base": base, "why": "because", **more}, CI)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_key_with_the_scope_definitions_plans_and_applies_and_makes_no_key(world: World) -> None:
    files = segment("vip", BOUGHT)
    plan = (await world.post("definitions:plan", {"files": files}, CI)).json()
    assert (plan["base"], plan["differs"], [one["change"] for one in plan["changes"]]) == (0, True, ["added"])
    done = await applied(world, files)
    assert (done["applied"], done["number"], done["applied_by_name"], done["why"]) == (True, 1, CI, "because")
    assert world.definitions.activated == [1]
    made = await world.post("keys", {"kind": "query", "name": "more", "scopes": ["definitions"]}, CI)
    assert made.status_code == 403
    assert (await world.get("definitions", CI)).status_code == 403, "reading needs a read key"


async def test_a_body_that_is_no_json_is_told_by_its_place_and_no_field(world: World) -> None:
    async with world.client(CI) as client:
        answer = await client.post("/api/v1/definitions:plan", content=b'{"files": {', headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert "field" not in answer.json()
    assert answer.json()["detail"].startswith("the body is no valid JSON at character 11: ")


async def test_who_may_only_read_applies_nothing_and_an_admin_may(world: World) -> None:
    body = {"files": segment("vip", BOUGHT), "base": 0, "why": "because"}
    assert (await world.post("definitions:apply", body, "qk_read")).json()["code"] == "missing_scope"
    assert (await world.post("definitions:apply", body, "qk_admin")).status_code == 200


async def test_wrong_definitions_are_refused_with_every_mistake_and_never_reach_the_log(world: World) -> None:
    wrong = {"a.yaml": "segment: a\n", "b.yaml": "{"}
    for path, more in (("definitions:plan", {}), ("definitions:apply", {"base": 0, "why": "x"})):
        answer = await world.post(path, {"files": wrong, **more}, CI)
        assert (answer.status_code, answer.json()["code"]) == (400, "wrong_definitions")
        assert {(one["file"], one["line"]) for one in answer.json()["problems"]} >= {("a.yaml", 1)}
        assert {one["file"] for one in answer.json()["problems"]} == {"a.yaml", "b.yaml"}
    assert world.definitions.topic.head is None


async def test_who_applies_on_a_set_that_is_no_longer_the_newest_is_refused(world: World) -> None:
    await applied(world, segment("vip", BOUGHT))
    late = await world.post("definitions:apply", {"files": segment("vip", VIEWED), "base": 0, "why": "late"}, CI)
    assert (late.status_code, late.json()["code"]) == (409, "base_moved")
    assert "set 1 is the newest" in late.json()["message"]
    same = await applied(world, segment("vip", BOUGHT), base=0)
    assert (same["applied"], same["number"]) == (False, 1), "what is there already is nothing to refuse"
    assert len(world.definitions.topic.sets) == 1


@pytest.mark.parametrize(
    ("failing", "status", "code"),
    [
        (Overtaken("somebody else applies"), 503, "apply_overtaken"),
        (HistoryFull("nothing further can be kept"), 409, "history_full"),
        (LogAway("no answer"), 503, "log_unavailable"),
    ],
)
async def test_what_could_not_be_written_says_why(world: World, failing: Exception, status: int, code: str) -> None:
    world.definitions.failing = failing
    answer = await world.post("definitions:apply", {"files": segment("vip", BOUGHT), "base": 0, "why": "x"}, CI)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_retry_with_its_idempotency_key_gets_the_first_answer(world: World) -> None:
    body, key = {"files": segment("vip", BOUGHT), "base": 0, "why": "x"}, {"idempotency-key": "once"}
    first = await world.post("definitions:apply", body, CI, key)
    assert (await world.post("definitions:apply", body, CI, key)).json() == first.json()
    assert first.json()["applied"]


async def test_a_rollback_is_a_set_of_its_own_with_the_old_files(world: World) -> None:
    await applied(world, segment("vip", BOUGHT))
    await applied(world, segment("vip", VIEWED), 1, from_now=["vip"])
    back = await world.post("definitions:rollback", {"number": 1, "base": 2, "why": "too few"}, CI)
    assert (back.status_code, back.json()["number"], back.json()["rolled_back_to"]) == (200, 3, 1)
    history = (await world.get("definitions/versions")).json()["data"]
    assert [(one["number"], one["why"]) for one in history] == [(3, "too few"), (2, "because"), (1, "because")]
    assert [[change["change"] for change in one["changed"]] for one in history] == [["changed"], ["changed"], ["added"]]
    third = (await world.get("definitions/versions/3")).json()
    assert {file["path"]: file["text"] for file in third["files"]} == segment("vip", BOUGHT)
    unknown = await world.post("definitions:rollback", {"number": 9, "base": 3, "why": "x"}, CI)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_version")


async def test_a_segment_without_history_is_filling_until_that_is_accepted(world: World) -> None:
    await applied(world, segment("vip", BOUGHT))
    both = {**segment("vip", BOUGHT), **segment("seen", VIEWED)}
    plan = (await world.post("definitions:plan", {"files": both}, CI)).json()
    assert [one["state"] for one in plan["changes"]] == ["filling"]
    assert any("from_now seen" in line for line in plan["messages"])
    await applied(world, both, 1)
    states = {one["name"]: one["state"] for one in (await world.get("definitions")).json()["definitions"]}
    assert states == {"vip": "live", "seen": "filling"}
    accepted = await applied(world, both, 2, from_now=["seen"])
    assert (accepted["applied"], [one["state"] for one in accepted["changes"]]) == (True, ["from_now"])


async def test_a_definition_is_shown_with_its_text_its_users_and_its_versions(world: World) -> None:
    await applied(world, segment("vip", BOUGHT))
    await applied(world, segment("vip", VIEWED), 1)
    one = (await world.get("definitions/segment/vip")).json()
    assert [text["text"] for text in one["texts"]] == list(segment("vip", VIEWED).values())
    assert [(stood["number"], stood["until"] is None) for stood in one["versions"]] == [(2, True), (1, False)]
    assert (await world.get("definitions/segment/nobody")).json()["code"] == "unknown_definition"
    assert (await world.get("definitions/dragon/vip")).status_code == 400


async def test_before_anything_was_applied_there_is_an_empty_set(world: World) -> None:
    found = (await world.get("definitions")).json()
    assert (found["number"], found["activated_at"], found["definitions"]) == (0, None, [])
    assert found["active_in"] == {"slots": 3 * partition_count(), "active": 0, "sweeping": 0}


async def test_how_many_slots_go_by_the_newest_set_is_read_from_them(world: World) -> None:
    await applied(world, segment("vip", BOUGHT))
    head = world.definitions.topic.head
    assert head is not None
    for slot in range(3):
        world.space.hash[meta_key("segmentation", slot)] = {"ds": str(head.activated_at - (slot == 2))}
    assert (await world.get("definitions")).json()["active_in"]["active"] == 2
    world.space.away = True
    assert (await world.get("definitions")).json()["active_in"] is None


async def test_history_is_paged(world: World) -> None:
    for base, rule in enumerate((BOUGHT, VIEWED, BOUGHT)):
        await applied(world, segment("vip", rule), base)
    first = (await world.get("definitions/versions", limit=2)).json()
    rest = (await world.get("definitions/versions", limit=2, cursor=first["next_cursor"])).json()
    assert ([one["number"] for one in first["data"]], [one["number"] for one in rest["data"]]) == ([3, 2], [1])
    assert rest["next_cursor"] is None


async def test_a_folder_may_be_larger_than_other_bodies_and_has_a_bound(world: World) -> None:
    large = {"files": {**segment("vip", BOUGHT), "notes.yaml": "#" * MAX_BODY}}
    assert (await world.post("definitions:plan", large, CI)).json()["code"] == "wrong_definitions", "it was read"
    for path, size in (("definitions:plan", MAX_DEFINITIONS_BODY), ("definitions:rollback", MAX_BODY)):
        async with world.client(CI) as client:
            answer = await client.post(f"/api/v1/{path}", content=b" " * (size + 1))
        assert answer.status_code == 413


async def test_while_two_large_bodies_are_held_a_third_is_told_to_come_back(world: World) -> None:
    go_on, body = asyncio.Event(), json.dumps({"files": {"a.yaml": "#" * (MAX_BODY + 1)}}).encode()

    async def slow() -> Any:
        yield body[: MAX_BODY + 1]
        await go_on.wait()
        yield body[MAX_BODY + 1 :]

    async def send(content: Any) -> int:
        async with world.client(CI) as client:
            return (await client.post("/api/v1/definitions:plan", content=content)).status_code

    held = [asyncio.create_task(send(slow())) for _ in range(2)]
    async with asyncio.timeout(60):
        while await send(body) != 429:  # noqa: ASYNC110 - the two before it have not begun yet
            await asyncio.sleep(0)
    go_on.set()
    assert await asyncio.gather(*held) == [400, 400]
    assert await send(body) == 400, "their places are free again"


async def test_while_the_log_cannot_be_read_nothing_is_said_of_definitions(world: World) -> None:
    world.definitions.topic.away = True
    assert (await world.get("definitions")).status_code == 503


def strangers(count: int) -> dict[str, str]:
    """Segments each of which names one that is not there."""
    return {path: text for n in range(count) for path, text in segment(f"s{n}", f"{{in_segment: t{n}}}").items()}


async def test_whatever_takes_long_is_done_by_a_thread_of_its_own_and_once_for_all_changes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: dict[str, list[bool]] = {}

    def noted(module: Any, name: str) -> None:
        real = getattr(module, name)

        def instead(*args: Any, **named: Any) -> Any:
            done.setdefault(name, []).append(threading.current_thread() is threading.main_thread())
            return real(*args, **named)

        monkeypatch.setattr(module, name, instead)

    for module, names in ((applying, ("read_texts", "used_by", "changes")), (versions, ("text_diff", "changes")), (routes, ("messages",))):
        for name in names:
            noted(module, name)
    files = {path: text for n in range(20) for path, text in segment(f"s{n}", BOUGHT).items()}
    await applied(world, files)
    await applied(world, {path: text.replace("30d", "20d") for path, text in files.items()}, 1)
    plan = (await world.post("definitions:plan", {"files": files}, CI)).json()
    assert len(plan["changes"]) == 20
    assert (await world.get("definitions/versions")).status_code == 200
    assert set(done) == {"read_texts", "used_by", "changes", "text_diff", "messages"}
    assert not any(on_the_loop for calls in done.values() for on_the_loop in calls)
    assert len(done["used_by"]) == 3, "once a request, not once a change"


async def test_nearest_names_are_looked_for_a_bounded_number_of_times(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def matches(name: str, *_: Any) -> list[str]:
        asked.append(name)
        return []

    monkeypatch.setattr(difflib, "get_close_matches", matches)
    answer = await world.post("definitions:plan", {"files": strangers(MOST_NEAR + 100)}, CI)
    assert (answer.status_code, answer.json()["code"]) == (400, "wrong_definitions")
    assert len(asked) == MOST_NEAR


async def test_too_many_files_are_refused_by_the_bound_before_any_is_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applying, "read_texts", lambda *_, **__: pytest.fail("a file was looked at"))
    answer = await world.post("definitions:plan", {"files": {f"{n}.yaml": "" for n in range(MAX_FILES + 1)}}, CI)
    assert answer.status_code == 400
    assert f"at most {MAX_FILES}" in answer.json()["message"]


async def test_a_large_body_of_a_million_small_parts_is_refused_before_it_is_read_as_json(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json, "loads", lambda *_, **__: pytest.fail("it was read"))
    for body, what in (
        (b'{"files":{' + b'"a":"",' * (MAX_BODY // 6) + b'"b":""}}', b"strings"),
        (b'{"files":{},"from_now":[' + b"1," * (MOST_COMMAS + 1) + b"1]}", b"commas"),
    ):
        async with world.client(CI) as client:
            answer = await client.post("/api/v1/definitions:plan", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 413
        assert what in answer.content


def test_the_largest_set_that_there_may_be_has_few_enough_parts() -> None:
    text = 'say "hello" to C:\\temp, and to "you"\n' * 100
    body = {"files": {f"{n}.yaml": text for n in range(MAX_FILES)}, "from_now": [f"s{n}" for n in range(MAX_FILES)], "why": "x", "base": 1}
    assert too_many_parts(json.dumps(body).encode()) is None
