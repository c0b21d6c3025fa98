"""Whether one message may go to one person now. Pure; caps are counted where the counts are (adapters/caps.py)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from services.messaging.domain.facts import contact_of
from services.messaging.domain.reasons import Reason
from shared.contracts.changes import MessageRequested
from shared.contracts.journey_blob import Person
from shared.definitions.consent import ConsentPolicy


@dataclass(frozen=True)
class Admitted:
    """It may go, to this contact point; None: its channel addresses nobody."""

    to: str | None


@dataclass(frozen=True)
class Suppressed:
    reason: Reason


@dataclass(frozen=True)
class Reach:
    """How a channel reaches people: at their contact point of kind `contact` if that is `usable`. None: it addresses nobody."""

    contact: str | None
    usable: Callable[[str], bool] = lambda _: True


@dataclass(frozen=True)
class Rules:
    """What marketing needs per channel; a channel that is not named needs a yes."""

    marketing: Mapping[str, str]

    @classmethod
    def of(cls, policy: ConsentPolicy | None) -> "Rules":
        return cls({} if policy is None else {name: channel.marketing for name, channel in policy.channels.items()})


def admit(request: MessageRequested, person: Person, rules: Rules, reach: Reach | None) -> Admitted | Suppressed:
    """By what is known of the person now, which may be more than when the message was asked for. `reach`: of its channel; None: the
    channel, or the endpoint that the message names, is not there.
    """
    if request.message_class != "transactional" and not _consented(request.channel, person, rules, reach):
        return Suppressed(Reason.NO_CONSENT)
    if reach is None:
        return Suppressed(Reason.NO_PROVIDER)
    if reach.contact is None:
        return Admitted(None)
    to = contact_of(person, reach.contact)
    return Admitted(to) if to is not None and reach.usable(to) else Suppressed(Reason.UNREACHABLE)


def _consented(channel: str, person: Person, rules: Rules, reach: Reach | None) -> bool:
    """What was said of the channel itself holds. Else `opt_out` lets everybody through; but where a message about a person goes to somebody
    else, whoever has refused any channel has refused that too.
    """
    said = person.consents.get(channel)
    if said is not None:
        return said.granted
    if rules.marketing.get(channel) != "opt_out":
        return False
    addressed = reach is not None and reach.contact is not None
    return addressed or all(word.granted for word in person.consents.values())
