"""What a connection by TLS checks of its server, and what it shows of itself."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from shared.adapters.secret_files import readable


@dataclass(frozen=True, slots=True)
class Tls:
    """`ca_file`: who may have signed the server's certificate; without it, whom the system trusts. Certificate and key: our own (mTLS)."""

    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    key_password: str | None = field(default=None, repr=False)
    verify_hostname: bool = True

    def context(self) -> ssl.SSLContext:
        """For clients that are not librdkafka's. Raises OSError or ssl.SSLError where a file is not what it should be."""
        context = ssl.create_default_context(cafile=self.ca_file)
        context.check_hostname = self.verify_hostname
        if self.certificate_file is not None:
            # Without a password OpenSSL would ask the terminal for that of an encrypted key.
            context.load_cert_chain(self.certificate_file, self.key_file, self.key_password or "")
        return context

    def checked(self, prefix: str) -> "Tls":
        """Itself, if a connection can be made by it. Raises ValueError that names the variables (`prefix` and CA_FILE and so on)."""
        names = {f"{prefix}CA_FILE": self.ca_file, f"{prefix}CERTIFICATE_FILE": self.certificate_file, f"{prefix}KEY_FILE": self.key_file}
        ca, certificate, key = names
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError(f"{certificate} and {key} go together: set both or neither")
        if self.key_password is not None and self.key_file is None:
            raise ValueError(f"{prefix}KEY_PASSWORD is set, but {key} is not")
        for name, path in names.items():
            if path is not None:
                readable(name, path)
        try:
            Tls(self.ca_file).context()
        except (OSError, ssl.SSLError) as error:
            raise ValueError(f"{ca} names {self.ca_file}, which is no PEM file of certificates ({error})") from None
        try:
            self.context()
        except (OSError, ssl.SSLError) as error:
            why = f"not PEM files, not of one pair, or {prefix}KEY_PASSWORD is wrong or missing"
            raise ValueError(f"{certificate} and {key} cannot be loaded: {why} ({error})") from None
        return self
