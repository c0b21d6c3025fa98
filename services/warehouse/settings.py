"""What the warehouse reads from the environment: RAPPORT_<NAME>. The only reader of it in this service."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.adapters.environment import LogLevel
from shared.adapters.kafka_settings import MemberSettings
from shared.adapters.store_settings import ClickHouseSettings


class MigrationSettings(ClickHouseSettings):
    """Where the tables are."""

    model_config = SettingsConfigDict(env_prefix="RAPPORT_", frozen=True)


class Settings(MigrationSettings, MemberSettings):
    """Bytes, seconds, records."""

    host: str = Field("127.0.0.1", description="address the health port listens on")
    health_port: int = Field(0, ge=0, le=65535, description="port of /healthz, /readyz and /metrics; 0 takes a free one")
    log_level: LogLevel = Field("INFO", description="least level of a log line")
    group_prefix: str = Field("rapport", description="the consumer group is <prefix>-warehouse")
    warehouse_flush_seconds: float = Field(0.25, gt=0, le=60, description="age at which rows are written, however few")
    warehouse_inserts_per_second: float = Field(
        8.0, gt=0, le=1000, description="so many inserts a second when live: rows wait longer where more tables are busy"
    )
    warehouse_block_records: int = Field(20_000, ge=1, le=1_000_000, description="records of one topic at which they are written")
    warehouse_block_bytes: int = Field(
        16 * 1024 * 1024, ge=1024, le=2**30, description="bytes of all rows in hand at which they are written"
    )
