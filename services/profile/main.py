"""Profile: `python -m services.profile.main`; settings.py says what it reads from the environment."""

import sys
from typing import Any

import structlog
from pydantic import ValidationError

from services.profile.domain.folder import FolderStage
from services.profile.domain.resolver import ResolverStage
from services.profile.settings import Settings
from shared.contracts.ids import DEFAULT_EXTERNAL_KINDS
from shared.definitions.files import load
from shared.definitions.identity import Identity
from shared.definitions.yaml_text import DefinitionError
from shared.runtime.logs import configure_logs
from shared.runtime.stage import Stage
from shared.runtime.worker import run

_log = structlog.get_logger()


def external_kinds(settings: Settings) -> tuple[str, ...]:
    """What identity.yaml says, else the default. Raises DefinitionError if the file is wrong, ValueError if there are several."""
    found = load(settings.definitions_dir, Identity)
    if len(found) > 1:
        raise ValueError(f"{found[0].file} and {found[1].file} both say which ids identify a person: one must go")
    return found[0].definition.kinds if found else DEFAULT_EXTERNAL_KINDS


def stages(settings: Settings) -> list[Stage[Any, Any]]:
    """The stages that this process is to run. Raises as `external_kinds`."""
    kinds = external_kinds(settings)
    made: dict[str, Stage[Any, Any]] = {"resolver": ResolverStage(kinds), "folder": FolderStage()}
    return [made[name] for name in settings.profile_stages]


def main() -> int:
    """Run until SIGTERM or SIGINT; answers the exit code."""
    configure_logs("INFO", "profile")
    try:
        settings = Settings()
        chosen = stages(settings)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            _log.error("a setting is wrong", setting="RAPPORT_" + "_".join(map(str, details["loc"])).upper(), reason=details["msg"])
        return 1
    except DefinitionError as error:
        for problem in error.problems:
            _log.error("a definition is wrong", where=f"{problem.file}:{problem.line}", path=problem.path, reason=problem.message)
        return 1
    except ValueError as error:
        _log.error("a definition is wrong", reason=str(error))
        return 1
    return run("profile", chosen, settings)


if __name__ == "__main__":
    sys.exit(main())
