"""Segmentation: `python -m services.segmentation.main`; settings.py says what it reads from the environment."""

import sys

import structlog

from services.segmentation.settings import Settings
from services.segmentation.stage import SegmentationStage
from shared.adapters.applied_sets import AppliedSets
from shared.adapters.definition_topic import DefinitionTopic
from shared.adapters.environment import cannot_start, read_environment
from shared.definitions.folder import read_folder
from shared.definitions.segment import Segment
from shared.definitions.yaml_text import DefinitionError
from shared.rules.compiler import compiled
from shared.rules.plan import Plan
from shared.runtime.logs import configure_logs
from shared.runtime.worker import run

_log = structlog.get_logger()


def read_plan(settings: Settings) -> Plan:
    """The segments in the definitions folder, compiled. Raises DefinitionError if a file is wrong."""
    return compiled(read_folder(settings.definitions_dir).needed(Segment).of(Segment), settings.timezone)


def main() -> int:
    """Run until SIGTERM or SIGINT; answers the exit code. 2: settings or definitions cannot be used."""
    settings = read_environment("segmentation", Settings)
    configure_logs(settings.log_level, "segmentation")
    try:
        plan = read_plan(settings)
    except DefinitionError as error:
        cannot_start("segmentation", *error.problems)
    _log.info("segments compiled", segments=len(plan.segments), features=len(plan.features), number=plan.number)
    definitions = AppliedSets(DefinitionTopic(settings.kafka, "rapport-segmentation-definitions"))
    return run("segmentation", [SegmentationStage(plan)], settings, definitions=definitions)


if __name__ == "__main__":
    sys.exit(main())
