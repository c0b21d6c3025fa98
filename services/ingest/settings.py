"""What ingest reads from the environment: RAPPORT_<NAME>. The only reader of it in this service."""

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from services.ingest.domain.limits import Limits
from shared.adapters.environment import LogLevel, read_environment
from shared.adapters.kafka_settings import KafkaSettings
from shared.adapters.key_settings import KeySettings


class Settings(KafkaSettings, KeySettings):
    """Bytes, seconds, events a second."""

    model_config = SettingsConfigDict(env_prefix="RAPPORT_", frozen=True)

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8080, ge=0, le=65535, description="port of the API, of /healthz and /readyz")
    health_port: int = Field(0, ge=0, le=65535, description="port of /metrics, /healthz and /readyz, for inside only; 0 takes a free one")
    log_level: LogLevel = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")
    ingest_processes: int = Field(1, ge=1, le=64, description="processes that share the port")
    max_event_bytes: int = Field(32_768, ge=256, le=2 * 1024 * 1024, description="largest event")
    max_body_bytes: int = Field(4 * 1024 * 1024, ge=1024, le=4 * 1024 * 1024, description="largest body, and what it may inflate to")
    max_batch_events: int = Field(2_500, ge=1, le=100_000, description="most events in a batch")
    rate_per_key: float = Field(100_000, gt=0, le=10_000_000, description="events a second that one write key may send to one process")
    delivery_timeout_seconds: float = Field(5.0, gt=0.1, le=9, description="Kafka must acknowledge within; SDKs hang up after 10 s")
    stall_seconds: float = Field(
        1.5,
        gt=0,
        le=60,
        description="without acknowledgement for so long, further callers get 503 at once (`RAPPORT_STALL_S` is the workers', another)",
    )
    body_timeout_seconds: float = Field(15.0, gt=0, le=600, description="a body must have arrived within")
    max_connections: int = Field(
        10_000, ge=1, le=1_000_000, description="connections of one process; beyond it the one that waits longest is closed"
    )
    head_timeout_seconds: float = Field(10.0, gt=0, le=600, description="a connection's first head, or one that has begun, is whole within")
    max_head_bytes: int = Field(64 * 1024, ge=1024, le=1024 * 1024, description="largest head of a request")
    max_queued_bytes: int = Field(
        64 * 1024 * 1024, ge=1024 * 1024, le=2**30, description="waiting for Kafka at most; beyond it callers get 429"
    )
    drain_seconds: float = Field(10.0, gt=0, le=600, description="SIGTERM: requests under way get so long")
    phone_region: str | None = Field(None, description="ISO country of phone numbers without a country code")
    public_url: str | None = Field(None, description="URL under which SDKs reach this service; default: what the request says")
    internal_token: SecretStr | None = Field(None, description="lets the control service replay rejected events; without it nobody can")

    def limits(self) -> Limits:
        return Limits(
            body_bytes=self.max_body_bytes,
            inflated_bytes=self.max_body_bytes,
            event_bytes=self.max_event_bytes,
            events=self.max_batch_events,
        )


def read_settings() -> Settings:
    """The settings of this process; ends it if one is missing or wrong."""
    return read_environment("ingest", Settings)
