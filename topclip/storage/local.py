"""The artifact store in a folder. Every object is made in `staging()` and published by a hard link: without copying a
byte, all at once, and never over another one (which a rename would replace).

Must know nothing of jobs or media. Plain system calls on purpose: a store that runs threads of its own, as obstore's
does, hangs on reading in the forked children of a worker whose main process has read before (tried with obstore 0.12).
"""

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from topclip.errors import ArtifactMissing, ConfigError, StorageError
from topclip.storage.base import FULL, Tick, no_tick, translated
from topclip.storage.staging import Staging

BLOCK_BYTES = 1 << 20
STAGING = ".staging"


class LocalStore(Staging):
    """An ArtifactStore in a folder, which may be a network share; made if it is missing.

    One whose staging area is gone is not there: a share that was unmounted must not pass for an empty store.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        super().__init__(self.root / STAGING)

    def check(self) -> None:
        """See ArtifactStore: the file system must know hard links."""
        first, second = self._scratch(), self._scratch()
        try:
            first.write_bytes(b"")
            os.link(first, second)
        except OSError as err:
            if err.errno in FULL:  # which passes, and which the health page tells
                return
            hint = "put it on a file system that has hard links (any of Linux and macOS, NTFS, NFS), or use s3://"
            raise ConfigError(
                f"the store {self.root} cannot take files: {err.strerror}", {"field": "store", "hint": hint}
            ) from err
        finally:
            for path in (first, second):
                path.unlink(missing_ok=True)

    def put_bytes(self, key: str, content: bytes) -> bool:
        """See ArtifactStore."""
        if self.exists(key):
            return False
        scratch = self._scratch()
        with self._translated(key):
            try:
                scratch.write_bytes(content)
            except OSError:
                scratch.unlink(missing_ok=True)
                raise
        return self.put_file(key, scratch)

    def put_file(self, key: str, path: Path, tick: Tick = no_tick) -> bool:
        """See ArtifactStore. A file in `staging()` is linked; one from another disk is copied there first."""
        target = self._path(key)
        with self._translated(key):
            source = path if self._is_here(path) else self._copied_here(path)
            try:
                _sync(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                return _link(source, target)
            finally:
                source.unlink(missing_ok=True)
                path.unlink(missing_ok=True)

    def get_bytes(self, key: str) -> bytes:
        """See ArtifactStore."""
        with self._translated(key):
            return self._path(key).read_bytes()

    def exists(self, key: str) -> bool:
        """See ArtifactStore."""
        try:
            with self._translated(key):
                return stat.S_ISREG(self._path(key).stat().st_mode)  # `is_file` takes many a fault for a no
        except ArtifactMissing:
            return False

    def size(self, key: str) -> int:
        """See ArtifactStore."""
        with self._translated(key):
            return self._path(key).stat().st_size

    def read(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See ArtifactStore. A range beyond the object's end is cut to what there is."""
        with self._translated(key), self._path(key).open("rb") as file:
            file.seek(start)
            left = None if end is None else max(0, end - start)
            while block := file.read(BLOCK_BYTES if left is None else min(BLOCK_BYTES, left)):
                yield block
                left = None if left is None else left - len(block)

    @contextlib.contextmanager
    def local_path(self, key: str, tick: Tick = no_tick) -> Iterator[Path]:
        """See ArtifactStore. Here it is the object itself."""
        path = self._path(key)
        with self._translated(key):
            path.stat()  # a disk that fails is not a missing file
        if not path.is_file():
            raise ArtifactMissing(f"no artifact {key}", {"key": key})
        yield path

    def download_url(self, key: str, disposition: str, media_type: str) -> str | None:
        """See ArtifactStore."""
        return None

    def folders(self, prefix: str) -> list[str]:
        """See ArtifactStore."""
        path = self._path(prefix)
        self.staging()
        with self._translated(prefix):
            return sorted(entry.name for entry in os.scandir(path) if entry.is_dir()) if path.is_dir() else []

    def list(self, prefix: str) -> list[str]:
        """See ArtifactStore."""
        folder = self._path(prefix) if prefix else self.root
        self.staging()
        with self._translated(prefix):
            files = [path for path in folder.rglob("*") if path.is_file()]
        keys = sorted(path.relative_to(self.root).as_posix() for path in files)
        return [key for key in keys if not key.startswith(STAGING + "/")]

    def delete(self, prefix: str) -> None:
        """See ArtifactStore. A folder that a late writer fills again meanwhile is left to the next clean-up."""
        path = self._path(prefix)
        self.staging()
        with self._translated(prefix):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def free_bytes(self) -> int | None:
        """See ArtifactStore."""
        self.staging()
        with self._translated(""):
            return shutil.disk_usage(self.root).free

    @contextlib.contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        """Errors of the file system become ours."""
        try:
            with translated(key):
                yield
        except ArtifactMissing:
            self.staging()
            raise

    def _path(self, key: str) -> Path:
        parts = key.split("/")
        if not key or any(part in ("", ".", "..") for part in parts):
            raise StorageError(f"{key!r} is no artifact key", {"key": key})
        return self.root.joinpath(*parts)

    def _is_here(self, path: Path) -> bool:
        return path.stat().st_dev == self.root.stat().st_dev

    def _copied_here(self, path: Path) -> Path:
        copy = self._scratch()
        try:
            shutil.copyfile(path, copy)
        except OSError:
            copy.unlink(missing_ok=True)
            raise
        return copy


def _sync(path: Path) -> None:
    """Push the content to disk before its name appears: after a power cut a name must not lead to an empty file."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _link(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    return True
