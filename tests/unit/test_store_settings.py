"""RAPPORT_REDIS_* and RAPPORT_CLICKHOUSE_*: TLS by the URL; what does not fit together is refused by name, and no password shows."""

from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic_settings import BaseSettings

from services.query.settings import Settings as QuerySettings
from services.warehouse.settings import MigrationSettings
from shared.adapters.store_settings import Address, ClickHouseSettings, RedisSettings
from shared.adapters.tls import Tls
from shared.worker.settings import RuntimeSettings
from tests.certificates import Authority

SECRET = "hush-7f3a"


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    return Authority(tmp_path).certificate


@pytest.mark.parametrize("kind", [RuntimeSettings, QuerySettings])
def test_every_process_that_has_redis_reads_the_same(kind: type[RedisSettings], ca: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAPPORT_KAFKA_BOOTSTRAP", "b:1")
    monkeypatch.setenv("RAPPORT_CLICKHOUSE_URL", "http://here:1")
    monkeypatch.setenv("RAPPORT_REDIS_URL", f"rediss://:{SECRET}@here:1/0")
    monkeypatch.setenv("RAPPORT_REDIS_CA_FILE", str(ca))
    monkeypatch.setenv("RAPPORT_REDIS_KEY_FILE", "")
    settings = kind()
    assert settings.redis == Address(f"rediss://:{SECRET}@here:1/0", Tls(ca))
    assert SECRET not in f"{settings!r} {settings.redis!r}"


@pytest.mark.parametrize("kind", [MigrationSettings, QuerySettings])
def test_every_process_that_has_clickhouse_reads_the_same(
    kind: type[ClickHouseSettings], ca: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAPPORT_KAFKA_BOOTSTRAP", "b:1")
    monkeypatch.setenv("RAPPORT_REDIS_URL", "redis://here:1")
    monkeypatch.setenv("RAPPORT_CLICKHOUSE_URL", f"https://me:{SECRET}@here")
    monkeypatch.setenv("RAPPORT_CLICKHOUSE_CA_FILE", str(ca))
    settings = kind()
    assert settings.clickhouse == Address(f"https://me:{SECRET}@here", Tls(ca))
    assert SECRET not in f"{settings!r} {settings.clickhouse!r}"


@pytest.mark.parametrize(
    ("kind", "given", "named"),
    [
        (RedisSettings, {"redis_url": f"http://:{SECRET}@here"}, "RAPPORT_REDIS_URL"),
        (RedisSettings, {"redis_url": f"redis://:{SECRET}@here", "redis_ca_file": "ca.pem"}, "RAPPORT_REDIS_.*rediss://"),
        (RedisSettings, {"redis_url": f"rediss://:{SECRET}@here", "redis_ca_file": "nowhere.pem"}, "RAPPORT_REDIS_CA_FILE.*nowhere"),
        (RedisSettings, {"redis_url": f"rediss://:{SECRET}@here", "redis_key_file": "k.pem"}, "RAPPORT_REDIS_CERTIFICATE_FILE"),
        (ClickHouseSettings, {"clickhouse_url": f"clickhouse://:{SECRET}@here"}, "RAPPORT_CLICKHOUSE_URL"),
        (ClickHouseSettings, {"clickhouse_url": f"http://:{SECRET}@here", "clickhouse_ca_file": "x"}, "RAPPORT_CLICKHOUSE_.*https://"),
        (ClickHouseSettings, {"clickhouse_url": f"https://:{SECRET}@here", "clickhouse_ca_file": "x"}, "RAPPORT_CLICKHOUSE_CA_FILE"),
    ],
)
def test_what_does_not_fit_together_is_refused_by_name(kind: type[BaseSettings], given: dict[str, str], named: str) -> None:
    with pytest.raises(ValidationError, match=named) as told:
        kind.model_validate(given)
    assert SECRET not in str(told.value)
