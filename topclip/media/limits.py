"""How much of the machine one source may use: memory, time, room on disk. Media is hostile, and damage looks the same.

The kernel holds memory and room (`RLIMIT_DATA` counts what a process writes, not the libraries that it maps); time is asked
for at each packet and each line of progress.
"""

import contextlib
import re
import resource
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from topclip.errors import EncodeError, Killed, MediaError, MediaLimit
from topclip.media.launch import lower

FLOOR_S = 300.0
"""Time that any work is given: a cold disk, a busy machine."""
SLOWNESS = 30.0
"""Seconds of work for one second of 1080p30; a core of ten years ago needs a few."""
PIXELS_PER_S = 1920 * 1080 * 30
READ_BYTES_PER_S = 1_000_000
"""The slowest network folder that a source is read from."""
MEMORY_HINT = (
    "Give the worker more memory and raise TOPCLIP_TASK_MEMORY_MB, lower its concurrency, or scale the source down."
)
MEMORY_SHARE = 0.75
MOST_MEMORY_BYTES = 8 << 30
"""Enough to encode 8K; anything that wants more is damaged or hostile."""
CONTAINER_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""As version 2 of the kernel's control groups has it, and version 1."""
NO_FILTER = re.compile(rb"No such filter: '(\w+)'")
NO_MEMORY = (b"Cannot allocate memory", b"pthread_create() failed", b"malloc of size", b"std::bad_alloc")


@dataclass(frozen=True)
class Allowance:
    """What one run of ffmpeg may use; None: no limit.

    memory_bytes: what it may allocate. out_bytes: length of a file that it writes. wall_s: seconds until it must be done.
    """

    memory_bytes: int | None = None
    out_bytes: int | None = None
    wall_s: float | None = None


NO_LIMIT = Allowance()


def memory_limit(wanted_mb: int) -> int:
    """Bytes that one process may allocate. wanted_mb: what the settings say in MiB; 0: most of what there is."""
    if wanted_mb:
        return wanted_mb << 20
    return min(MOST_MEMORY_BYTES, int(there_is_memory() * MEMORY_SHARE))


def there_is_memory() -> int:
    """Bytes that all processes here may take together: the machine's memory, or the container's limit."""
    there_is = psutil.virtual_memory().total
    for path in CONTAINER_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # no container, one without a limit, or the other version
            there_is = min(there_is, int(path.read_text()))
    return there_is


def cap_memory(n_bytes: int) -> None:
    """Let this process allocate no more than so much from now on: what would, raises MemoryError."""
    lower(resource.RLIMIT_DATA, n_bytes)


def work_s(media_s: float, n_pixels: float) -> float:
    """Seconds that work may take which reads so much media, of so many pixels in all its frames together."""
    return FLOOR_S + SLOWNESS * max(media_s, n_pixels / PIXELS_PER_S)


def timed(tick: Callable[[], None], limit_s: float, what: str) -> Callable[[], None]:
    """A tick that also ends work that takes too long. what: named in the error. Its result raises: MediaLimit."""
    ends_at = time.monotonic() + limit_s

    def check() -> None:
        tick()
        if time.monotonic() > ends_at:
            raise too_slow(what, limit_s)

    return check


def too_slow(what: str, limit_s: float) -> MediaLimit:
    """The error of work that ran out of its time."""
    hint = "The file is damaged or made to be slow; convert it, or cut it into shorter ones."
    return MediaLimit(f"{what} took longer than {limit_s:.0f} s", {"field": "source", "hint": hint})


def no_memory(what: str) -> MediaLimit:
    """The error of work that ran out of memory."""
    return MediaLimit(f"{what} needs more memory than it may have", {"field": "source", "hint": MEMORY_HINT})


@contextlib.contextmanager
def within_memory(what: str) -> Iterator[None]:
    """Memory that ran out becomes an error of ours. Raises: MediaLimit."""
    try:
        yield
    except MemoryError as err:
        raise no_memory(what) from err


def ffmpeg_error(exit_code: int, tail: bytes, allowance: Allowance, detail: dict[str, object]) -> MediaError:
    """Why ffmpeg ended, by its exit code (negative: the signal) and the end of what it said."""
    if exit_code == -signal.SIGKILL:
        return Killed("ffmpeg was killed", {**detail, "hint": f"Most often memory ran out. {MEMORY_HINT}"})
    if exit_code == -signal.SIGXFSZ:
        limit_mb = (allowance.out_bytes or 0) >> 20
        return MediaLimit(
            f"the clip grew larger than {limit_mb} MiB",
            {**detail, "hint": "Ask for a shorter clip, or a lower quality."},
        )
    if any(words in tail for words in NO_MEMORY):
        return MediaLimit("ffmpeg needs more memory than it may have", {**detail, "hint": MEMORY_HINT})
    if (missing := NO_FILTER.search(tail)) is not None:
        name = missing[1].decode(errors="replace")
        hint = "Unset TOPCLIP_FFMPEG to use the one of the imageio-ffmpeg wheel, or name another that has it; HDR needs zscale."
        return EncodeError(f"this ffmpeg has no filter {name}, which this source needs", {**detail, "hint": hint})
    reason = _last_line(tail) or (f"exit code {exit_code}" if exit_code >= 0 else signal.Signals(-exit_code).name)
    return EncodeError(f"ffmpeg failed: {reason}", detail)


def _last_line(tail: bytes) -> str:
    lines = [line.strip() for line in tail.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""
