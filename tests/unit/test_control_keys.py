"""Keys over the API: the secret shown once, nothing granted that one lacks, a retry that makes no second key."""

import asyncio

from shared.contracts.control import KeyKind, key_hash
from shared.http.idempotency import KEPT_SECONDS, Answered
from shared.reading.away import LogAway
from tests.api_fakes import World
from tests.api_stores import ADMIN, FULL, READ


async def test_a_made_key_works_at_once_and_its_secret_stands_nowhere() -> None:
    world = World()
    answer = await world.post("keys", {"kind": "query", "name": "reports", "scopes": ["read"]})
    assert answer.status_code == 201
    secret = answer.json()["secret"]
    assert (await world.get("segments", secret)).status_code == 200
    (appended,) = world.log.appended
    assert appended.key == f"query:{key_hash(secret)}".encode()
    assert secret.encode() not in (appended.value or b"")
    assert secret not in (await world.get("keys")).text


async def test_a_revoked_key_is_refused_and_revoking_again_changes_nothing() -> None:
    world = World()
    made = (await world.post("keys", {"kind": "query", "name": "reports"})).json()
    async with world.client() as client:
        for _ in range(2):
            assert (await client.delete(f"/api/v1/keys/{made['id']}")).status_code == 204
        assert (await client.delete("/api/v1/keys/0000000000000000")).status_code == 404
    assert (await world.get("segments", made["secret"])).status_code == 401
    assert len(world.log.appended) == 2
    states = {one["id"]: one["state"] for one in (await world.get("keys")).json()["data"]}
    assert states[made["id"]] == "revoked"


async def test_a_key_cannot_revoke_one_that_may_do_more_but_any_other() -> None:
    world = World()
    ids = {one["name"]: one["id"] for one in (await world.get("keys")).json()["data"]}
    world.keys[KeyKind.WRITE].add("wk_shop")
    async with world.client(ADMIN) as client:
        refused = await client.delete(f"/api/v1/keys/{ids[FULL]}")
        assert (refused.status_code, refused.json()["code"]) == (403, "missing_scope")
        assert "personal" in refused.json()["message"]
        assert (await client.delete(f"/api/v1/keys/{ids[READ]}")).status_code == 204
        assert (await client.delete(f"/api/v1/keys/{ids[ADMIN]}")).status_code == 204, "itself may do no more than itself"
    assert (await world.get("segments", FULL)).status_code == 200


async def test_a_key_cannot_make_one_that_sees_more() -> None:
    world = World()
    answer = await world.post("keys", {"kind": "query", "name": "x", "scopes": ["read", "personal"]}, ADMIN)
    assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")
    assert (await world.post("keys", {"kind": "query", "name": "x"}, READ)).status_code == 403
    assert not world.log.appended


async def test_a_write_key_is_of_a_source_and_has_no_scopes() -> None:
    world = World()
    made = (await world.post("keys", {"kind": "write", "name": "web-shop"})).json()
    assert (made["source_id"], made["scopes"], made["secret"][:3]) == ("web-shop", [], "wk_")
    assert key_hash(made["secret"]) in world.keys[KeyKind.WRITE].keys
    assert (await world.get("segments", made["secret"])).status_code == 401


async def test_bad_requests_make_no_key() -> None:
    world = World()
    for body in (
        {"kind": "query"},
        {"kind": "query", "name": "x", "expires_at": "2020-01-01T00:00:00Z"},
        {"kind": "query", "name": "x", "expires_at": "2099-01-01T00:00:00"},
        {"kind": "query", "name": "x", "scopes": ["root"]},
        {"kind": "query", "name": "x", "extra": 1},
    ):
        assert (await world.post("keys", body)).status_code == 400, body
    assert not world.log.appended


async def test_a_retry_with_the_same_idempotency_key_makes_no_second_key() -> None:
    world = World()
    body, headers = {"kind": "query", "name": "x"}, {"Idempotency-Key": "once"}
    first, second = await asyncio.gather(*(world.post("keys", body, headers=headers) for _ in range(2)))
    assert first.json() == second.json()
    assert len(world.log.appended) == 1
    other = await world.post("keys", {"kind": "query", "name": "y"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")


async def test_what_failed_may_be_tried_again_under_its_idempotency_key() -> None:
    world = World()
    body, headers = {"kind": "query", "name": "x"}, {"Idempotency-Key": "once"}
    world.log.away = True
    assert (await world.post("keys", body, headers=headers)).status_code == 503
    world.log.away = False
    assert (await world.post("keys", body, headers=headers)).status_code == 201


async def test_answers_are_forgotten_in_time() -> None:
    now = 0.0
    answered = Answered(lambda: now)
    calls = []

    async def make() -> int:
        calls.append(now)
        if len(calls) == 3:
            raise LogAway("switched off")
        return len(calls)

    assert [await answered.once("k", "o", "i", b"", make) for _ in range(2)] == [1, 1]
    now = KEPT_SECONDS
    assert await answered.once("k", "o", "i", b"", make) == 2


async def test_keys_are_listed_page_by_page() -> None:
    world = World()
    for n in range(5):
        await world.post("keys", {"kind": "query", "name": f"k{n}"})
    found, cursor = [], None
    while True:
        page = (await world.get("keys", limit=3, **({} if cursor is None else {"cursor": cursor}))).json()
        found += [one["name"] for one in page["data"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert sorted(found) == sorted(["qk_full", "qk_read", "qk_admin", *(f"k{n}" for n in range(5))])
