"""RAPPORT_REDIS_* and RAPPORT_CLICKHOUSE_*: where the stores are and how they are reached. TLS is said by the URL."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.adapters.tls import Tls

PREFIX: Final = "RAPPORT_"
_CA: Final = "PEM file of who may have signed the server's certificate, with {}; without it, whom the system trusts"
OptionalFile = Annotated[Path | None, BeforeValidator(lambda value: None if value == "" else value)]
"""Compose hands unset variables over as empty ones."""
OptionalUrl = Annotated[SecretStr | None, BeforeValidator(lambda value: None if value == "" else value)]


@dataclass(frozen=True, slots=True)
class Address:
    """A store. `url` may hold a password. `tls`: None where the URL says that the connection is in clear."""

    url: str = field(repr=False)
    tls: Tls | None = None


class RedisSettings(BaseSettings):
    """Redis 7.0 or later, or Valkey."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", hide_input_in_errors=True)

    redis_url: SecretStr = Field(description="redis://[user:password@]host:port/db, or rediss:// for TLS")
    redis_ca_file: OptionalFile = Field(None, description=_CA.format("rediss://"))
    redis_certificate_file: OptionalFile = Field(None, description="PEM file of our own certificate, if the server asks for one")
    redis_key_file: OptionalFile = Field(None, description="PEM file of its key")

    @model_validator(mode="after")
    def _redis_can_be_reached(self) -> Self:
        self._redis()
        return self

    @cached_property
    def redis(self) -> Address:
        """Where Redis is."""
        return self._redis()

    def _redis(self) -> Address:
        tls = Tls(self.redis_ca_file, self.redis_certificate_file, self.redis_key_file)
        return _address("REDIS_", self.redis_url, ("redis", "unix"), "rediss", tls)


class ClickHouseSettings(BaseSettings):
    """ClickHouse's HTTP interface."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", hide_input_in_errors=True)

    clickhouse_url: SecretStr = Field(description="http[s]://user:password@host:port of ClickHouse")
    clickhouse_ca_file: OptionalFile = Field(None, description=_CA.format("https://"))
    clickhouse_certificate_file: OptionalFile = Field(None, description="PEM file of our own certificate, if the server asks for one")
    clickhouse_key_file: OptionalFile = Field(None, description="PEM file of its key")

    @model_validator(mode="after")
    def _clickhouse_can_be_reached(self) -> Self:
        self._clickhouse()
        return self

    @cached_property
    def clickhouse(self) -> Address:
        """Where ClickHouse is."""
        return self._clickhouse()

    def _clickhouse(self) -> Address:
        tls = Tls(self.clickhouse_ca_file, self.clickhouse_certificate_file, self.clickhouse_key_file)
        return _address("CLICKHOUSE_", self.clickhouse_url, ("http",), "https", tls)


class ArchiveSettings(BaseSettings):
    """ClickHouse's HTTP interface, for those who only read it, and only where the log has lost its beginning."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", hide_input_in_errors=True)

    clickhouse_url: OptionalUrl = Field(
        None,
        description="http[s]://user:password@host:port of ClickHouse, from which a rebuild takes what the log no longer has; "
        "without it that is lost to the rebuild",
    )
    clickhouse_ca_file: OptionalFile = Field(None, description=_CA.format("https://"))
    clickhouse_certificate_file: OptionalFile = Field(None, description="PEM file of our own certificate, if the server asks for one")
    clickhouse_key_file: OptionalFile = Field(None, description="PEM file of its key")

    @model_validator(mode="after")
    def _archive_can_be_reached(self) -> Self:
        self._archive()
        return self

    @cached_property
    def archive(self) -> Address | None:
        """Where ClickHouse is; None where nobody says."""
        return self._archive()

    def _archive(self) -> Address | None:
        if self.clickhouse_url is None:
            return None
        tls = Tls(self.clickhouse_ca_file, self.clickhouse_certificate_file, self.clickhouse_key_file)
        return _address("CLICKHOUSE_", self.clickhouse_url, ("http",), "https", tls)


def _address(name: str, url: SecretStr, clear: tuple[str, ...], encrypted: str, tls: Tls) -> Address:
    """Raises ValueError, by the names of the variables."""
    told = url.get_secret_value()
    scheme = urlsplit(told).scheme
    if scheme == encrypted:
        return Address(told, tls.checked(f"{PREFIX}{name}"))
    if scheme not in clear:
        raise ValueError(f"{PREFIX}{name}URL must begin with {clear[0]}:// or {encrypted}://")
    if tls != Tls():
        raise ValueError(f"{PREFIX}{name}*_FILE would not be used, since {PREFIX}{name}URL does not begin with {encrypted}://")
    return Address(told)
