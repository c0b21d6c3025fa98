"""The profile worker as it is, but for its sweep: it goes round all the time, and takes everybody anonymous for gone who came until now.

`python -m tests.integration.sweeping_profile`. The log's times are the broker's and cannot be set back, so the threshold lies ahead.
"""

import asyncio
import sys
from collections.abc import Coroutine
from functools import partial
from typing import Any, Final

from services.profile.adapters.kept_states import RedisKept
from services.profile.main import stages, tick
from services.profile.settings import Settings
from services.profile.sweep import RESOLVER, Sweep
from shared.adapters.applied_sets import AppliedSets
from shared.adapters.definition_topic import DefinitionTopic
from shared.adapters.environment import read_environment
from shared.worker.process import Inside, run

UNSEEN_MS: Final = -2 * 3_600_000


async def soon(seconds: float) -> None:
    await asyncio.sleep(min(seconds, 0.3))


def sweep(inside: Inside) -> Coroutine[Any, Any, None]:
    return Sweep(partial(inside.slots, RESOLVER), RedisKept(inside.redis), inside.log, UNSEEN_MS, sleep=soon).run()


def main() -> int:
    settings = read_environment("profile", Settings)
    definitions = AppliedSets(DefinitionTopic(settings.kafka, "rapport-profile-definitions"))
    return run("profile", stages(settings), settings, definitions, tasks=[tick, sweep])


if __name__ == "__main__":
    sys.exit(main())
