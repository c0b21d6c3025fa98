"""E-mail, handed to one SMTP server (adapters/smtp.py). No repeat key: after the content only an answer counts."""

from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar, Final

from pydantic import Field

from services.messaging.adapters.smtp import SmtpProvider, SmtpServer
from services.messaging.channels.socket import ONE, Channel, Composed, Draft, Exit, Open, Setup
from services.messaging.dispatch.class_queue import Bounds
from services.messaging.domain.mail import Mail, Sender, address_of, compose, masked
from shared.definitions.template import TemplateHead


class EmailHead(TemplateHead):
    """`subject` is Liquid too; an HTML part may stand beside the text."""

    contact: ClassVar[str | None] = "email"
    html: ClassVar[bool] = True
    one_line: ClassVar[frozenset[str]] = frozenset({"subject"})

    subject: Annotated[str, Field(min_length=1, max_length=500)]

    def liquid(self) -> Mapping[str, str]:
        return {"subject": self.subject}


def _open(setup: Setup) -> Open[Mail]:
    settings = setup.settings
    server = SmtpServer.parse(
        settings.smtp_url.get_secret_value(), settings.smtp_connect_seconds, settings.smtp_reply_seconds, settings.smtp_trust
    )
    provider = SmtpProvider(server, settings.smtp_connections)
    kept = min(settings.smtp_kept_connections, settings.smtp_connections - 1)
    exit_ = Exit(provider, settings.smtp_connections, kept, settings.smtp_per_second, Bounds(put_off=settings.dispatch_put_off))
    return Open(composer(Sender.parse(settings.mail_from)), {ONE: exit_}, provider.close)


def composer(sender: Sender) -> Callable[[Draft], Composed[Mail]]:
    """Writes e-mails from `sender`."""

    def written(draft: Draft) -> Composed[Mail]:
        to = None if draft.to is None else address_of(draft.to)
        if to is None:
            raise ValueError("no address")
        dispatch_id = draft.request.dispatch_id
        content = compose(draft.rendered, sender, to, dispatch_id, draft.now_ms)
        return Composed(Mail(dispatch_id, sender.addr_spec, to, content), masked(to.addr_spec))

    return written


EMAIL: Final = Channel("email", EmailHead, _open, lambda value: address_of(value) is not None)
