"""What profile reads from the environment: RAPPORT_<NAME>. The only reader of it in this service."""

from typing import Annotated, Final

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from shared.worker.settings import RuntimeSettings

STAGES = ("resolver", "folder")
LEAST_DAYS: Final = 32


class Settings(RuntimeSettings):
    """What every worker reads, and what is this service's own."""

    profile_stages: Annotated[tuple[str, ...], NoDecode] = Field(
        STAGES, description="stages that this process runs, comma-separated: resolver,folder"
    )

    anonymous_days: int = Field(
        400,
        ge=0,
        le=36_500,
        description="days without an event after which anonymous people go from Redis, not from ClickHouse; 0: never, else 32 or more",
    )

    @field_validator("anonymous_days")
    @classmethod
    def _longer_than_what_waits(cls, days: int) -> int:
        if 0 < days < LEAST_DAYS:
            raise ValueError(f"is 0 (never) or at least {LEAST_DAYS}: messages and caps live for up to 31 days")
        return days

    @field_validator("profile_stages", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(name.strip() for name in value.split(",") if name.strip()) if isinstance(value, str) else value

    @field_validator("profile_stages")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names or len(set(names)) < len(names) or not set(names) <= set(STAGES):
            raise ValueError("names one or both of resolver,folder, once each")
        return names
