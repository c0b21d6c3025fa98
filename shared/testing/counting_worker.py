"""The counting stage as a real worker process, for tests of the runtime on real servers: `python -m shared.testing.counting_worker`."""

import os
import sys

from shared.adapters.redis_store import RedisStore
from shared.testing.counting import Counting
from shared.worker.process import run
from shared.worker.settings import RuntimeSettings


class Forgetful(RedisStore):
    """Keeps everything but the fences and the causes seen: what they prevent shows."""

    async def take_over(self, token: str) -> tuple[dict[str, str], bytes]:
        fields, outbox = await super().take_over(token)
        return {name: value for name, value in fields.items() if name[:2] not in ("f|", "c|")}, outbox


def main() -> int:
    stage = Counting(broken=os.environ.get("COUNTING_BROKEN") == "1", prefix=os.environ["COUNTING_PREFIX"])
    store = Forgetful if os.environ.get("COUNTING_FORGETFUL") == "1" else RedisStore
    return run("counting", [stage], RuntimeSettings(), None, store=store)


if __name__ == "__main__":
    sys.exit(main())
