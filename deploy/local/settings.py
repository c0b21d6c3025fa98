"""What one machine's run reads from the environment, and where it keeps its files."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

PROJECT = Path(__file__).parents[2]


class LocalSettings(BaseSettings):
    """Settings of `rapport up` and `rapport run`; each is read from RAPPORT_<NAME>."""

    model_config = SettingsConfigDict(env_prefix="RAPPORT_")

    home: Path = Field(Path(".rapport"), description="folder of all data, logs, mail and keys")
    port_base: int | None = Field(
        None, ge=1024, le=65_000, description="first of the ports; without it the usual ones, or the next free ones"
    )
    min_free_mb: int = Field(1024, ge=0, le=1_000_000_000, description="free megabytes without which nothing is started")
    start_seconds: float = Field(120, gt=0, le=3600, description="how long one part may take to become ready")
    stop_seconds: float = Field(30, gt=0, le=3600, description="how long one part may take to stop before it is killed")


class BadSettingError(Exception):
    """A setting of the environment cannot be used; the message names it and says why."""


def read_settings() -> LocalSettings:
    """The settings of this run. Raises BadSettingError."""
    try:
        return LocalSettings()
    except ValidationError as error:
        told = (f"RAPPORT_{str(one['loc'][0]).upper()}={one['input']}: {one['msg']}" for one in error.errors())
        raise BadSettingError("; ".join(told)) from None


@dataclass(frozen=True)
class Home:
    """The folder of one installation (`.rapport`)."""

    root: Path

    @property
    def data(self) -> Path:
        """Kafka's, Redis', ClickHouse's and Prometheus' files: a folder each."""
        return self.root / "data"

    @property
    def logs(self) -> Path:
        """One log file for each part."""
        return self.root / "logs"

    @property
    def mail(self) -> Path:
        """What the mail catcher received: one .eml file a message."""
        return self.root / "mail"

    @property
    def hooks(self) -> Path:
        """What the hook catcher received: one .json file a message."""
        return self.root / "hooks"

    @property
    def channels(self) -> Path:
        """The channels file of this machine's endpoints, and their secrets."""
        return self.root / "channels"

    @property
    def env(self) -> Path:
        """Keys and URLs, to be sourced by a shell; readable by its owner only."""
        return self.root / "env"

    @property
    def key_secret(self) -> Path:
        """What signs write keys and query keys in the log: made once, readable by its owner only."""
        return self.root / "key_secret"

    @property
    def parts(self) -> Path:
        """JSON list of the running parts: name, process id, URL, log file."""
        return self.root / "parts.json"

    @property
    def lock(self) -> Path:
        """Held, with the process id inside, by the one supervisor of this folder."""
        return self.root / "lock"

    @property
    def demo(self) -> Path:
        """How far the demo's replay has come."""
        return self.root / "demo.json"

    def make(self) -> None:
        """Make the folders, closed to other users: they will hold personal data."""
        for folder in (self.root, self.data, self.logs, self.mail, self.hooks):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
