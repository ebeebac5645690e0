"""A local file whose bytes are brought when somebody reads them: the rest of it is holes.

It has the length of the whole from the beginning, so that each byte lies where it does in the whole. Who reads it by `opened`
brings what is missing; a program of its own, such as ffmpeg, would read zeros there, so that what it will read is brought
before. What was brought stays: no byte is asked for twice.
"""

import io
import os
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Final, Self, cast

from topclip.errors import JobStopped, StorageError, StorageFull, TopClipError
from topclip.media.ffmpeg import NO_ROOM_NUMBERS

BLOCK_BYTES: Final = 256 << 10
AHEAD_SHARE: Final = 8
MOST_AHEAD: Final = 16
"""Who reads on and on is brought so many blocks at once: an eighth of those that were read in a row, at most 4 MiB. A request
costs about as long as a block, and no more than that share is brought in vain."""
FILL_BYTES: Final = 4 << 20

Read = Callable[[int, int], bytes]
"""read(start, end): the bytes of [start, end), all of them."""


class SparseFile:
    """One file of its own making; safe to use from many threads. A context: behind it the file is gone, and what bringing bytes
    has failed with is raised, whatever came of it.

    head: the first block. read: raises TopClipError for what speaks against the source. Once it did nothing is brought any
    more: a demuxer may take the error for the end of the file.
    """

    def __init__(self, path: Path, size: int, head: bytes, read: Read) -> None:
        self.path, self.size = path, size
        self._read, self._lock = read, Lock()
        self._here = bytearray(-(-size // BLOCK_BYTES))
        self._row, self._next = 0, 0
        self._failure: TopClipError | KeyboardInterrupt | None = None
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.truncate(self._fd, size)
        self._write(0, head)
        self._here[0] = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
        self.path.unlink(missing_ok=True)
        if self._failure is not None:
            raise self._failure

    @property
    def is_whole(self) -> bool:
        """Whether no hole is left."""
        return all(self._here)

    def opened(self) -> BinaryIO:
        """The file for reading, as PyAV takes it."""
        return cast(BinaryIO, _Reading(self))

    def fill(self) -> None:
        """Have all of it here."""
        n = FILL_BYTES // BLOCK_BYTES
        for block in range(0, len(self._here), n):
            self._bring(block, block + n)

    def read_at(self, at: int, n: int) -> bytes:
        """At most n bytes from a place on, brought if need be; none at the end only."""
        if not 0 <= at < self.size:
            return b""
        block = at // BLOCK_BYTES
        if not self._here[block]:
            self._bring(block, block + 1)
        return os.pread(self._fd, min(n, (block + 1) * BLOCK_BYTES - at), at)

    def _bring(self, block: int, stop: int) -> None:
        """Have these blocks here. Raises: what `read` raises; StorageError."""
        with self._lock:
            stop = min(stop, len(self._here))
            while block < stop:
                block = block + 1 if self._here[block] else self._fetch(block, stop)

    def _fetch(self, block: int, stop: int) -> int:
        """Bring what is missing from one block on to another, and what may be read next; the first block behind it."""
        if self._failure is not None:
            raise JobStopped("the source cannot be read any more")
        self._row = self._row if block == self._next else 0
        ahead = min(max(1, self._row // AHEAD_SHARE), MOST_AHEAD)
        stop = min(max(stop, block + ahead), len(self._here))
        end = next((n for n in range(block, stop) if self._here[n]), stop)
        start = block * BLOCK_BYTES
        try:
            self._write(start, self._read(start, min(end * BLOCK_BYTES, self.size)))
        except TopClipError as err:
            self._failure = err
            raise
        except KeyboardInterrupt as err:  # FFmpeg, which stands between, would lose it
            self._failure = err
            raise JobStopped("interrupted") from err
        self._here[block:end] = b"\1" * (end - block)
        self._row, self._next = self._row + end - block, end
        return end

    def _write(self, start: int, content: bytes) -> None:
        try:
            while content:
                n = os.pwrite(self._fd, content, start)
                start, content = start + n, content[n:]
        except OSError as err:
            kind = StorageFull if err.errno in NO_ROOM_NUMBERS else StorageError
            raise kind(f"the source cannot be written here: {err.strerror}", {"field": "source"}) from err


class _Reading(io.RawIOBase):
    """One reader of it, with its place."""

    def __init__(self, sparse: SparseFile) -> None:
        self._sparse, self._at = sparse, 0
        self.name = str(sparse.path)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._sparse.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int = -1) -> bytes:
        try:
            found = self._sparse.read_at(self._at, self._sparse.size if size < 0 else size)
        except TopClipError:
            # It is raised at the end. FFmpeg, which stands between, would drop it here, and print where it was.
            return b""
        self._at += len(found)
        return found
