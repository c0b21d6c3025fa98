"""Whether one message may go to one person now. Pure; caps are counted where the counts are (adapters/caps.py)."""

from collections.abc import Mapping
from dataclasses import dataclass
from email.headerregistry import Address

from services.messaging.domain.facts import email_of
from services.messaging.domain.mail import address_of
from services.messaging.domain.reasons import Reason
from shared.contracts.changes import MessageRequested
from shared.contracts.journey_blob import Person
from shared.definitions.consent import ConsentPolicy


@dataclass(frozen=True)
class Admitted:
    """It may go, to this address."""

    to: Address


@dataclass(frozen=True)
class Suppressed:
    reason: Reason


@dataclass(frozen=True)
class Rules:
    """What marketing needs per channel; a channel that is not named needs a yes."""

    marketing: Mapping[str, str]

    @classmethod
    def of(cls, policy: ConsentPolicy | None) -> "Rules":
        return cls({} if policy is None else {name: channel.marketing for name, channel in policy.channels.items()})


def admit(request: MessageRequested, person: Person, rules: Rules) -> Admitted | Suppressed:
    """By what is known of the person now, which may be more than when the message was asked for."""
    if request.message_class != "transactional" and not _consented(request.channel, person, rules):
        return Suppressed(Reason.NO_CONSENT)
    if request.channel != "email":
        return Suppressed(Reason.NO_PROVIDER)
    email = email_of(person)
    address = None if email is None else address_of(email)
    return Suppressed(Reason.UNREACHABLE) if address is None else Admitted(address)


def _consented(channel: str, person: Person, rules: Rules) -> bool:
    said = person.consents.get(channel)
    return said.granted if said is not None else rules.marketing.get(channel) == "opt_out"
