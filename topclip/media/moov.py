"""Where an MP4 keeps its index, and whether that is long. Quick to load, as probe must be."""

import io
import struct
from pathlib import Path

LONG_BYTES, MOST_BYTES = 4 << 20, 1 << 28
"""Of an index that is not loaded whole: what is less takes some 30 MB, an hour of video; what is more no film has."""
MOST_BOXES = 1024


def long_index(path: Path) -> tuple[int, int] | None:
    """Bytes [start, end) of a file's index, if that is long; None: it is not, or there is none. Raises: OSError."""
    with path.open("rb") as file:
        length, at = file.seek(0, io.SEEK_END), 0
        for _ in range(MOST_BOXES):
            file.seek(at)
            head = file.read(16)
            if len(head) < 16:
                return None
            size, kind = struct.unpack_from(">I4s", head)
            if kind == b"moov":
                return (at, at + size) if LONG_BYTES < size <= min(MOST_BYTES, length - at) else None
            if size == 1:
                size = int.from_bytes(head[8:], "big")
            if size < 8 or kind == b"moof" or (at == 0 and kind != b"ftyp"):
                return None
            at += size
    return None
