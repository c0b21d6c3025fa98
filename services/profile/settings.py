"""What profile reads from the environment: RAPPORT_<NAME>. The only reader of it in this service."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from shared.runtime.settings import RuntimeSettings

STAGES = ("resolver", "folder")


class Settings(RuntimeSettings):
    """What every worker reads, and what is this service's own."""

    definitions_dir: Path = Field(Path("deploy/definitions"), description="folder of definition files; identity is read at the start")
    profile_stages: Annotated[tuple[str, ...], NoDecode] = Field(
        STAGES, description="stages that this process runs, comma-separated: resolver,folder"
    )

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
