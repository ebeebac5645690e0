"""The artifact store in a folder. Every object is made in `staging()` and published by a hard link: without copying a
byte, all at once, and never over another one (which a rename would replace).

Must know nothing of jobs or media. Plain system calls on purpose: a store that runs threads of its own, as obstore's
does, hangs on reading in the forked children of a worker whose main process has read before (tried with obstore 0.12).
"""

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from topclip.errors import ArtifactMissing, StorageError
from topclip.storage.base import storage_error

BLOCK_BYTES = 1 << 20
STAGING = ".staging"


class LocalStore:
    """An ArtifactStore in a folder, which may be a network share; made if it is missing."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        with _translated(str(root)):
            (self.root / STAGING).mkdir(parents=True, exist_ok=True)

    def put_bytes(self, key: str, content: bytes) -> bool:
        """See ArtifactStore."""
        if self.exists(key):
            return False
        scratch = self._scratch()
        with _translated(key):
            try:
                scratch.write_bytes(content)
            except OSError:
                scratch.unlink(missing_ok=True)
                raise
        return self.put_file(key, scratch)

    def put_file(self, key: str, path: Path) -> bool:
        """See ArtifactStore. A file in `staging()` is linked; one from another disk is copied there first."""
        target = self._path(key)
        with _translated(key):
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
        with _translated(key):
            return self._path(key).read_bytes()

    def exists(self, key: str) -> bool:
        """See ArtifactStore."""
        with _translated(key):
            return self._path(key).is_file()

    def size(self, key: str) -> int:
        """See ArtifactStore."""
        with _translated(key):
            return self._path(key).stat().st_size

    def read(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See ArtifactStore. A range beyond the object's end is cut to what there is."""
        with _translated(key), self._path(key).open("rb") as file:
            file.seek(start)
            left = None if end is None else max(0, end - start)
            while block := file.read(BLOCK_BYTES if left is None else min(BLOCK_BYTES, left)):
                yield block
                left = None if left is None else left - len(block)

    @contextlib.contextmanager
    def local_path(self, key: str) -> Iterator[Path]:
        """See ArtifactStore. Here it is the object itself."""
        path = self._path(key)
        with _translated(key):
            path.stat()  # a disk that fails is not a missing file
        if not path.is_file():
            raise ArtifactMissing(f"no artifact {key}", {"key": key})
        yield path

    def folders(self, prefix: str) -> list[str]:
        """See ArtifactStore."""
        with _translated(prefix):
            path = self._path(prefix)
            return sorted(entry.name for entry in os.scandir(path) if entry.is_dir()) if path.is_dir() else []

    def staged(self) -> list[str]:
        """See ArtifactStore."""
        with _translated(STAGING):
            return sorted(os.listdir(self.staging()))

    def list(self, prefix: str) -> list[str]:
        """See ArtifactStore."""
        folder = self._path(prefix) if prefix else self.root
        with _translated(prefix):
            files = [path for path in folder.rglob("*") if path.is_file()]
        keys = sorted(path.relative_to(self.root).as_posix() for path in files)
        return [key for key in keys if not key.startswith(STAGING + "/")]

    def delete(self, prefix: str) -> None:
        """See ArtifactStore. A folder that a late writer fills again meanwhile is left to the next clean-up."""
        path = self._path(prefix)
        with _translated(prefix):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def staging(self) -> Path:
        """See ArtifactStore."""
        folder = self.root / STAGING
        with _translated(STAGING):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def unstage(self, name: str) -> None:
        """See ArtifactStore."""
        with _translated(name):
            (self.staging() / Path(name).name).unlink(missing_ok=True)

    def sweep(self, older_than_s: float) -> int:
        """See ArtifactStore."""
        n_swept = 0
        with _translated(STAGING):
            now = time.time()
            for entry in os.scandir(self.staging()):
                with contextlib.suppress(FileNotFoundError):  # its owner was quicker
                    if entry.is_file(follow_symlinks=False) and now - entry.stat().st_mtime > older_than_s:
                        os.unlink(entry.path)
                        n_swept += 1
        return n_swept

    def free_bytes(self) -> int | None:
        """See ArtifactStore."""
        with _translated(""):
            return shutil.disk_usage(self.root).free

    def _path(self, key: str) -> Path:
        parts = key.split("/")
        if not key or any(part in ("", ".", "..") for part in parts):
            raise StorageError(f"{key!r} is no artifact key", {"key": key})
        return self.root.joinpath(*parts)

    def _scratch(self) -> Path:
        return self.staging() / f"put-{os.getpid()}-{os.urandom(6).hex()}"

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


@contextlib.contextmanager
def _translated(key: str) -> Iterator[None]:
    """Errors of the file system become ours."""
    try:
        yield
    except OSError as err:
        raise storage_error(key, err) from err
