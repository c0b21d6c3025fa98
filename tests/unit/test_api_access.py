"""Query keys: what is said to whom, and when nothing can be said for certain."""

import pytest

from shared.contracts.profile_blob import Profile
from tests.api_fakes import World
from tests.api_stores import ADMIN, CREATED, FULL, READ
from tests.query_fakes import World as QueryWorld


@pytest.mark.parametrize(
    ("key", "path", "status", "code"),
    [
        (None, "segments", 401, "missing_key"),
        ("qk_stranger", "segments", 401, "unknown_key"),
        ("qk_revoked", "segments", 401, "unknown_key"),
        ("qk_old", "segments", 401, "expired_key"),
        ("qk_none", "segments", 403, "missing_scope"),
        (READ, "keys", 403, "missing_scope"),
        (READ, "dead-letters", 403, "missing_scope"),
        (READ, "rejected-events", 403, "missing_scope"),
        (READ, "segments", 200, None),
        (ADMIN, "keys", 200, None),
        ("qk_star", "keys", 200, None),
    ],
)
async def test_a_key_is_answered_for_what_it_is(key: str | None, path: str, status: int, code: str | None) -> None:
    world = World()
    world.query_keys.add("qk_revoked", "read", revoked_at=CREATED)
    world.query_keys.add("qk_old", "read", expires_at=world.now_ms)
    world.query_keys.add("qk_none", "something of a later version")
    world.query_keys.add("qk_star", "*")
    answer = await world.get(path, key)
    assert (answer.status_code, answer.json().get("code")) == (status, code)
    if status == 401:
        assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_before_the_keys_have_been_read_nobody_is_refused_for_good() -> None:
    world = World()
    world.query_keys.trouble = "not read to the end yet"
    for key in (FULL, "qk_stranger"):
        answer = await world.get("segments", key)
        assert (answer.status_code, answer.json()["code"]) == (503, "keys_not_read")


async def test_an_unknown_key_is_no_401_while_the_log_does_not_answer() -> None:
    world = World()
    world.query_keys.certain = False
    assert (await world.get("segments", "qk_stranger")).status_code == 503
    assert (await world.get("segments", FULL)).status_code == 200


async def test_a_key_is_good_until_the_instant_at_which_it_expires() -> None:
    world = World()
    world.query_keys.add("qk_soon", "read", expires_at=world.now_ms + 1)
    assert (await world.get("segments", "qk_soon")).status_code == 200
    world.now_ms += 1
    assert (await world.get("segments", "qk_soon")).status_code == 401


@pytest.mark.parametrize(("query", "said"), [({"journey": ["a", "b"]}, "may be given once only"), ({"journy": "a"}, "unknown parameter")])
async def test_a_filter_that_would_not_be_heeded_is_refused(query: dict[str, str | list[str]], said: str) -> None:
    answer = await World().get("messages", FULL, **query)
    assert answer.status_code == 400
    assert said in answer.json()["message"]
    assert answer.json()["field"] in query


async def test_every_error_is_a_problem_document() -> None:
    world = World()
    async with world.client() as client:
        answers = [
            await client.get("/nowhere"),
            await client.get("/api/v1/segments?limit=0"),
            await client.get("/api/v1/segments?limt=5"),
            await client.get("/api/v1/segments?cursor=AAAA"),
            await client.delete("/api/v1/segments"),
            await client.get("/api/v1/segments/none_such"),
            await client.post("/api/v1/keys", content=b"{"),
            await client.post("/api/v1/keys", content=b"x" * (1024 * 1024 + 1)),
        ]
    assert [answer.status_code for answer in answers] == [404, 400, 400, 400, 405, 404, 400, 413]
    for answer in answers:
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["status"] == answer.status_code
        assert problem["code"]
        assert problem["message"] == problem["detail"]


async def test_requests_are_counted_by_operation_and_never_by_path() -> None:
    world = QueryWorld()
    world.space.profile("u:ada", Profile(events=1))
    await world.get("profiles/u:ada")
    await world.get("profiles/u:nobody")
    async with world.client() as client:
        text = (await client.get("/metrics")).text
    assert 'rapport_api_requests_total{code="200",operation="getProfile"} 1.0' in text
    assert 'rapport_api_requests_total{code="404",operation="getProfile"} 1.0' in text
    assert "ada" not in text


async def test_ready_means_redis_and_keys_but_not_clickhouse() -> None:
    world = World()
    async with world.client(None) as client:
        world.history.away = True
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["parts"]["clickhouse"]) == (200, "does not answer")
        world.space.away = True
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.get("/healthz")).status_code == 200
