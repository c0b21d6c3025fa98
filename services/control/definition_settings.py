"""RAPPORT_<NAME>: what becomes a part of each set of definitions, and what the job reads that applies a folder."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.adapters.environment import DEFINITIONS, TimeZone
from shared.adapters.kafka_settings import KafkaSettings
from shared.adapters.key_settings import KeySettings


class DefinitionSettings(BaseSettings):
    """Of whoever applies definitions: they switch with the set that is applied next."""

    model_config = SettingsConfigDict(env_prefix="RAPPORT_", frozen=True)

    timezone: TimeZone = Field("UTC", description="the installation's time zone (IANA name): windows over 30 days count its days")
    default_locale: str = Field("en", description="locale of a message to a person of whom none is known")


class ApplySettings(KafkaSettings, KeySettings, DefinitionSettings):
    """Of the job."""

    model_config = SettingsConfigDict(env_prefix="RAPPORT_", frozen=True)

    definitions_dir: Path = Field(DEFINITIONS, description="folder of definition files to be applied")
    group_prefix: str = Field("rapport", description="as all processes have it: <prefix>-definitions is who writes sets")
