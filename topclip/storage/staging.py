"""The local folder in which files are made before they are put into a store."""

import contextlib
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from topclip.errors import StorageUnavailable
from topclip.storage.base import translated

log = logging.getLogger(__name__)

FOLDER_KEPT_S = 86_400.0
"""A folder is small, and read for as long as one task takes, without ever being written again."""


class Staging:
    """A folder for files in the making, the same for every kind of store.

    It is made at the start alone: one that is gone later says that its disk is. Raises: StorageFull, StorageUnavailable.

    is_made: False where it must be there already.
    """

    def __init__(self, folder: Path, *, is_made: bool = True) -> None:
        self._staging = folder.absolute()
        if not is_made:
            return
        with translated(str(self._staging)):
            self._staging.mkdir(parents=True, exist_ok=True)

    def staging(self) -> Path:
        """See ArtifactStore."""
        if not os.path.isdir(self._staging):
            hint = "is the share mounted? A store that was removed on purpose is made anew at the next start"
            raise StorageUnavailable(f"the store is not there: no folder {self._staging}", {"hint": hint})
        return self._staging

    def staged(self) -> list[str]:
        """See ArtifactStore."""
        with translated(self._staging.name):
            return sorted(os.listdir(self.staging()))

    def unstage(self, name: str) -> None:
        """See ArtifactStore."""
        with translated(name):
            (self.staging() / Path(name).name).unlink(missing_ok=True)

    def sweep(self, older_than_s: float) -> int:
        """See ArtifactStore."""
        with translated(self._staging.name):
            return sweep_folder(self.staging(), older_than_s)

    def _scratch(self) -> Path:
        return self.staging() / f"put-{os.getpid()}-{os.urandom(6).hex()}"


@contextlib.contextmanager
def _left(path: str) -> Iterator[None]:
    try:
        yield
    except PermissionError as err:
        log.warning("%s is left as it is: %s", path, err)


def disk_now(folder: Path) -> float:
    """The time by the clock that a folder's files are dated with: another machine's where the disk is shared.

    A machine whose own is hours ahead would take for old what others have in the making. Raises: OSError.
    """
    os.utime(folder)
    return os.stat(folder).st_mtime


def sweep_folder(folder: Path, older_than_s: float) -> int:
    """Remove the plain files of a folder that were not written for so long, and older folders; how many there were.

    Another user's, which may not be removed, are left and told. Raises: OSError.
    """
    n_swept, now = 0, disk_now(folder)
    for entry in os.scandir(folder):
        with contextlib.suppress(FileNotFoundError), _left(entry.path):  # its owner was quicker
            age_s = now - entry.stat(follow_symlinks=False).st_mtime
            if entry.is_file(follow_symlinks=False) and age_s > older_than_s:
                os.unlink(entry.path)
                n_swept += 1
            elif entry.is_dir(follow_symlinks=False) and age_s > max(older_than_s, FOLDER_KEPT_S):
                shutil.rmtree(entry.path)
                n_swept += 1
    return n_swept
