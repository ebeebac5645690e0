"""A first look at a source before its job is taken, in child processes, so that this one never loads media code.

It is a courtesy: what cannot be told in time is taken, and the worker judges. A child that has answered is asked again,
since loading the media code takes longer than the look; nobody waits for one that still loads. One that did not answer in
time, or died over a file, is replaced. Children end with this process, whose end closes their input.
"""

import contextlib
import json
import queue
import selectors
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from topclip.config import Settings
from topclip.errors import BadAudience, BadSubtitles, MediaLimit, SourceTooLarge, TopClipError, UnsupportedMedia

DEADLINE_S = 0.5
LOADING_S = 60.0
"""A child that has not loaded the media code by then never will."""
MAX_AT_ONCE = 2
LOOKS_PER_CHILD = 500
"""A decoder that leaks a little is sent home in time."""
CHILD = """
import json, sys
from topclip.media.limits import cap_memory, memory_limit
from topclip.media.probe import verdict
from topclip.pipeline.audience_file import curve_verdict
from topclip.pipeline.subtitles import subtitles_verdict
cap_memory(memory_limit(int(sys.argv[1])))
print(json.dumps("ready"), flush=True)
about = {"source": verdict, "subtitles": subtitles_verdict, "audience": curve_verdict}
for line in sys.stdin:
    kind, *question = json.loads(line)
    print(json.dumps(about[kind](*question)), flush=True)
"""
UNREADABLE_BY_FIELD = {"subtitles": BadSubtitles, "audience": BadAudience}
UNREADABLE = "send a video file that FFmpeg can read, with a picture in it"
TOO_LARGE = "the operator can raise TOPCLIP_MAX_DURATION_S and TOPCLIP_MAX_PIXELS"

TOO_MUCH = "convert it; the operator can raise TOPCLIP_TASK_MEMORY_MB"


class Sniffer:
    """Looks at sources, a few at once. Safe to use from many threads."""

    def __init__(self, settings: Settings) -> None:
        self._limits = (settings.max_duration_s, settings.max_pixels)
        self._memory_mb = settings.task_memory_mb
        self._is_stopped = False
        self._places: queue.LifoQueue[_Child | None] = queue.LifoQueue()
        for _ in range(MAX_AT_ONCE):
            self._places.put(None)  # a place without a child

    def start(self) -> None:
        """Have a child load; what comes before it is ready is taken without a look."""
        self._places.put(self._places.get() or _Child(self._memory_mb))

    def stop(self) -> None:
        """Send the children home."""
        self._is_stopped = True
        for _ in range(MAX_AT_ONCE):
            with contextlib.suppress(queue.Empty):
                if child := self._places.get(timeout=DEADLINE_S):
                    child.end()

    def refuse_unfit(self, path: Path, field: str) -> None:
        """Look whether FFmpeg can read the file and the limits of the settings allow it.

        Raises: UnsupportedMedia, SourceTooLarge or MediaLimit naming `field` if surely not.
        """
        if verdict := self._ask("source", str(path), *self._limits):
            raise _refusal(verdict, field)

    def refuse_unreadable(self, path: Path, name: str, field: str) -> None:
        """Look whether a file that comes with a source can be read. name: what its sender calls it. field: what it is.

        Raises: BadSubtitles or BadAudience if surely not.
        """
        if verdict := self._ask(field, str(path), name):
            raise UNREADABLE_BY_FIELD[field](verdict["message"], {"field": field, "hint": verdict["hint"]})

    def _ask(self, *question: str | float) -> dict[str, str] | None:
        end = time.monotonic() + DEADLINE_S
        try:
            child = self._places.get(timeout=DEADLINE_S)
        except queue.Empty:
            return None
        try:
            child = child or _Child(self._memory_mb)
            return child.look(question, end)
        finally:
            self._places.put(self._fit(child))

    def _fit(self, child: "_Child | None") -> "_Child | None":
        """The child, or one in its place that is loaded by the time it is needed."""
        if child is None or child.is_fit or self._is_stopped:
            return child
        try:
            return _Child(self._memory_mb)
        except OSError:  # no process left: tried again at the next look
            return None


def _refusal(verdict: dict[str, str], field: str) -> TopClipError:
    if verdict["code"] == SourceTooLarge.code:
        return SourceTooLarge(verdict["message"], {"field": field, "hint": TOO_LARGE})
    if verdict["code"] == MediaLimit.code:
        return MediaLimit(verdict["message"], {"field": field, "hint": TOO_MUCH})
    return UnsupportedMedia(verdict["message"], {"field": field, "hint": UNREADABLE})


class _Child:
    """A process that has the media code loaded, and answers one line for each it is asked."""

    def __init__(self, memory_mb: int) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(memory_mb)], bufsize=0, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL
        )
        self._said, self._is_ready, self._looks = b"", False, 0
        self._loaded_by = time.monotonic() + LOADING_S
        self.is_fit = True

    def look(self, question: Sequence[str | float], end: float) -> dict[str, str] | None:
        """What there is against a file, None if nothing, or if it did not say by `end` (monotonic).

        question: `source`, path, longest in s, most pixels; or `subtitles` or `audience`, path, name.
        """
        if not self._has_loaded(end):
            return None
        self._looks += 1
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            verdict = self.hear(end)
        except (OSError, ValueError, TimeoutError):
            self.end()
            return None
        if self._looks >= LOOKS_PER_CHILD:
            self.end()
        return verdict if isinstance(verdict, dict) else None

    def _has_loaded(self, end: float) -> bool:
        """Whether it is ready by `end`. One that is not goes on loading, but not for ever."""
        if self._is_ready:
            return True
        try:
            self.hear(end)
        except TimeoutError:
            if time.monotonic() > self._loaded_by:
                self.end()
            return False
        except (OSError, ValueError):
            self.end()
            return False
        return True

    def hear(self, end: float) -> object:
        """Its next line. Raises: TimeoutError, OSError if it died, ValueError if that is no line of ours."""
        assert self._process.stdout
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._said:
                if not selector.select(max(0.0, end - time.monotonic())):
                    raise TimeoutError
                more = self._process.stdout.read(65_536)
                if not more:
                    raise OSError("the child is gone")
                self._said += more
        line, _, self._said = self._said.partition(b"\n")
        self._is_ready = True
        return json.loads(line)

    def end(self) -> None:
        """Kill it; it is fit for nothing afterwards."""
        self.is_fit = False
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()
