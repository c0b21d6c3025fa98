"""RAPPORT_KEY_SECRET: what proves that a record of key.changed is of this installation."""

from functools import cached_property
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.adapters.secret_files import secret
from shared.contracts.key_signature import SHORTEST, KeySecrets

NAME: Final = "RAPPORT_KEY_SECRET"


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


class KeySecretSettings(BaseSettings):
    """One variable or the other; perhaps neither."""

    model_config = SettingsConfigDict(env_prefix="RAPPORT_", extra="ignore", hide_input_in_errors=True)

    key_secret: Annotated[SecretStr | None, BeforeValidator(_none_if_empty)] = Field(
        None,
        description=f"signs write keys and query keys in the log, {SHORTEST} characters or more, the same for all processes; several, "
        "newest first, with spaces between, while one replaces another. **Must be set**, here or in the file",
    )
    key_secret_file: Annotated[Path | None, BeforeValidator(_none_if_empty)] = Field(
        None, description="file that holds it, instead of the variable; several: one a line"
    )

    @model_validator(mode="after")
    def _can_be_used(self) -> Self:
        self.secrets_or_none()
        return self

    def secrets_or_none(self) -> KeySecrets | None:
        """Newest first. Raises ValueError, by name."""
        found = secret(NAME, self.key_secret, self.key_secret_file)
        if found is None:
            return None
        try:
            return KeySecrets.parse(found.get_secret_value())
        except ValueError as error:
            raise ValueError(f"{NAME} {error}") from None


class KeySettings(KeySecretSettings):
    """Of who makes keys and who goes by them: the secret must be there."""

    @model_validator(mode="after")
    def _is_there(self) -> Self:
        if self.secrets_or_none() is None:
            raise ValueError(f"{NAME} or {NAME}_FILE must be set: without it no key can be proved to be of this installation")
        return self

    @cached_property
    def key_secrets(self) -> KeySecrets:
        """Newest first. A file is read once."""
        found = self.secrets_or_none()
        assert found is not None  # else it had been refused at the start
        return found
