"""Becomes another program that dies with the process that started it.

Usage: `python -I -S leash.py PARENT_PID PROGRAM [ARGUMENT ...]`. A tiny program of its own, because doing this between
fork and exec inside a large threaded parent (subprocess' `preexec_fn`) can deadlock. On Linux the kernel sends SIGKILL
at the parent's death; elsewhere there is no such call and the program merely starts.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent, then turn into the program of the command line."""
    parent, argv = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before the call above
            sys.exit(1)
    os.execvp(argv[0], argv)


main()
