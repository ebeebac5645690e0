"""Local copies of objects that lie elsewhere, shared by all processes of a machine, within a budget of bytes."""

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from topclip.storage.base import Tick, translated
from topclip.storage.staging import sweep_folder

POLL_S = 0.2
COPY, LOCK, PART, USE = "copy-", "lock-", "part-", "use-"

Fetch = Callable[[Path], None]
"""Writes the object into a new file. What it raises passes, and the file is removed."""


class FileCache:
    """Whole objects as files: the first process that wants one fetches it, the others wait for that.

    Whoever uses a copy has a hard link of his own, so that one which is dropped for want of room stays for its users.
    Raises: StorageFull, StorageUnavailable, and what the fetch raises.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """max_bytes: copies that were not used for longest go first beyond it; the one in use may be larger alone."""
        self._folder, self._max_bytes = folder.absolute(), max_bytes

    @contextlib.contextmanager
    def use(self, name: str, suffix: str, fetch: Fetch, tick: Tick) -> Iterator[Path]:
        """A file with the object's content. name: unique to this content. suffix: of the file, for those who go by it."""
        with translated(name):
            self._folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(name.encode()).hexdigest()[:32]
        path = self._folder / f"{USE}{os.getpid()}-{os.urandom(6).hex()}{suffix}"
        try:
            with self._alone(digest, tick):
                copy = self._folder / f"{COPY}{digest}"
                if not self._take(copy, path):
                    self._fetch(copy, fetch)
                    with translated(name):
                        os.link(copy, path)
            yield path
        finally:
            path.unlink(missing_ok=True)

    def sweep(self, older_than_s: float) -> int:
        """Remove what killed processes left, and copies that nobody used for so long; how many files."""
        with translated(self._folder.name):
            return sweep_folder(self._folder, older_than_s) if self._folder.is_dir() else 0

    @staticmethod
    def _take(copy: Path, path: Path) -> bool:
        try:
            os.link(copy, path)
            os.utime(copy)
        except FileNotFoundError:
            return False
        return True

    def _fetch(self, copy: Path, fetch: Fetch) -> None:
        part = self._folder / f"{PART}{os.getpid()}-{os.urandom(6).hex()}"
        try:
            fetch(part)
            self._make_room(part.stat().st_size)
            part.rename(copy)
        finally:
            part.unlink(missing_ok=True)

    def _make_room(self, n_bytes: int) -> None:
        with translated(self._folder.name):
            copies = [(path.stat(), path) for path in self._folder.glob(f"{COPY}*") if path.exists()]
        total = n_bytes + sum(found.st_size for found, _ in copies)
        for found, path in sorted(copies, key=lambda c: c[0].st_mtime):
            if total <= self._max_bytes:
                return
            path.unlink(missing_ok=True)
            total -= found.st_size

    @contextlib.contextmanager
    def _alone(self, digest: str, tick: Tick) -> Iterator[None]:
        """Among all processes. The lock ends with its owner, however that ends."""
        with translated(digest), (self._folder / f"{LOCK}{digest}").open("w") as file:
            while True:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                tick()
                time.sleep(POLL_S)
            yield
