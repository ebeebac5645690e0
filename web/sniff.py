"""A first look at a source before its job is taken, in child processes, so that this one never loads media code.

It is a courtesy: what cannot be told in time is taken, and the worker judges. A child that has answered is asked again, since
loading the media code takes longer than the look; one that did not answer in time, or died over a file, is replaced. Children
end with this process, whose end closes their input.
"""

import contextlib
import json
import queue
import selectors
import subprocess
import sys
import time
from pathlib import Path

from topclip.errors import UnsupportedMedia

DEADLINE_S = 0.5
MAX_AT_ONCE = 2
LOOKS_PER_CHILD = 500
"""A decoder that leaks a little is sent home in time."""
CHILD = """
import json, sys
from topclip.media.probe import fault
print(json.dumps("ready"), flush=True)
for line in sys.stdin:
    print(json.dumps(fault(json.loads(line))), flush=True)
"""
HINT = "send a video file that FFmpeg can read, with a picture in it"


class Sniffer:
    """Looks at sources, a few at once. Safe to use from many threads."""

    def __init__(self) -> None:
        self._places: queue.LifoQueue[_Child | None] = queue.LifoQueue()
        for _ in range(MAX_AT_ONCE):
            self._places.put(None)  # a place without a child

    def start(self) -> None:
        """Have a child ready, and wait until it is: without one the first look would be over before it began."""
        place = self._places.get()
        child = place or _Child()
        child.hear(time.monotonic() + 30)
        self._places.put(child)

    def stop(self) -> None:
        """Send the children home."""
        for _ in range(MAX_AT_ONCE):
            with contextlib.suppress(queue.Empty):
                if child := self._places.get(timeout=DEADLINE_S):
                    child.end()

    def refuse_unreadable(self, path: Path, field: str) -> None:
        """Look whether FFmpeg can read the file. Raises: UnsupportedMedia naming `field` if it surely cannot."""
        end = time.monotonic() + DEADLINE_S
        try:
            child = self._places.get(timeout=DEADLINE_S)
        except queue.Empty:
            return
        try:
            child = child or _Child()
            verdict = child.look(path, end)
        finally:
            self._places.put(child if child and child.is_fit else None)
        if verdict is not None:
            raise UnsupportedMedia(verdict, {"field": field, "hint": HINT})


class _Child:
    """A process that has the media code loaded, and answers one line for each it is asked."""

    def __init__(self) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [sys.executable, "-c", CHILD], bufsize=0, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL
        )
        self._said, self._is_ready, self._looks = b"", False, 0
        self.is_fit = True

    def look(self, path: Path, end: float) -> str | None:
        """What the probe has against the file; None if nothing, or if it did not say by `end` (monotonic)."""
        self._looks += 1
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(str(path)).encode() + b"\n")
            if not self._is_ready:
                self.hear(end)
            verdict = self.hear(end)
        except (OSError, ValueError, TimeoutError):
            self.end()
            return None
        if self._looks >= LOOKS_PER_CHILD:
            self.end()
        return verdict if isinstance(verdict, str) else None

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
