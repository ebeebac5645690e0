"""Exec a program that dies with its parent. Run as a script, before the program itself: `tether.py PARENT_PID PROGRAM
ARGS...`.

Linux sends SIGKILL to a process whose parent thread ends, once it asked for it (`prctl(PR_SET_PDEATHSIG)`); the wish
survives `exec`. Asking in a small program of its own, and not in a `preexec_fn`, keeps Python code out of the fork of
a process that has threads. Other systems have no such call: there the program is started all the same.
Imports nothing but the standard library, so that it starts in some ten milliseconds.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Tie this process to its parent, then become the program."""
    parent, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            sys.exit(f"tether: prctl: {os.strerror(ctypes.get_errno())}")
        if os.getppid() != parent:  # it died before the call: nobody would tell us
            sys.exit("tether: the parent is gone")
    try:
        os.execvp(program[0], program)
    except OSError as err:
        sys.exit(f"tether: {program[0]}: {err.strerror}")


if __name__ == "__main__":
    main()
