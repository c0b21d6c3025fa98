"""Messaging: journeys decide who gets what, the dispatcher sends it once. `python -m services.messaging.main`; see settings.py."""

import sys

from services.messaging.channels.endpoints import read_endpoints
from services.messaging.channels.registry import CHANNELS, HEADS, contacts
from services.messaging.dispatch.decide import Rulebook
from services.messaging.dispatcher import Dispatcher
from services.messaging.domain.admission import Rules
from services.messaging.domain.planning import plans
from services.messaging.journeys import Journeys
from services.messaging.metrics import METRICS
from services.messaging.settings import Settings
from shared.adapters.applied_sets import AppliedSets, OfNow
from shared.adapters.definition_topic import DefinitionTopic
from shared.adapters.environment import cannot_start, read_environment
from shared.definitions.consent import ConsentPolicy
from shared.definitions.folder import Definitions, read_folder
from shared.definitions.journey import Journey
from shared.definitions.segment import Segment
from shared.definitions.template import TemplateHead
from shared.definitions.yaml_text import DefinitionError
from shared.runtime.worker import run


def rules_of(read: Definitions) -> Rulebook:
    """What definitions say of sending: templates, and consent as it is asked for. Raises DefinitionError with what is wrong of both."""
    read.needed(TemplateHead, ConsentPolicy)
    return Rulebook(read.templates, Rules.of(read.single(ConsentPolicy)))


def main() -> int:
    """Until SIGTERM or SIGINT. Code 2: settings or definitions cannot be used, said in plain words."""
    settings = read_environment("messaging", Settings)
    try:
        folder = read_folder(settings.definitions_dir, settings.default_locale, heads=HEADS)
        folder.needed(Journey, Segment, TemplateHead, ConsentPolicy)
        endpoints = read_endpoints(settings.channels_file, CHANNELS)
    except DefinitionError as error:
        cannot_start("messaging", *error.problems)
    journeys, templates = plans(folder.of(Journey), folder.templates), folder.templates
    parts = settings.messaging_parts
    stages = [Journeys(journeys, templates.person_names, contacts(CHANNELS), templates.endpoint)] if "journeys" in parts else []
    definitions = AppliedSets(DefinitionTopic(settings.kafka, "rapport-messaging-definitions"), HEADS)
    rulebook = OfNow(definitions, rules_of(folder), lambda newest: rules_of(newest.read))
    companions = [Dispatcher(settings, CHANNELS, endpoints, rulebook)] if "dispatcher" in parts else []
    return run("messaging", stages, settings, METRICS, companions, definitions=definitions)


if __name__ == "__main__":
    sys.exit(main())
