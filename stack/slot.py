"""A number for this `up` among those that share a data folder, so that each has log files and a Flower file of its own.

The lowest free number is taken, by a lock that the kernel drops with the process: the first `up` on a folder is always
0 and finds the Flower history of the last one.
"""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from topclip.errors import ConfigError

MOST = 64


@dataclass
class Slot:
    """A held number; `number` is -1 while none is held."""

    data_dir: Path
    number: int = -1
    _fd: int = -1

    def __enter__(self) -> Self:
        for number in range(MOST):
            folder = self.data_dir / "logs" / str(number)
            folder.mkdir(parents=True, exist_ok=True)
            fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                continue
            self.number, self._fd = number, fd
            return self
        raise ConfigError(f"{MOST} `topclip up` already run on {self.data_dir}", {"field": "data_dir"})

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        os.close(self._fd)

    @property
    def log_dir(self) -> Path:
        """Folder of this `up`'s logs."""
        return self.data_dir / "logs" / str(self.number)

    @property
    def flower_db(self) -> Path:
        """Flower's file; its folder is made."""
        folder = self.data_dir / "flower"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{self.number}.db"
