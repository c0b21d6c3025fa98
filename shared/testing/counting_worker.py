"""The counting stage as a real worker process, for tests of the runtime on real servers: `python -m shared.testing.counting_worker`."""

import os
import sys

from shared.runtime.settings import RuntimeSettings
from shared.runtime.worker import run
from shared.testing.counting import Counting


def main() -> int:
    return run(
        "counting", [Counting(broken=os.environ.get("COUNTING_BROKEN") == "1", prefix=os.environ["COUNTING_PREFIX"])], RuntimeSettings()
    )


if __name__ == "__main__":
    sys.exit(main())
