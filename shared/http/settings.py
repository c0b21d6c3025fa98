"""RAPPORT_<NAME>: where a process of the API listens, and what its cursors are sealed with."""

import secrets

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.adapters.environment import LogLevel


class HttpSettings(BaseSettings):
    """Of one process of the API."""

    model_config = SettingsConfigDict(env_prefix="RAPPORT_", frozen=True)

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8081, ge=0, le=65535, description="port of the API, of /metrics, /healthz and /readyz")
    log_level: LogLevel = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")
    cursor_secret: SecretStr = Field(
        default_factory=lambda: SecretStr(secrets.token_urlsafe(32)),
        description="seals cursors; give it to all processes of one address, else a cursor is good for one process's life",
    )
    drain_seconds: float = Field(10.0, gt=0, le=600, description="SIGTERM: requests under way get so long")
