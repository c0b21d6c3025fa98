"""What messaging reads from the environment: RAPPORT_<NAME>. The only reader of it in this service."""

from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from services.messaging.adapters.smtp import SmtpServer
from services.messaging.domain.mail import Sender
from shared.adapters.store_settings import OptionalFile
from shared.adapters.tls import Tls
from shared.worker.settings import RuntimeSettings

Part = Literal["journeys", "dispatcher"]


class Settings(RuntimeSettings):
    """Seconds where a length of time is meant. What the runtime reads stands in shared/worker/settings.py."""

    model_config = SettingsConfigDict(env_prefix="RAPPORT_", extra="ignore", hide_input_in_errors=True)  # an URL may hold a password

    messaging_parts: Annotated[frozenset[Part], NoDecode] = Field(
        frozenset({"journeys", "dispatcher"}), min_length=1, description="what this process runs: journeys, dispatcher, or both"
    )
    smtp_url: SecretStr = Field(
        SecretStr("smtp://127.0.0.1:8025"),
        description="smtp[s]://[user:password@]host[:port] that takes e-mail; smtp:// demands STARTTLS if there is a password",
    )
    smtp_ca_file: OptionalFile = Field(
        None, description="PEM file of who may have signed the SMTP server's certificate; without it, whom the system trusts"
    )
    smtp_connections: int = Field(4, ge=1, le=100, description="most connections to the SMTP server at once")
    smtp_kept_connections: int = Field(1, ge=0, le=99, description="of these, kept for transactional e-mail (none if there is but one)")
    smtp_per_second: float | None = Field(None, gt=0, le=100_000, description="most e-mails a second of this process; absent: no bound")
    smtp_connect_seconds: float = Field(10.0, gt=0, le=600, description="the SMTP server must take a connection within")
    smtp_reply_seconds: float = Field(30.0, gt=0, le=600, description="the SMTP server must answer a command, or the content, within")
    channels_file: OptionalFile = Field(
        None,
        description="YAML file of the endpoints of webhooks and robots (services/messaging/channels); without it there are none",
    )
    mail_from: str = Field("Rapport <rapport@localhost>", description="sender of e-mail: an address, with a name if wanted")
    dispatch_batch: int = Field(32, ge=1, le=500, description="most messages of a slot that are looked at at once")
    dispatch_put_off: int = Field(
        5_000,
        ge=100,
        le=100_000,
        description="messages of a slot and class that wait for another try, out of hand (about 1 KB each); at so many no new one is begun",
    )
    dispatch_lease_seconds: float = Field(
        5.0,
        gt=0,
        le=1800,
        description="a message must be on its way so long after gate, consent and caps were looked at, or it waits again",
    )
    dispatch_checkpoint_seconds: float = Field(
        600.0,
        gt=0,
        le=3000,
        description="ids of settled messages are written to a checkpoint so long after the last: a takeover reads less",
    )
    retry_first_seconds: float = Field(
        30.0, gt=0, le=86_400, description="pause after a message was put off for the first time; it doubles"
    )
    retry_longest_seconds: float = Field(900.0, gt=0, le=86_400, description="longest such pause")
    provider_retry_first_seconds: float = Field(1.0, gt=0, le=3600, description="pause after a provider was found to be away; it doubles")
    provider_retry_longest_seconds: float = Field(60.0, gt=0, le=3600, description="longest such pause")

    @model_validator(mode="after")
    def _lease_ends_before_others_may_take_over(self) -> Self:
        if self.dispatch_lease_seconds >= self.session_timeout_seconds:
            raise ValueError("RAPPORT_DISPATCH_LEASE_SECONDS must be less than RAPPORT_SESSION_TIMEOUT_SECONDS")
        return self

    @model_validator(mode="after")
    def _smtp_certificates_can_be_read(self) -> Self:
        self.smtp_trust.checked("RAPPORT_SMTP_")
        return self

    @property
    def smtp_trust(self) -> Tls:
        """What TLS checks of the SMTP server."""
        return Tls(self.smtp_ca_file)

    @field_validator("messaging_parts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return frozenset(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("smtp_url")
    @classmethod
    def _is_smtp(cls, value: SecretStr) -> SecretStr:
        SmtpServer.parse(value.get_secret_value())
        return value

    @field_validator("mail_from")
    @classmethod
    def _is_sender(cls, value: str) -> str:
        Sender.parse(value)
        return value
