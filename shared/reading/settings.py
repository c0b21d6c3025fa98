"""RAPPORT_<NAME>: how long, how much and how many at a time a process that answers HTTP asks of the stores."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.adapters.kafka_settings import KafkaSettings
from shared.adapters.store_settings import ClickHouseSettings, RedisSettings
from shared.reading.pools import WAITING


class ReadingSettings(KafkaSettings, RedisSettings, ClickHouseSettings):
    """Seconds, rows."""

    model_config = SettingsConfigDict(env_prefix="RAPPORT_", frozen=True)

    group_prefix: str = Field("rapport", description="consumer groups are <prefix>-<stage>")
    redis_seconds: float = Field(2.0, gt=0, le=60, description="Redis must answer within")
    query_seconds: int = Field(10, ge=1, le=300, description="one question to ClickHouse may run so long")
    query_rows: int = Field(100_000, ge=1000, le=10_000_000, description="one question to ClickHouse may give so many rows")
    query_memory_mb: int = Field(256, ge=64, le=1_000_000, description="one question to ClickHouse may use so much memory")
    query_page_threads: int = Field(
        4, ge=1, le=64, description="so many pages and lists are asked of ClickHouse at a time, half of them of one key"
    )
    query_waiting: int = Field(
        WAITING,
        ge=0,
        le=10_000,
        description="so many more wait for a thread, of each kind of question to ClickHouse or Kafka, half of them of one key; else 429",
    )
