"""Messaging: journeys decide who gets what, the dispatcher sends it once. `python -m services.messaging.main`; see settings.py."""

import sys

from services.messaging.dispatcher import Dispatcher
from services.messaging.domain.admission import Rules
from services.messaging.domain.planning import plans
from services.messaging.journeys import Journeys
from services.messaging.metrics import METRICS
from services.messaging.settings import Settings
from shared.adapters.environment import cannot_start, read_environment
from shared.definitions.consent import ConsentPolicy
from shared.definitions.files import load
from shared.definitions.journey import Journey
from shared.definitions.segment import Segment
from shared.definitions.template import load_templates
from shared.definitions.yaml_text import DefinitionError
from shared.runtime.worker import run


def main() -> int:
    """Until SIGTERM or SIGINT. Code 2: settings or definitions cannot be used, said in plain words."""
    settings = read_environment("messaging", Settings)
    try:
        templates = load_templates(settings.definitions_dir, settings.default_locale)
        segments = {one.definition.name for one in load(settings.definitions_dir, Segment)}
        journeys = plans(load(settings.definitions_dir, Journey), templates, segments)
        policies = load(settings.definitions_dir, ConsentPolicy)
    except DefinitionError as error:
        cannot_start("messaging", *error.problems)
    if len(policies) > 1:
        cannot_start("messaging", f"one consent file is enough, found {', '.join(one.file for one in policies)}")
    parts = settings.messaging_parts
    stages = [Journeys(journeys, templates.person_names)] if "journeys" in parts else []
    rules = Rules.of(policies[0].definition if policies else None)
    companions = [Dispatcher(settings, templates, rules)] if "dispatcher" in parts else []
    return run("messaging", stages, settings, METRICS, companions)


if __name__ == "__main__":
    sys.exit(main())
