"""The one runner of ffmpeg: own process group, dies with its worker, killed on any exception, progress as it goes.

Must know nothing of clips. Whatever ends the run early (an error, JobStopped out of `on_progress`, a signal) kills the
whole group and waits for it, so that the caller may remove the output at once.
"""

import contextlib
import errno
import math
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from topclip.errors import ConfigError, EncodeError, StorageError, StorageFull, StorageUnavailable, TopClipError
from topclip.media import launch
from topclip.media.launch import CANNOT_START
from topclip.media.limits import NO_LIMIT, Allowance, ffmpeg_error, too_slow

TICK_S = 0.25
STALL_S = 120.0
"""No progress for so long means stuck: seeking through an hour without an index takes seconds."""
TAIL_BYTES = 4000
NO_ROOM_NUMBERS = (errno.ENOSPC, errno.EDQUOT)
NO_ROOM = tuple(os.strerror(number).encode() for number in NO_ROOM_NUMBERS)
OUT_OF_REACH = tuple(os.strerror(number).encode() for number in (errno.ESTALE, errno.EROFS, errno.EACCES))
"""What ffmpeg says of the store's folder: its input was opened before, so it is not that."""
GONE = re.compile(rb"Error opening (?:in|out)put[^\n]*" + os.strerror(errno.ENOENT).encode())
"""What it says of files that were there when it was started."""
LAUNCH = (sys.executable, "-I", "-S", launch.__file__)

COMMON_ARGS = ("-nostdin", "-hide_banner", "-v", "error", "-progress", "pipe:1", "-stats_period", "0.25", "-y")


def run_ffmpeg(
    binary: str,
    args: Sequence[str],
    on_progress: Callable[[float], None],
    *,
    stall_s: float = STALL_S,
    allowance: Allowance = NO_LIMIT,
) -> None:
    """Run ffmpeg to its end.

    args: what follows the common arguments. on_progress(out_s): called at least each TICK_S with the seconds written so
    far, also while ffmpeg is silent; may raise to stop the run.
    Raises: EncodeError with `exit_code`, `stderr_tail`, `argv`; MediaLimit if the allowance is used up; Killed if somebody
    else killed it; StorageFull, StorageUnavailable; ConfigError if the binary cannot be started.
    """
    argv = [binary, *COMMON_ARGS, *args]
    process = _start(argv, allowance)
    try:
        tail = _follow(process, _timed(on_progress, allowance), stall_s, argv)
        exit_code = process.wait()
    finally:
        _kill_group(process)
    if exit_code == CANNOT_START:
        raise _cannot_start(binary, tail.decode(errors="replace").strip())
    if exit_code != 0:
        raise _failure(argv, tail, exit_code, allowance)


def _failure(argv: list[str], tail: bytes, exit_code: int, allowance: Allowance) -> TopClipError:
    return _storage_failure(tail) or ffmpeg_error(exit_code, tail, allowance, _detail(argv, tail, exit_code))


def _storage_failure(tail: bytes) -> StorageError | None:
    if any(words in tail for words in NO_ROOM):
        return StorageFull("no room left for a clip", {"hint": "Free some of the store's disk, then retry the job."})
    if any(words in tail for words in OUT_OF_REACH):
        return StorageUnavailable("the store's folder cannot be written", {"hint": "Check its mount and permissions."})
    if GONE.search(tail):
        return StorageUnavailable("a file or folder has gone meanwhile", {"hint": "Is its disk or share mounted?"})
    return None


def _timed(on_progress: Callable[[float], None], allowance: Allowance) -> Callable[[float], None]:
    ends_at = math.inf if allowance.wall_s is None else time.monotonic() + allowance.wall_s

    def check(out_s: float) -> None:
        on_progress(out_s)
        if time.monotonic() > ends_at:
            raise too_slow("ffmpeg", allowance.wall_s or 0.0)

    return check


def _start(argv: list[str], allowance: Allowance) -> subprocess.Popen[bytes]:
    program = shutil.which(argv[0])
    if program is None:
        raise _cannot_start(argv[0], os.strerror(errno.ENOENT))
    limits = [-1 if limit is None else limit for limit in (allowance.memory_bytes, allowance.out_bytes)]
    # The tie is to the thread that starts it, so a task must wait in the thread that started ffmpeg, as this runner does.
    return subprocess.Popen(
        [*LAUNCH, str(os.getpid()), *map(str, limits), program, *argv[1:]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def _cannot_start(binary: str, why: str) -> ConfigError:
    return ConfigError(f"cannot start ffmpeg {binary}: {why}", {"field": "ffmpeg", "hint": "set TOPCLIP_FFMPEG"})


def _follow(
    process: subprocess.Popen[bytes], on_progress: Callable[[float], None], stall_s: float, argv: list[str]
) -> bytes:
    """Read both pipes until they close; returns the tail of stderr. One thread, so nothing outlives an exception."""
    assert process.stdout is not None
    assert process.stderr is not None
    progress, tail = Progress(), b""
    moved_at = time.monotonic()
    with selectors.DefaultSelector() as selector:
        for pipe in (process.stdout, process.stderr):
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select(TICK_S):
                block = os.read(key.fd, 65536)
                if not block:
                    selector.unregister(key.fileobj)
                elif key.fileobj is process.stderr:
                    tail = (tail + block)[-TAIL_BYTES:]
                elif progress.feed(block):
                    moved_at = time.monotonic()
            on_progress(progress.out_s)
            if time.monotonic() - moved_at > stall_s:
                raise EncodeError(f"ffmpeg made no progress for {stall_s:g} s", _detail(argv, tail, None))
    return tail


class Progress:
    """What ffmpeg's `-progress` lines say, of any cut of the byte stream."""

    def __init__(self) -> None:
        self.out_s = 0.0
        self._rest = b""
        self._marks: dict[bytes, bytes] = {}

    def feed(self, block: bytes) -> bool:
        """Take the next bytes; True if anything moved: time, frames or bytes written."""
        *lines, self._rest = (self._rest + block).split(b"\n")
        moved = False
        for line in lines:
            name, _, value = line.strip().partition(b"=")
            if name in (b"out_time_us", b"frame", b"total_size") and self._marks.get(name) != value:
                self._marks[name] = value
                moved = True
            if name == b"out_time_us" and value.lstrip(b"-").isdigit():
                self.out_s = max(self.out_s, int(value) / 1e6)
        return moved


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill whatever is left of the group and reap it. The group's id is free for reuse only after the reaping."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def _detail(argv: list[str], tail: bytes, exit_code: int | None) -> dict[str, object]:
    return {"exit_code": exit_code, "stderr_tail": tail.decode(errors="replace"), "argv": argv}
