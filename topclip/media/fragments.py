"""An MP4 in fragments that lie elsewhere than they say: an index was put before them afterwards.

FFmpeg's muxer writes such files with `global_sidx` and without `default_base_moof`, and does not read them. Read without that
index they are right.
"""

import struct
from pathlib import Path
from typing import BinaryIO

BASE_IS_TOLD = 0x1
"""Flag of a track fragment's header: the place that its data is counted from stands in it, from the file's start."""
HEADS = frozenset({b"ftyp", b"moov", b"free", b"uuid", b"sidx"})
"""What may stand before the first fragment."""
MOST_HEADS, MOST_BYTES = 64, 1 << 16
"""Of them, and of a fragment's head that is read: a file may be made of nothing else."""


def displacing_index(path: Path) -> tuple[int, int] | None:
    """Bytes [start, end) of the index without which the fragments lie where they say; None where they do already."""
    try:
        with path.open("rb") as file:
            return _index(file)
    except (OSError, struct.error):
        return None  # whoever opens it tells


def _index(file: BinaryIO) -> tuple[int, int] | None:
    at, first = 0, None
    for _ in range(MOST_HEADS):
        file.seek(at)
        size, kind = struct.unpack(">I4s", file.read(8))
        if kind == b"moof":
            return None if first is None or _base(file.read(min(size - 8, MOST_BYTES))) != first else (first, at)
        if kind not in HEADS or size < 8:
            return None
        first = (at if first is None else first) if kind == b"sidx" else None
        at += size
    return None


def _base(moof: bytes) -> int | None:
    """Where a fragment says that its data is counted from, if it says so."""
    at = moof.find(b"tfhd")
    if at < 0 or not struct.unpack_from(">I", moof, at + 4)[0] & BASE_IS_TOLD:
        return None
    return int(struct.unpack_from(">Q", moof, at + 12)[0])
