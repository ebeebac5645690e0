"""What is wrong with an MP4 in fragments whose pictures no decoder takes. Asked only once none does."""

import struct
from pathlib import Path

BASE_IS_TOLD = 0x1
"""Flag of a track fragment's header: the place that its data is counted from stands in it, from the file's start."""
MOST_BOXES = 100


def are_misplaced(path: Path) -> bool:
    """Whether the first fragment's data is looked for elsewhere than it lies: an index was put before it afterwards.

    FFmpeg's muxer writes such files with `global_sidx` and without `default_base_moof`; it does not read them either.
    """
    try:
        with path.open("rb") as file:
            at, has_index = 0, False
            for _ in range(MOST_BOXES):
                file.seek(at)
                size, kind = struct.unpack(">I4s", file.read(8))
                has_index |= kind == b"sidx"
                if kind == b"moof":
                    return has_index and _base(file.read(size - 8)) not in (None, at)
                at += size if size != 1 else struct.unpack(">Q", file.read(8))[0]
    except (OSError, struct.error):
        pass
    return False


def _base(moof: bytes) -> int | None:
    """Where a fragment says that its data is counted from, if it says so."""
    at = moof.find(b"tfhd")
    if at < 0 or not struct.unpack_from(">I", moof, at + 4)[0] & BASE_IS_TOLD:
        return None
    return int(struct.unpack_from(">Q", moof, at + 12)[0])
