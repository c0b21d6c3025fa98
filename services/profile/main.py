"""Profile: `python -m services.profile.main`; settings.py says what it reads from the environment."""

import sys
from collections.abc import Coroutine
from functools import partial
from typing import Any

from services.profile.adapters.kept_states import RedisKept
from services.profile.folder_stage import FolderStage
from services.profile.resolver_stage import ResolverStage
from services.profile.settings import Settings
from services.profile.sweep import RESOLVER, Sweep
from shared.adapters.applied_sets import AppliedSets
from shared.adapters.definition_topic import DefinitionTopic
from shared.adapters.environment import read_environment
from shared.contracts.topics import DAY_MS
from shared.runtime.stage import Stage
from shared.runtime.ticker import Ticker
from shared.worker.process import Inside, Task, run


def stages(settings: Settings) -> list[Stage[Any, Any]]:
    """The stages that this process is to run."""
    made: dict[str, Stage[Any, Any]] = {"resolver": ResolverStage(), "folder": FolderStage()}
    return [made[name] for name in settings.profile_stages]


def tick(inside: Inside) -> Coroutine[Any, Any, None]:
    """Clock records, by which all stages know the time."""
    return Ticker(partial(inside.slots, RESOLVER), inside.log).run()


def tasks(settings: Settings) -> list[Task]:
    """Beside the stages: the resolver's slots say each second how far they are, and look daily for anonymous people who never came back."""
    if RESOLVER not in settings.profile_stages:
        return []

    def sweep(inside: Inside) -> Coroutine[Any, Any, None]:
        return Sweep(partial(inside.slots, RESOLVER), RedisKept(inside.redis), inside.log, settings.anonymous_days * DAY_MS).run()

    return [tick, sweep] if settings.anonymous_days else [tick]


def main() -> int:
    """Run until SIGTERM or SIGINT; answers the exit code. 2: settings cannot be used."""
    settings = read_environment("profile", Settings)
    definitions = AppliedSets(DefinitionTopic(settings.kafka, "rapport-profile-definitions"))
    return run("profile", stages(settings), settings, definitions, tasks=tasks(settings))


if __name__ == "__main__":
    sys.exit(main())
