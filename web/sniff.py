"""A first look at a source before its job is taken, in a child process, so that this one never loads media code.

It is a courtesy: what cannot be told in time is taken, and the worker judges. Loading the media code takes longer than
the look, so one child that has done it waits for the next source; it ends with this process, whose end closes its input.
"""

import contextlib
import json
import subprocess
import sys
import threading
from pathlib import Path

from topclip.errors import UnsupportedMedia

DEADLINE_S = 0.8
MAX_AT_ONCE = 2
CHILD = """
import json, sys
from topclip.media.probe import main
print("ready", flush=True)
line = sys.stdin.readline()
sys.exit(main([json.loads(line)]) if line else 0)
"""
HINT = "send a video file that FFmpeg can read, with a picture in it"


class Sniffer:
    """Looks at sources, a few at once."""

    def __init__(self) -> None:
        self._places = threading.BoundedSemaphore(MAX_AT_ONCE)
        self._lock = threading.Lock()
        self._spare: subprocess.Popen[bytes] | None = None
        self._is_closed = False

    def start(self) -> None:
        """Have a child ready, and wait until it is: without one the first look would be over before it began."""
        with self._lock:
            if self._spare is None and not self._is_closed:
                self._spare = _child()
                if self._spare.stdout:
                    self._spare.stdout.readline()

    def stop(self) -> None:
        """Send the child home."""
        with self._lock:
            self._is_closed = True
            if self._spare:
                _end(self._spare)
                self._spare = None

    def refuse_unreadable(self, path: Path, field: str) -> None:
        """Look whether FFmpeg can read the file. Raises: UnsupportedMedia naming `field` if it surely cannot."""
        if not self._places.acquire(timeout=DEADLINE_S):
            return
        try:
            verdict = _ask(self._take(), path)
        finally:
            self._places.release()
        self._have_spare()
        if verdict is not None:
            raise UnsupportedMedia(verdict, {"field": field, "hint": HINT})

    def _have_spare(self) -> None:
        with self._lock:
            if self._spare is None and not self._is_closed:
                self._spare = _child()

    def _take(self) -> "subprocess.Popen[bytes]":
        with self._lock:
            child, self._spare = self._spare, None
        if child and child.poll() is not None:
            _end(child)
            child = None
        return child or _child()


def _child() -> "subprocess.Popen[bytes]":
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", CHILD]
    return subprocess.Popen(command, bufsize=0, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)


def _ask(child: "subprocess.Popen[bytes]", path: Path) -> str | None:
    """What the probe has against the file; None if nothing, or if it did not say in time."""
    try:
        said, _ = child.communicate(json.dumps(str(path)).encode() + b"\n", timeout=DEADLINE_S)
        answer = said.rpartition(b"\n")[2]  # behind the word that it is ready, if nobody has read that
        return str(json.loads(answer)["message"]) if child.returncode == 1 else None
    except (subprocess.TimeoutExpired, ValueError, KeyError, TypeError):
        return None
    finally:
        _end(child)


def _end(child: "subprocess.Popen[bytes]") -> None:
    if child.poll() is None:
        child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe:
            with contextlib.suppress(OSError):
                pipe.close()
