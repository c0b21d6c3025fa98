"""What the query service reads from the environment: RAPPORT_<NAME>. The only reader of it in this service."""

import secrets
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from services.query.adapters.pools import WAITING
from shared.adapters.environment import DEFINITIONS, LogLevel, read_environment
from shared.adapters.kafka_settings import KafkaSettings
from shared.adapters.key_settings import KeySettings
from shared.adapters.store_settings import ClickHouseSettings, RedisSettings


class Settings(KafkaSettings, RedisSettings, ClickHouseSettings, KeySettings):
    """Seconds, rows."""

    model_config = SettingsConfigDict(env_prefix="RAPPORT_", frozen=True)

    ingest_url: str | None = Field(None, description="where rejected events are replayed through ingest")
    internal_token: SecretStr | None = Field(None, description="the token that ingest asks for when rejected events are replayed")
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8081, ge=0, le=65535, description="port of the API, of /metrics, /healthz and /readyz")
    definitions_dir: Path = Field(DEFINITIONS, description="folder of the applied definitions")
    log_level: LogLevel = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")
    cursor_secret: SecretStr = Field(
        default_factory=lambda: SecretStr(secrets.token_urlsafe(32)),
        description="seals cursors; give it to all processes of one address, else a cursor is good for one process's life",
    )
    phone_region: str | None = Field(None, description="ISO country of phone numbers without a country code, as ingest has it")
    group_prefix: str = Field("rapport", description="consumer groups are <prefix>-<stage>")
    redis_seconds: float = Field(2.0, gt=0, le=60, description="Redis must answer within")
    query_seconds: int = Field(10, ge=1, le=300, description="one question to ClickHouse may run so long")
    query_rows: int = Field(100_000, ge=1000, le=10_000_000, description="one question to ClickHouse may give so many rows")
    query_memory_mb: int = Field(256, ge=64, le=1_000_000, description="one question to ClickHouse may use so much memory")
    query_page_threads: int = Field(
        4, ge=1, le=64, description="so many pages and lists are asked of ClickHouse at a time, half of them of one key"
    )
    query_series_threads: int = Field(
        2, ge=1, le=64, description="so many time series are asked of ClickHouse at a time, half of them of one key"
    )
    query_waiting: int = Field(
        WAITING,
        ge=0,
        le=10_000,
        description="so many more wait for a thread, of each kind of question to ClickHouse or Kafka, half of them of one key; else 429",
    )
    drain_seconds: float = Field(10.0, gt=0, le=600, description="SIGTERM: requests under way get so long")


def read_settings() -> Settings:
    """The settings of this process; ends it if one is missing or wrong."""
    return read_environment("query", Settings)
