"""A process that folds an attack with all stages over fakes and says the most memory it had, in bytes: run by test_worker_attack.py."""

import re
from pathlib import Path

from services.messaging.stage import Journeys
from services.profile.folder_stage import FolderStage
from services.profile.resolver_stage import ResolverStage
from services.segmentation.stage import SegmentationStage
from shared.contracts.slots import settle
from shared.contracts.topics import EVENT_RECEIVED, PROFILE_CHANGED
from shared.runtime.stage import Output
from shared.testing.fakes import FakeLog
from shared.testing.histories import EPOCH, encoded, event
from shared.testing.scene import Scene

IDENTIFIES, OTHERS, TRAITS = 2_000, 150, 199


class ForgetfulLog(FakeLog):
    """Keeps no profile that was said: they are not this process's memory."""

    said = 0

    async def publish(self, outputs: list[Output]) -> dict[tuple[str, int], int]:  # type: ignore[override]
        for output in outputs:
            if output.topic == PROFILE_CHANGED:
                self.said += 1
                output.value = b""
        return dict(await super().publish(outputs))


def identify(user: str, number: int, city: str, traits: int = 0) -> tuple[str, bytes]:
    said = {"city": city} | {f"t{n}": f"{n}" + "x" * 1000 for n in range(traits)}
    return f"u:{user}", encoded(event("identify", f"{user}-{number}", EPOCH + number, user_id=user, traits=said))


def peak() -> int:
    """The most memory of this process, in bytes. (`ru_maxrss` would begin with that of the process which started it.)"""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return 0 if found is None else int(found[1]) * 1024


def main() -> None:
    settle(8)
    scene = Scene(ResolverStage(), FolderStage(), SegmentationStage(), Journeys(frozenset()))
    log = scene.log = ForgetfulLog()
    for user in ("ann", *(f"p{n}" for n in range(OTHERS))):
        log.append(EVENT_RECEIVED, *identify(user, 0, "Oslo", TRAITS))
    scene.settle()
    before = peak()
    log.said = 0
    for number in range(IDENTIFIES):
        log.append(EVENT_RECEIVED, *identify("ann", number + 1, str(number)))
    for number in range(OTHERS):
        log.append(EVENT_RECEIVED, *identify(f"p{number}", 1, "Rome"))
    while pending := scene.pending():
        scene.work(pending[0], 2_000)
    print(before, peak(), log.said)  # noqa: T201 - what the test reads


if __name__ == "__main__":
    main()
