"""What every worker process reads from the environment (prefix RAPPORT_)."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.adapters.environment import LogLevel, also
from shared.adapters.kafka_settings import MemberSettings
from shared.adapters.store_settings import ArchiveSettings, RedisSettings


class RuntimeSettings(MemberSettings, RedisSettings, ArchiveSettings):
    """A missing required one fails at the start, by name."""

    model_config = SettingsConfigDict(env_prefix="RAPPORT_", extra="ignore")

    host: str = Field("127.0.0.1", description="address the health port listens on")
    health_port: int = Field(0, ge=0, le=65535, description="port of /healthz, /readyz and /metrics; 0 takes a free one")
    log_level: LogLevel = Field("INFO", description="least level of a log line")
    group_prefix: str = Field(
        "rapport", description="consumer groups are <prefix>-<stage>; the dispatcher's transactions are named by it too"
    )
    chunk_records: int = Field(2000, ge=1, le=100_000, description="most records fetched at once")
    batch_bytes: int = Field(
        4 << 20,
        ge=1,
        le=1 << 30,
        description="bytes of outputs and states at which a batch is committed, and loaded for it; what one record makes may exceed it",
    )
    cached_states_per_slot: int = Field(
        1000, ge=1, le=1_000_000, description="decoded states kept in memory per slot, twice as many at most"
    )
    cached_bytes_per_slot: int = Field(
        4 << 20, ge=1, le=1 << 30, description="bytes of memory that decoded states kept per slot take, about"
    )
    watchdog_seconds: float = Field(
        60.0,
        validation_alias=also("watchdog_seconds", "stall_s"),
        ge=1,
        le=3600,
        description="seconds without progress, though records wait and servers answer, after which the worker exits; "
        "while other slots move it is only not ready, and exits after ten times as long (`RAPPORT_STALL_SECONDS` is ingest's, another)",
    )
    drain_seconds: float = Field(
        20.0,
        validation_alias=also("drain_seconds", "drain_s"),
        gt=0,
        le=600,
        description="seconds a stopping worker may take to finish what it has in hand",
    )
    dead_letter_halt_ratio: float = Field(
        0.5,
        ge=0,
        le=1,
        description="share of keys that fail, of those of the last 1,000 records, above which a slot stands still; 1: never",
    )
    dead_letter_pause_seconds: float = Field(
        30.0, ge=0, le=600, description="seconds for which it stands still the first time, each time twice as long as the last, 600 at most"
    )
