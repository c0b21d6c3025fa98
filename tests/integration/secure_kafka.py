"""A broker that lets nobody in without a password or a certificate, and nobody do anything that no right says."""

from collections.abc import Mapping
from pathlib import Path

from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from deploy.local.kafka import LOGGING, Kafka
from deploy.local.ports import HOST
from shared.adapters.kafka_clients import KafkaConnection, Mechanism, Password, Protocol
from shared.adapters.tls import Tls
from tests.certificates import Authority, Pair

ADMIN = "admin"
SECONDS = 30.0
REFUSALS_TOLD = """logger.authorizer.name = kafka.authorizer.logger
logger.authorizer.level = info
"""
"""The broker's own record of what it refused, and to whom."""


def secret_of(user: str) -> str:
    """The password of a user."""
    return f"secret-of-{user}"


class SecureKafka(Kafka):
    """SASL_SSL (SCRAM-SHA-512 and -256; PLAIN for `plain` alone) on `port`, SSL with client certificates on `mtls_port`. ACLs decide."""

    def __init__(self, data: Path, port: int, mtls_port: int, log_path: Path, authority: Authority) -> None:
        super().__init__(data, port, log_path)
        self.mtls_port, self.authority = mtls_port, authority
        self._server = authority.sign("kafka")
        self.check = f"tcp://{self.bootstrap}"
        self._logging = data.with_name("secure-log4j2.properties")
        self._logging.write_text(f"{LOGGING.read_text()}\n{REFUSALS_TOLD}")
        self.argv = [word.replace(str(LOGGING), str(self._logging)) for word in self.argv]

    def properties(self, controller_port: int, logs: Path) -> dict[str, object]:
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule"
        plain = "org.apache.kafka.common.security.plain.PlainLoginModule"
        of_admin = f'username="{ADMIN}" password="{secret_of(ADMIN)}"'
        users = " ".join(f'user_{name}="{secret_of(name)}"' for name in (ADMIN, "plain"))
        return super().properties(controller_port, logs) | {
            "listeners": f"SASL_SSL://{HOST}:{self.port},MTLS://{HOST}:{self.mtls_port},CONTROLLER://{HOST}:{controller_port}",
            "advertised.listeners": f"SASL_SSL://{HOST}:{self.port},MTLS://{HOST}:{self.mtls_port}",
            "listener.security.protocol.map": "SASL_SSL:SASL_SSL,MTLS:SSL,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "SASL_SSL",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512,SCRAM-SHA-256,PLAIN",
            "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": f"{scram} required {of_admin};",
            "listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config": f"{scram} required;",
            "listener.name.sasl_ssl.plain.sasl.jaas.config": f"{plain} required {of_admin} {users};",
            "listener.name.mtls.ssl.client.auth": "required",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": self._server.both,
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self.authority.certificate,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "false",
            # Nobody but the controller's own listener knows ANONYMOUS: both others ask who one is.
            "super.users": f"User:{ADMIN};User:ANONYMOUS",
        }

    def format_options(self) -> list[str]:
        return ["--add-scram", f"SCRAM-SHA-512=[name={ADMIN},password={secret_of(ADMIN)}]"]

    def as_user(self, user: str, mechanism: Mechanism = Mechanism.SCRAM_SHA_512, password: str | None = None) -> KafkaConnection:
        """The connection of a user; by another password than its own if one is given."""
        proof = Password(mechanism, user, password or secret_of(user))
        return KafkaConnection(self.bootstrap, Protocol.SASL_SSL, proof, Tls(self.authority.certificate))

    def by_certificate(self, pair: Pair | None) -> KafkaConnection:
        """The connection of who shows this certificate."""
        own = Tls(self.authority.certificate) if pair is None else Tls(self.authority.certificate, pair.certificate, pair.key)
        return KafkaConnection(f"{HOST}:{self.mtls_port}", Protocol.SSL, None, own)

    def environment(self, user: str) -> Mapping[str, str]:
        """RAPPORT_KAFKA_* of a process that is this user."""
        return {
            "RAPPORT_KAFKA_BOOTSTRAP": self.bootstrap,
            "RAPPORT_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "RAPPORT_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "RAPPORT_KAFKA_SASL_USERNAME": user,
            "RAPPORT_KAFKA_SASL_PASSWORD": secret_of(user),
            "RAPPORT_KAFKA_SSL_CA_FILE": str(self.authority.certificate),
        }

    def admin(self) -> AdminClient:
        """The administrator's client."""
        return self.as_user(ADMIN).admin({"log_level": 0})

    def refusals(self) -> list[str]:
        """What the broker says it refused."""
        return [line for line in self.log_path.read_text(errors="replace").splitlines() if " is Denied " in line or "is denied" in line]

    def add_users(self, names: list[str], mechanism: ScramMechanism = ScramMechanism.SCRAM_SHA_512) -> None:
        """Make users with passwords of their own."""
        asked = [UserScramCredentialUpsertion(one, ScramCredentialInfo(mechanism, 4096), secret_of(one).encode()) for one in names]
        admin = self.admin()  # held: a client that is let go of takes its questions with it
        for outcome in admin.alter_user_scram_credentials(asked).values():
            outcome.result(SECONDS)
