"""A first look at a source before its job is taken, in a child process, so that this one never loads media code.

It is a courtesy: what cannot be told in time is taken, and the worker judges.
"""

import json
import subprocess
import sys
import threading
from pathlib import Path

from topclip.errors import UnsupportedMedia

DEADLINE_S = 0.7
MAX_AT_ONCE = 2

_places = threading.BoundedSemaphore(MAX_AT_ONCE)


def refuse_unreadable(path: Path, field: str) -> None:
    """Look whether FFmpeg can read the file. Raises: UnsupportedMedia naming `field` if it surely cannot."""
    if not _places.acquire(timeout=DEADLINE_S / 2):
        return
    try:
        verdict = _look(path)
    finally:
        _places.release()
    if verdict is not None:
        hint = "send a video file that FFmpeg can read, with a picture in it"
        raise UnsupportedMedia(verdict, {"field": field, "hint": hint})


def _look(path: Path) -> str | None:
    """What the probe has against the file; None if nothing, or if it did not say in time."""
    command = [sys.executable, "-m", "topclip.media.probe", str(path)]
    try:
        found = subprocess.run(command, capture_output=True, timeout=DEADLINE_S, check=False)
    except subprocess.TimeoutExpired:
        return None
    if found.returncode == 0:
        return None
    try:
        problem = json.loads(found.stdout or found.stderr)
        return str(problem["message"])
    except (ValueError, KeyError, TypeError):
        return None
