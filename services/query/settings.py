"""What the query service reads from the environment: RAPPORT_<NAME>. The only reader of it in this service."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.adapters.environment import read_environment
from shared.adapters.key_settings import KeySettings
from shared.http.settings import HttpSettings
from shared.reading.settings import ReadingSettings


class Settings(HttpSettings, ReadingSettings, KeySettings):
    """Seconds, rows."""

    model_config = SettingsConfigDict(env_prefix="RAPPORT_", frozen=True)

    port: int = Field(8096, ge=0, le=65535, description="port of the API, of /metrics, /healthz and /readyz")
    phone_region: str | None = Field(None, description="ISO country of phone numbers without a country code, as ingest has it")
    query_series_threads: int = Field(
        2, ge=1, le=64, description="so many time series are asked of ClickHouse at a time, half of them of one key"
    )


def read_settings() -> Settings:
    """The settings of this process; ends it if one is missing or wrong."""
    return read_environment("query", Settings)
