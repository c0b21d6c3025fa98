"""What segmentation reads from the environment: RAPPORT_<NAME>. The only reader of it in this service."""

from pathlib import Path
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator

from shared.adapters.environment import DEFINITIONS
from shared.runtime.settings import RuntimeSettings


class Settings(RuntimeSettings):
    """What every worker reads, and what is this service's own."""

    definitions_dir: Path = Field(DEFINITIONS, description="folder of definition files; segments are read at the start")
    timezone: str = Field("UTC", description="the installation's time zone (IANA name): windows over 30 days count its days")

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError):
            raise ValueError(f"{name!r} is no time zone such as Asia/Shanghai") from None
        return name
