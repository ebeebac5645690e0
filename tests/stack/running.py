"""`topclip up` in a process tree of its own, as a user starts it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import psutil

from tests.waiting import until

TOPCLIP = str(Path(sys.executable).with_name("topclip"))
READY_S = 60.0
STOP_S = 60.0


class Running:
    """One `topclip up`, ready."""

    def __init__(self, data_dir: Path, *args: str) -> None:
        self._stderr_path = data_dir.with_name(f"{data_dir.name}.{id(self)}.err")
        self._lines: list[str] = []
        with self._stderr_path.open("w") as stderr:
            self.process = subprocess.Popen(
                [TOPCLIP, "up", "--json", "--port", "0", "--flower-port", "0", "--data-dir", str(data_dir), *args],
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                cwd=data_dir.parent,
                start_new_session=True,
            )
        self._reader = Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        with self.process.stdout as stdout:
            self._lines.extend(stdout)

    def wait_ready(self) -> None:
        until(lambda: bool(self._lines) or self.process.poll() is not None, READY_S, "not ready in time")
        assert self._lines, self.stderr[-3000:]

    @property
    def stdout(self) -> list[str]:
        """The lines so far."""
        return list(self._lines)

    @property
    def urls(self) -> dict[str, str]:
        urls: dict[str, str] = json.loads(self._lines[0])
        return urls

    @property
    def stderr(self) -> str:
        return self._stderr_path.read_text()

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.urls["web"] + path, timeout=10)

    def health(self) -> dict[str, Any]:
        document: dict[str, Any] = self.get("/health").json()
        return document

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def found(self, word: str) -> list[psutil.Process]:
        """The direct children whose command line has the word."""
        return [p for p in psutil.Process(self.process.pid).children() if word in " ".join(p.cmdline())]

    def find(self, word: str) -> psutil.Process:
        """The direct child whose command line has the word."""
        found = self.found(word)
        assert len(found) == 1, found
        return found[0]

    def terminate(self) -> int:
        self.process.terminate()
        code = self.process.wait(STOP_S)
        self._reader.join(STOP_S)
        return code

    def kill(self) -> None:
        """End the whole tree, wherever the test left it."""
        if self.process.poll() is None:
            tree = [*self.descendants(), psutil.Process(self.process.pid)]
            for process in tree:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self.process.wait(STOP_S)
        self._reader.join(STOP_S)


@contextmanager
def stack(data_dir: Path, *args: str) -> Iterator[Running]:
    """A ready stack; whatever happens, nothing of it is left."""
    running = Running(data_dir, *args)
    try:
        running.wait_ready()
        yield running
    finally:
        running.kill()


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; zombies do not."""
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
