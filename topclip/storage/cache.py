"""Local copies of objects that lie elsewhere, shared by all processes of a machine, within a budget of bytes."""

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from topclip.errors import StorageUnavailable
from topclip.storage.base import Tick, storage_error

POLL_S = 0.2
COPY, LOCK, PART, USE = "copy-", "lock-", "part-", "use-"

Fetch = Callable[[Path], None]
"""Writes the object into a new file. What it raises passes, and the file is removed."""


class FileCache:
    """Whole objects as files: the first process that wants one fetches it, the others wait for that.

    Whoever uses a copy has a hard link of his own, so that one which is dropped for want of room stays for its users.
    He holds a shared lock on the file, which ends with him: a link whose file nobody has locked was left by one who was killed.
    Raises: StorageFull, StorageUnavailable, and what the fetch raises.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """max_bytes: copies that were not used for longest go first beyond it; the one in use may be larger alone."""
        self._folder, self._max_bytes = folder.absolute(), max_bytes

    @contextlib.contextmanager
    def use(self, name: str, n_bytes: int, suffix: str, fetch: Fetch, tick: Tick) -> Iterator[Path]:
        """A file with the object's content, of n_bytes. name: unique to this content. suffix: for those who go by it."""
        digest = hashlib.sha256(name.encode()).hexdigest()[:32]
        path = self._folder / f"{USE}{digest}-{os.getpid()}-{os.urandom(6).hex()}{suffix}"
        with contextlib.ExitStack() as held:
            held.callback(path.unlink, missing_ok=True)
            with _kept(name):
                self._folder.mkdir(parents=True, exist_ok=True)
                with self._alone(digest, tick):
                    if not self._take(self._folder / f"{COPY}{digest}", path):
                        self._fetch(digest, n_bytes, fetch, path)
                    fcntl.flock(held.enter_context(path.open("rb")), fcntl.LOCK_SH)
            yield path

    def sweep(self, older_than_s: float) -> int:
        """Remove what killed processes left, and copies that nobody used for so long; how many files.

        A part goes at once, and so do links: who writes it holds its lock, who uses them that of their file.
        """
        with _kept(self._folder.name):
            found = [path for kind in (COPY, LOCK, PART, USE) for path in self._folder.glob(f"{kind}*")]
            return sum(self._drop(path, older_than_s) for path in found)

    def _drop(self, path: Path, older_than_s: float) -> bool:
        kind, digest = path.name.split("-")[:2]
        is_link = kind == USE[:-1]
        with contextlib.suppress(FileNotFoundError):  # its owner was quicker
            if not is_link and kind != PART[:-1] and time.time() - path.stat().st_mtime <= older_than_s:
                return False
            with self._locked(digest) as is_ours:  # nobody makes a link meanwhile
                if is_ours and not (is_link and _is_in_use(path)):
                    path.unlink()
                    return True
        return False

    @staticmethod
    def _take(copy: Path, path: Path) -> bool:
        try:
            os.link(copy, path)
        except FileNotFoundError:
            return False
        os.utime(path)  # and the copy's with it, if it is there still
        return True

    def _fetch(self, digest: str, n_bytes: int, fetch: Fetch, path: Path) -> None:
        """Make the copy and its user's link; the link comes first, since whoever makes room may drop the copy at once."""
        part = self._folder / f"{PART}{digest}"
        part.unlink(missing_ok=True)  # of one who was killed; we hold the lock
        try:
            self._make_room(n_bytes)
            fetch(part)
            os.link(part, path)
            part.rename(self._folder / f"{COPY}{digest}")
        finally:
            part.unlink(missing_ok=True)

    def _make_room(self, n_bytes: int) -> None:
        """Drop copies until as much has room beside what others fetch now."""
        parts = [found for path in self._folder.glob(f"{PART}*") if (found := _stat(path))]
        copies = [(found, path) for path in self._folder.glob(f"{COPY}*") if (found := _stat(path))]
        total = n_bytes + sum(found.st_size for found in parts) + sum(found.st_size for found, _ in copies)
        for found, path in sorted(copies, key=lambda c: c[0].st_mtime):
            if total <= self._max_bytes:
                return
            path.unlink(missing_ok=True)
            total -= found.st_size

    @contextlib.contextmanager
    def _alone(self, digest: str, tick: Tick) -> Iterator[None]:
        """Among all processes. The lock ends with its owner, however that ends."""
        while True:
            with self._locked(digest) as is_ours:
                if is_ours:
                    yield
                    return
            tick()
            time.sleep(POLL_S)

    @contextlib.contextmanager
    def _locked(self, digest: str) -> Iterator[bool]:
        """Whether the lock was free and is ours now. One that was swept between the two calls is nobody's."""
        with (self._folder / f"{LOCK}{digest}").open("w") as file:
            is_ours = False
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                is_ours = os.fstat(file.fileno()).st_nlink > 0
            yield is_ours


def _is_in_use(link: Path) -> bool:
    """Whether anybody has a lock on the file, by whichever of its links. Raises: FileNotFoundError."""
    with link.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _stat(path: Path) -> os.stat_result | None:
    """None if the file has gone."""
    with contextlib.suppress(FileNotFoundError):
        return path.stat()
    return None


@contextlib.contextmanager
def _kept(what: str) -> Iterator[None]:
    """Errors of the folder become ours. What is missing there is no artifact: it can be fetched again."""
    try:
        yield
    except FileNotFoundError as err:
        raise StorageUnavailable(f"the local copy of {what} has gone", {"key": what}) from err
    except OSError as err:
        raise storage_error(what, err) from err
