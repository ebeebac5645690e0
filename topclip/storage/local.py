"""The artifact store in a folder. Every object is made in `staging()` and published by a hard link: without copying a
byte, all at once, and never over another one (which a rename would replace).

Must know nothing of jobs or media. Plain system calls on purpose: a store that runs threads of its own, as obstore's
does, hangs on reading in the forked children of a worker whose main process has read before (tried with obstore 0.12).
"""

import contextlib
import errno
import logging
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from topclip.errors import ArtifactMissing, ConfigError, MediaError, NotRemoved, StorageError
from topclip.storage.base import BROKEN_DISK, FULL, Tick, add_size, no_tick, translated
from topclip.storage.staging import Staging

log = logging.getLogger(__name__)

BLOCK_BYTES = 1 << 20
STAGING = ".staging"
NO_NAMELESS = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT)
"""How file systems and kernels say that they make no files without a name."""


class LocalStore(Staging):
    """An ArtifactStore in a folder, which may be a network share; made if it is missing.

    One whose staging area is gone is not there: a share that was unmounted must not pass for an empty store. is_made: False
    where it must be there already.
    """

    def __init__(self, root: Path, *, is_made: bool = True) -> None:
        self.root = root.absolute()
        super().__init__(self.root / STAGING, is_made=is_made)

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
                with contextlib.suppress(OSError):  # of a disk that takes nothing
                    path.unlink(missing_ok=True)

    def put_bytes(self, key: str, content: bytes) -> bool:
        """See ArtifactStore."""
        target = self._path(key)
        if self.exists(key):
            return False
        with self._translated(key), self._nameless() as file:
            if file is not None:
                file.write(content)
                _sync(file)
                _make_folder(target.parent)
                return _link(f"/proc/self/fd/{file.fileno()}", target)
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
                with source.open("rb") as file:
                    _sync(file)
                _make_folder(target.parent)
                return _link(str(source), target)
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
        try:
            yield path
        except MediaError:
            self.staging()  # a source that went away with the store is not at fault
            if not path.exists():
                raise ArtifactMissing(f"no artifact {key}", {"key": key}) from None
            raise

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
        refused: list[OSError] = []
        with self._translated(prefix):
            if not path.is_dir():
                _remove(os.unlink, str(path), refused)
            else:
                for folder, _, names in os.walk(path, topdown=False, onerror=refused.append):
                    for name in names:
                        _remove(os.unlink, os.path.join(folder, name), refused)
                    _remove(os.rmdir, folder, refused)
        _refuse(prefix, refused)

    def refuse_kept(self, prefix: str) -> None:
        """See ArtifactStore. What is in a folder can be removed by whoever may write there."""
        path = self._path(prefix)
        self._refuse_read_only()
        refused: list[OSError] = []
        for folder, _, _ in os.walk(path, onerror=refused.append):
            if not os.access(folder, os.W_OK | os.X_OK):
                refused.append(PermissionError(errno.EACCES, os.strerror(errno.EACCES), folder))
        _refuse(prefix, refused)

    def sizes(self) -> dict[str, int]:
        """See ArtifactStore. What goes meanwhile, or may not be looked at, counts for nothing."""
        self.staging()
        sizes: dict[str, int] = {}
        for folder, below, names in os.walk(self.root):
            if folder == str(self.root):
                below.remove(STAGING)
            for name in names:
                with contextlib.suppress(FileNotFoundError, PermissionError):
                    size = os.stat(os.path.join(folder, name), follow_symlinks=False).st_size
                    add_size(sizes, os.path.relpath(os.path.join(folder, name), self.root), size)
        return sizes

    def free_bytes(self) -> int | None:
        """See ArtifactStore."""
        self._refuse_read_only()
        with self._translated(""):
            return shutil.disk_usage(self.root).free

    def _refuse_read_only(self) -> None:
        """Raises: StorageUnavailable where nothing can be written at all."""
        self.staging()
        with self._translated(""):
            if os.statvfs(self.root).f_flag & os.ST_RDONLY:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))

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

    @contextlib.contextmanager
    def _nameless(self) -> Iterator[IO[bytes] | None]:
        """A file in staging that has no name yet: nothing stays of it if its process is killed. None: not known here."""
        try:
            number = os.open(self.staging(), os.O_WRONLY | getattr(os, "O_TMPFILE", os.O_DIRECTORY), 0o666)
        except OSError as err:
            if err.errno not in NO_NAMELESS:
                raise
            yield None
            return
        with open(number, "wb") as file:
            yield file

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


def _refuse(prefix: str, refused: list[OSError]) -> None:
    """Raises: NotRemoved if anything was refused that is still there."""
    refused = [err for err in refused if not isinstance(err, FileNotFoundError)]
    if refused:
        hint = "it is another user's, as after a restore: `chown -R` it to the one that we run as, then try again"
        text = f"{prefix} cannot be removed from the store: {refused[0].strerror}"
        raise NotRemoved(text, {"key": prefix, "hint": hint}) from refused[0]


def _remove(remove: Callable[[str], None], path: str, refused: list[OSError]) -> None:
    """Remove one thing, if it is still there; `refused` takes why not. Raises: OSError of a disk that takes no more."""
    try:
        remove(path)
    except FileNotFoundError:
        pass
    except OSError as err:
        if err.errno in BROKEN_DISK:
            raise
        if err.errno != errno.ENOTEMPTY:
            log.warning("%s cannot be removed: %s", path, err.strerror)
            refused.append(err)


def _sync(file: IO[bytes]) -> None:
    """Push the content to disk before its name appears: after a power cut a name must not lead to an empty file."""
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(number: int) -> None:
    """A name, too, must be there after a power cut; some network shares see to that by themselves, and know no such call."""
    try:
        os.fsync(number)
    except OSError as err:
        if err.errno != errno.EINVAL:
            raise


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, so that they are there after a power cut."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    above = os.open(folder.parent, os.O_RDONLY)
    try:
        _sync_folder(above)
    finally:
        os.close(above)


def _link(source: str, target: Path) -> bool:
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        # With a folder named, though not needed for a whole path: only then does Python ask for what /proc's link leads to.
        os.link(source, target.name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=True)
        _sync_folder(folder)
    except FileExistsError:
        return False
    finally:
        os.close(folder)
    return True
