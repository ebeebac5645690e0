"""Become ffmpeg, within limits and tied to the parent. Run as a script: `launch.py PARENT_PID DATA_BYTES FILE_BYTES PROGRAM
ARGS...`, a limit of -1 being none.

Linux sends SIGKILL to a process whose parent thread ends, once it asked for it; the wish survives `exec`, as limits do. Asking
in a small program of its own, and not in a `preexec_fn`, keeps Python code out of the fork of a process that has threads: what
those held is held for ever there. Imports nothing but the standard library, so that it starts in some ten milliseconds.
"""

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h
CANNOT_START = 127
"""Exit code where there is no such program, as a shell has it."""


def lower(kind: int, limit: int) -> None:
    """Set a soft limit of this process, no higher than the hard one."""
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def main() -> None:
    """Tie, limit, become."""
    parent, data_bytes, file_bytes = (int(text) for text in sys.argv[1:4])
    program = sys.argv[4:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call: nobody would tell us
        sys.exit("launch: the parent is gone")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if data_bytes >= 0:
        lower(resource.RLIMIT_DATA, data_bytes)
    if file_bytes >= 0:
        lower(resource.RLIMIT_FSIZE, file_bytes)
    for one in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and what is ignored stays so
        signal.signal(one, signal.SIG_DFL)
    try:
        os.execv(program[0], program)
    except OSError as err:
        sys.stderr.write(f"{err.strerror}\n")
        sys.exit(CANNOT_START)


if __name__ == "__main__":
    main()
