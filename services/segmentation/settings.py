"""What segmentation reads from the environment: RAPPORT_<NAME>. The only reader of it in this service."""

from pathlib import Path

from pydantic import Field

from shared.adapters.environment import DEFINITIONS, TimeZone
from shared.runtime.settings import RuntimeSettings


class Settings(RuntimeSettings):
    """What every worker reads, and what is this service's own."""

    definitions_dir: Path = Field(DEFINITIONS, description="folder of definition files; segments are read at the start")
    timezone: TimeZone = Field("UTC", description="the installation's time zone (IANA name): windows over 30 days count its days")
