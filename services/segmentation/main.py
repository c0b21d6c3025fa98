"""Segmentation: `python -m services.segmentation.main`; settings.py says what it reads from the environment."""

import sys

from services.segmentation.settings import Settings
from services.segmentation.stage import SegmentationStage
from shared.adapters.applied_sets import AppliedSets
from shared.adapters.definition_topic import DefinitionTopic
from shared.adapters.environment import read_environment
from shared.worker.process import run


def main() -> int:
    """Run until SIGTERM or SIGINT; answers the exit code. 2: settings cannot be used."""
    settings = read_environment("segmentation", Settings)
    definitions = AppliedSets(DefinitionTopic(settings.kafka, "rapport-segmentation-definitions"))
    return run("segmentation", [SegmentationStage()], settings, definitions)


if __name__ == "__main__":
    sys.exit(main())
