"""What the control service reads from the environment: RAPPORT_<NAME>. The only reader of it in this service."""

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from services.control.definition_settings import DefinitionSettings
from shared.adapters.environment import read_environment
from shared.adapters.key_settings import KeySettings
from shared.http.settings import HttpSettings
from shared.reading.settings import ReadingSettings


class Settings(HttpSettings, ReadingSettings, KeySettings, DefinitionSettings):
    """Seconds, rows."""

    model_config = SettingsConfigDict(env_prefix="RAPPORT_", frozen=True)

    port: int = Field(8097, ge=0, le=65535, description="port of the API, of /metrics, /healthz and /readyz")
    ingest_url: str | None = Field(None, description="where rejected events are replayed through ingest")
    internal_token: SecretStr | None = Field(None, description="the token that ingest asks for when rejected events are replayed")


def read_settings() -> Settings:
    """The settings of this process; ends it if one is missing or wrong."""
    return read_environment("control", Settings)
