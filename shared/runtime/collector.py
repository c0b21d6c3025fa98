"""Python's cycle collector, told to run seldom.

A chunk holds tens of thousands of objects, none of them in a cycle. With Python's settings the collector visits each of these objects
and each cached state several times. That took half of a busy worker's time (measured by py-spy, native frames).
"""

import gc
from typing import Final

NEW_OBJECTS: Final = 200_000
"""Between two looks at the young: more than the largest chunk makes and has not freed yet."""
YOUNG_LOOKS, OLD_LOOKS = 20, 20


def calm_collector() -> None:
    """Call once everything is started: what is there now stays, and is not walked again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS, YOUNG_LOOKS, OLD_LOOKS)
