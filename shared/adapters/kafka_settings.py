"""RAPPORT_KAFKA_*: the settings of every process that speaks to Kafka. What does not fit together fails at the start, by name."""

from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.adapters.environment import also
from shared.adapters.kafka_clients import KafkaConnection, Mechanism, Password, Protocol
from shared.adapters.secret_files import secret
from shared.adapters.tls import Tls

PREFIX: Final = "RAPPORT_"


class KafkaSecurity(BaseSettings):
    """How the process proves itself to Kafka and what it checks. The defaults are those of a broker on the same machine."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", hide_input_in_errors=True)

    kafka_security_protocol: Protocol = Field(
        Protocol.PLAINTEXT, description="PLAINTEXT, SSL (TLS; with a certificate of our own: mTLS), SASL_SSL or SASL_PLAINTEXT"
    )
    kafka_sasl_mechanism: Mechanism | None = Field(
        None, description="SCRAM-SHA-512, SCRAM-SHA-256 or PLAIN; needs SASL_SSL or SASL_PLAINTEXT"
    )
    kafka_sasl_username: str | None = Field(None, description="user of this process; what it must be allowed: the table of rights")
    kafka_sasl_password: SecretStr | None = Field(None, description="its password")
    kafka_sasl_password_file: Path | None = Field(None, description="file that holds the password, instead of the variable")
    kafka_ssl_ca_file: Path | None = Field(
        None, description="PEM file of who may have signed the broker's certificate; without it, whom the system trusts"
    )
    kafka_ssl_certificate_file: Path | None = Field(None, description="PEM file of the certificate of this process (mTLS)")
    kafka_ssl_key_file: Path | None = Field(None, description="PEM file of its key")
    kafka_ssl_key_password: SecretStr | None = Field(None, description="password of the key, if it is encrypted")
    kafka_ssl_key_password_file: Path | None = Field(None, description="file that holds that password, instead of the variable")
    kafka_ssl_verify_hostname: bool = Field(True, description="whether a broker's certificate must carry the name by which it is reached")

    @field_validator("*", mode="before")
    @classmethod
    def _empty_is_absent(cls, value: object, info: ValidationInfo) -> object:
        """Compose hands unset variables over as empty ones."""
        of_ours = KafkaSecurity.model_fields.get(str(info.field_name))
        return of_ours.default if value == "" and of_ours is not None else value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        self._password()
        self._tls()
        return self

    def kafka_at(self, bootstrap: str) -> KafkaConnection:
        """The cluster at `bootstrap` by these settings."""
        return KafkaConnection(bootstrap, self.kafka_security_protocol, self._password(), self._tls())

    def _password(self) -> Password | None:
        password = secret(_variable("sasl_password"), self.kafka_sasl_password, self.kafka_sasl_password_file)
        given: dict[str, Any] = {
            "sasl_mechanism": self.kafka_sasl_mechanism,
            "sasl_username": self.kafka_sasl_username,
            "sasl_password": password,
        }
        protocol = self.kafka_security_protocol
        if not protocol.with_password:
            _refuse_given(given, f"{_variable('security_protocol')} is {protocol}: set SASL_SSL (or SASL_PLAINTEXT)")
            return None
        missing = [_variable(name) for name, value in given.items() if value is None]
        if missing:
            raise ValueError(f"{_variable('security_protocol')} is {protocol}, so {' and '.join(missing)} must be set")
        return Password(given["sasl_mechanism"], given["sasl_username"], given["sasl_password"].get_secret_value())

    def _tls(self) -> Tls:
        key_password = secret(_variable("ssl_key_password"), self.kafka_ssl_key_password, self.kafka_ssl_key_password_file)
        files = {
            "ssl_ca_file": self.kafka_ssl_ca_file,
            "ssl_certificate_file": self.kafka_ssl_certificate_file,
            "ssl_key_file": self.kafka_ssl_key_file,
        }
        protocol = self.kafka_security_protocol
        if not protocol.encrypted:
            why = f"{_variable('security_protocol')} is {protocol}: set SSL or SASL_SSL"
            _refuse_given(files | {"ssl_key_password": key_password}, why)
            return Tls()
        return Tls(
            self.kafka_ssl_ca_file,
            self.kafka_ssl_certificate_file,
            self.kafka_ssl_key_file,
            None if key_password is None else key_password.get_secret_value(),
            self.kafka_ssl_verify_hostname,
        ).checked(_variable("ssl_"))


class KafkaSettings(KafkaSecurity):
    """With the one variable that has no default."""

    kafka_bootstrap: str = Field(description="host:port of Kafka brokers, comma-separated")

    @cached_property
    def kafka(self) -> KafkaConnection:
        """The cluster of this process. Files of secrets are read once."""
        return self.kafka_at(self.kafka_bootstrap)


class MemberSettings(KafkaSettings):
    """Of a process whose work Kafka shares out: a member of a consumer group."""

    session_timeout_seconds: float = Field(
        10.0,
        validation_alias=also("session_timeout_seconds", "session_timeout_s"),
        ge=1,
        le=1800,
        description="seconds without a heartbeat after which Kafka gives a process's partitions to others",
    )


def _variable(name: str) -> str:
    return f"{PREFIX}KAFKA_{name.upper()}"


def _refuse_given(given: dict[str, Any], why: str) -> None:
    found = [_variable(name) for name, value in given.items() if value is not None]
    if found:
        raise ValueError(f"{', '.join(found)} would not be used, since {why}")
