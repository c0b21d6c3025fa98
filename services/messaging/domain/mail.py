"""An e-mail as bytes. Pure: the same message gives the same bytes."""

from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address, HeaderRegistry
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any, Final

from services.messaging.domain.outcome import Outgoing
from services.messaging.domain.rendering import Rendered


class _Headers(HeaderRegistry):
    """Makes the class of a header once. The standard one makes one for each header of each mail: slow, and rubbish that only the cycle
    collector takes away.
    """

    def __init__(self) -> None:
        super().__init__()
        self._classes: dict[str, type[Any]] = {}

    def __getitem__(self, name: str) -> type[Any]:
        """The class of header `name`: one of those that `compose` writes."""
        made = self._classes.get(name)
        if made is None:
            made = self._classes[name] = super().__getitem__(name)
        return made


_POLICY: Final = SMTP.clone(cte_type="7bit", header_factory=_Headers())  # not every server on the way takes 8 bits


@dataclass(frozen=True)
class Mail(Outgoing):
    """One e-mail ready to go."""

    sender: str
    to: Address
    content: bytes


@dataclass(frozen=True)
class Sender:
    """Who the mail is from: an address, with a name if wanted."""

    address: Address

    @classmethod
    def parse(cls, text: str) -> "Sender":
        """`shop@example.com` or `The Shop <shop@example.com>`. Raises ValueError."""
        name, bracket, rest = text.rpartition("<")
        if bracket and not rest.endswith(">"):
            raise ValueError(f"{text!r} is no sender such as Shop <shop@example.com>")
        address = address_of(rest.removesuffix(">").strip())
        if address is None:
            raise ValueError(f"{text!r} is no sender such as Shop <shop@example.com>")
        return cls(Address(name.strip().strip('"'), address.username, address.domain))

    @property
    def addr_spec(self) -> str:
        return self.address.addr_spec


def address_of(addr_spec: str) -> Address | None:
    """The address if it is one that can stand in a header and in an SMTP command, else None."""
    if not addr_spec.isascii() or any(not char.isprintable() or char in ' <>,;:"()[]\\' for char in addr_spec):
        return None
    try:
        address = Address(addr_spec=addr_spec)
    except (ValueError, IndexError, MessageError):
        return None
    return address if address.domain and address.username else None


def message_id(dispatch_id: str, sender: Sender) -> str:
    """The same for every attempt, so that a mailbox that got it twice can tell."""
    return f"<{dispatch_id}@{sender.address.domain}>"


def compose(rendered: Rendered, sender: Sender, to: Address, dispatch_id: str, now_ms: int) -> bytes:
    """The message with CRLF line ends, text first, then HTML if there is any."""
    mail = EmailMessage(policy=_POLICY)
    mail["From"] = sender.address
    mail["To"] = to
    mail["Subject"] = rendered.fields["subject"]
    mail["Date"] = datetime.fromtimestamp(now_ms // 1000, UTC)
    mail["Message-ID"] = message_id(dispatch_id, sender)
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(rendered.text)
    if rendered.html is not None:
        mail.add_alternative(rendered.html, subtype="html")
        mail.set_boundary(f"=_{dispatch_id}")
    return mail.as_bytes()


def masked(addr_spec: str) -> str:
    """An address as people may see it who need not know it."""
    local, _, domain = addr_spec.partition("@")
    return f"{local[:1]}***@{domain}"
