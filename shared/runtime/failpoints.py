"""Named places at which a test may kill the process. Nothing happens unless RAPPORT_FAILPOINT is set.

RAPPORT_FAILPOINT=`name` or `name:nth`: the nth time (1 if not given) that `failpoint(name)` is passed, the process gets SIGKILL: no
handler, no flush, no goodbye.
"""

import os
import signal

_name, _, _nth = os.environ.get("RAPPORT_FAILPOINT", "").partition(":")
_left = int(_nth or "1")


def _armed(name: str) -> None:
    global _left
    if name == _name:
        _left -= 1
        if _left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def _disarmed(name: str) -> None:
    return


failpoint = _armed if _name else _disarmed
