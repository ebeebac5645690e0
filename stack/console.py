"""The log lines of the children: to standard error, prefixed by the child's name, and to a bounded file for each
child.
"""

import logging
import sys
from collections import deque
from collections.abc import Iterable
from logging.handlers import RotatingFileHandler
from pathlib import Path
from threading import Lock, Thread
from typing import IO

LOG_BYTES = 5 * 1024 * 1024
LOG_BACKUPS = 3
LAST_LINES_S = 2.0
"""How long a pump is waited for whose child has ended."""
TAIL_LINES = 20
MAX_LINE_BYTES = 64 * 1024  # a child that writes no newline must not grow our memory


class Console:
    """Standard error, shared line by line by `up` and its children's pumps."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._closed = False

    def say(self, name: str, text: str) -> None:
        """Write one prefixed line. Once nobody reads standard error any more, lines go to the files alone."""
        with self._lock:
            if self._closed:
                return
            try:
                sys.stderr.write(f"{name:>7} | {text}\n")
                sys.stderr.flush()
            except (OSError, ValueError):  # reader gone, or closed at exit
                self._closed = True


class ChildLog:
    """What one child wrote: pumped by a thread to the console and a rotated file, its last lines kept for error
    messages.
    """

    def __init__(self, name: str, folder: Path, console: Console) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._name, self._console = name, console
        self._file = RotatingFileHandler(
            folder / f"{name}.log", maxBytes=LOG_BYTES, backupCount=LOG_BACKUPS, encoding="utf-8"
        )
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._pumps: list[Thread] = []

    @property
    def tail(self) -> list[str]:
        """The last lines, oldest first."""
        return list(self._tail)

    def pump(self, stream: IO[bytes]) -> Thread:
        """Start a thread that takes the stream's lines until its end; it never stops reading, so no child blocks on
        it.
        """
        thread = Thread(target=self._run, args=(stream,), name=f"log-{self._name}", daemon=True)
        thread.start()
        self._pumps = [*(pump for pump in self._pumps if pump.is_alive()), thread]
        return thread

    def close(self) -> None:
        """Close the file, once the children's last lines are in it: a line that came later would open it anew."""
        for pump in self._pumps:
            pump.join(LAST_LINES_S)
        self._file.close()

    def _run(self, stream: IO[bytes]) -> None:
        with stream:
            for line in _lines(stream):
                self._take(line)

    def _take(self, line: str) -> None:
        self._tail.append(line)
        self._console.say(self._name, line)
        # A full disk must not end the pump: logging's own handler swallows it.
        self._file.handle(logging.makeLogRecord({"msg": line, "levelno": logging.INFO}))


def _lines(stream: IO[bytes]) -> Iterable[str]:
    while raw := stream.readline(MAX_LINE_BYTES):
        yield raw.decode("utf-8", "replace").rstrip()
