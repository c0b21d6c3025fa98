"""Redis and ClickHouse by TLS: every client checks who it speaks to, and shows who it is where that is asked for."""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from shared.adapters.clickhouse import ClickHouse, StoreAway
from shared.adapters.redis_store import answering, connect
from shared.adapters.store_settings import Address, ClickHouseSettings, RedisSettings
from shared.adapters.tls import Tls
from shared.reading.away import HistoryAway
from shared.reading.history import ClickHouseHistory
from shared.reading.live import RedisSpace
from shared.reading.questions import Question
from shared.runtime.ports import StoreAway as RedisAway
from tests.certificates import Authority, Pair
from tests.integration.tls_front import tls_in_front_of

pytestmark = pytest.mark.real
PING = Question("ping", "SELECT {x:UInt8} AS one", {"x": 1})


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Pair:
    return authority.sign("server")


@pytest.fixture
def redis_by_tls(fresh_redis: Any, server: Pair) -> Iterator[str]:
    with tls_in_front_of(urlsplit(fresh_redis.url).port or 0, server) as port:
        yield f"rediss://127.0.0.1:{port}/0"


@pytest.fixture
def clickhouse_by_tls(clickhouse: Any, server: Pair) -> Iterator[str]:
    with tls_in_front_of(urlsplit(clickhouse.url).port or 0, server) as port:
        yield f"https://127.0.0.1:{port}"


async def written(where: Address) -> object:
    client = connect(where)
    try:
        async with answering():
            await client.set("tls", "yes")
            return await client.get("tls")
    finally:
        await client.aclose()


async def test_redis_is_reached_by_tls_and_the_live_view_too(redis_by_tls: str, authority: Authority) -> None:
    settings = RedisSettings(redis_url=redis_by_tls, redis_ca_file=authority.certificate)
    assert await written(settings.redis) == b"yes"
    space = RedisSpace(settings.redis, 5.0)
    assert await space.texts(["tls"]) == [b"yes"]
    await space.close()


async def test_a_redis_that_nobody_trusted_signed_for_is_not_spoken_to(redis_by_tls: str, authority: Authority) -> None:
    stranger = Authority(authority.folder / "stranger")
    with pytest.raises(RedisAway, match="certificate"):
        await written(Address(redis_by_tls, Tls(stranger.certificate)))


async def test_a_certificate_of_another_host_is_refused(fresh_redis: Any, clickhouse: Any, authority: Authority) -> None:
    elsewhere = authority.sign("elsewhere", "10.0.0.1")
    tls = Tls(authority.certificate)
    with tls_in_front_of(urlsplit(fresh_redis.url).port or 0, elsewhere) as port, pytest.raises(RedisAway, match="certificate"):
        await written(Address(f"rediss://127.0.0.1:{port}/0", tls))
    with tls_in_front_of(urlsplit(clickhouse.url).port or 0, elsewhere) as port:
        where = Address(f"https://127.0.0.1:{port}", tls)
        client, history = ClickHouse(where), ClickHouseHistory(where, 5, 1000, 64)
        with pytest.raises(StoreAway, match="certificate"):
            client.command("SELECT 1")
        with pytest.raises(HistoryAway):
            await history.rows(PING)
        client.close()
        history.close()


async def test_a_redis_that_asks_for_a_certificate_gets_ours(fresh_redis: Any, server: Pair, authority: Authority) -> None:
    ours = authority.sign("worker")
    with tls_in_front_of(urlsplit(fresh_redis.url).port or 0, server, clients_of=authority.certificate) as port:
        url = f"rediss://127.0.0.1:{port}/0"
        settings = RedisSettings(
            redis_url=url, redis_ca_file=authority.certificate, redis_certificate_file=ours.certificate, redis_key_file=ours.key
        )
        assert await written(settings.redis) == b"yes"
        with pytest.raises(RedisAway):
            await written(Address(url, Tls(authority.certificate)))


async def test_both_clients_of_clickhouse_speak_tls(clickhouse_by_tls: str, authority: Authority) -> None:
    """The query service's driver takes no scheme from an URL: it would have spoken in clear to the port."""
    where = ClickHouseSettings(clickhouse_url=clickhouse_by_tls, clickhouse_ca_file=authority.certificate).clickhouse
    client, history = ClickHouse(where), ClickHouseHistory(where, 5, 1000, 64)
    assert client.rows("SELECT 1 AS one") == [{"one": 1}]
    assert await history.rows(PING) == [{"one": 1}]
    client.close()
    history.close()


async def test_a_clickhouse_that_nobody_trusted_signed_for_is_not_spoken_to(clickhouse_by_tls: str, authority: Authority) -> None:
    where = Address(clickhouse_by_tls, Tls(Authority(authority.folder / "stranger").certificate))
    client, history = ClickHouse(where), ClickHouseHistory(where, 5, 1000, 64)
    with pytest.raises(StoreAway, match="certificate"):
        client.command("SELECT 1")
    with pytest.raises(HistoryAway):
        await history.rows(PING)
    client.close()
    history.close()


def test_the_migrations_run_by_tls(clickhouse_by_tls: str, authority: Authority) -> None:
    environment = os.environ | {"RAPPORT_CLICKHOUSE_URL": clickhouse_by_tls, "RAPPORT_CLICKHOUSE_CA_FILE": str(authority.certificate)}
    argv = [sys.executable, "-m", "services.warehouse.migrate"]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "migrations applied" in done.stdout
