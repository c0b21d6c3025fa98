"""Messaging: journeys decide who gets what, the dispatcher sends it once. `python -m services.messaging.main`; see settings.py."""

import sys

from services.messaging.channels.endpoints import read_endpoints
from services.messaging.channels.registry import CHANNELS, HEADS, contacts
from services.messaging.dispatch.decide import Rulebook
from services.messaging.dispatcher import Dispatcher
from services.messaging.domain.admission import Rules
from services.messaging.metrics import METRICS
from services.messaging.settings import Settings
from services.messaging.stage import Journeys
from shared.adapters.applied_sets import AppliedSets, OfNow
from shared.adapters.definition_topic import DefinitionTopic
from shared.adapters.environment import cannot_start, read_environment
from shared.definitions.applied import Applied
from shared.definitions.consent import ConsentPolicy
from shared.definitions.template import TemplateHead
from shared.definitions.yaml_text import DefinitionError
from shared.runtime.ports import StoreAway
from shared.worker.process import run


def rules_of(newest: Applied | None) -> Rulebook:
    """What definitions say of sending: templates, and consent as it is asked for.

    Raises StoreAway, so that messages wait: without a set nobody can say who may be written to.
    """
    if newest is None:
        raise StoreAway("no definitions were ever applied: run `rapport apply FOLDER`")
    try:
        read = newest.read.needed(TemplateHead, ConsentPolicy)
    except DefinitionError as error:
        raise StoreAway(f"this release cannot read the definitions that hold: {error}") from error
    return Rulebook(read.templates, Rules.of(read.single(ConsentPolicy)))


def main() -> int:
    """Until SIGTERM or SIGINT. Code 2: settings or the file of channels cannot be used, said in plain words."""
    settings = read_environment("messaging", Settings)
    try:
        endpoints = read_endpoints(settings.channels_file, CHANNELS)
    except DefinitionError as error:
        cannot_start("messaging", *error.problems)
    parts = settings.messaging_parts
    stages = [Journeys(contacts(CHANNELS))] if "journeys" in parts else []
    definitions = AppliedSets(DefinitionTopic(settings.kafka, "rapport-messaging-definitions"), HEADS)
    companions = [Dispatcher(settings, CHANNELS, endpoints, OfNow(definitions, rules_of))] if "dispatcher" in parts else []
    return run("messaging", stages, settings, definitions, METRICS, companions)


if __name__ == "__main__":
    sys.exit(main())
