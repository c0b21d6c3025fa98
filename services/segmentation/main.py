"""Segmentation: `python -m services.segmentation.main`; settings.py says what it reads from the environment."""

import sys

import structlog
from pydantic import ValidationError

from services.segmentation.domain.compiler import compile_plan
from services.segmentation.domain.plan import Plan
from services.segmentation.domain.stage import SegmentationStage
from services.segmentation.settings import Settings
from shared.definitions.files import load
from shared.definitions.segment import Segment
from shared.definitions.yaml_text import DefinitionError
from shared.runtime.logs import configure_logs
from shared.runtime.worker import run

_log = structlog.get_logger()


def read_plan(settings: Settings) -> Plan:
    """The segments in the definitions folder, compiled. Raises DefinitionError if a file is wrong."""
    return compile_plan([one.definition for one in load(settings.definitions_dir, Segment)], settings.timezone)


def main() -> int:
    """Run until SIGTERM or SIGINT; answers the exit code."""
    configure_logs("INFO", "segmentation")
    try:
        settings = Settings()
        plan = read_plan(settings)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            _log.error("a setting is wrong", setting="RAPPORT_" + "_".join(map(str, details["loc"])).upper(), reason=details["msg"])
        return 1
    except DefinitionError as error:
        for problem in error.problems:
            _log.error("a definition is wrong", where=f"{problem.file}:{problem.line}", path=problem.path, reason=problem.message)
        return 1
    _log.info("segments compiled", segments=len(plan.segments), features=len(plan.series), version=plan.version)
    return run("segmentation", [SegmentationStage(plan)], settings)


if __name__ == "__main__":
    sys.exit(main())
