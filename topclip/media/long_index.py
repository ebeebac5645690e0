"""The index of a long MP4, shortened to what of it will be read.

FFmpeg keeps all of an index in memory, and some of it twice while it opens a file: 200 MB for ten hours, of which a chunk needs
a minute. So it is handed the file with another index in the same place, in which most samples are missing; those that are there
lie where they lay and have the times that they had.
"""

import io
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from topclip.media.boxes import HEAD, Numbers, Unusual, box, boxes, inside
from topclip.media.moov import long_index
from topclip.media.part import MARGIN_S, Part
from topclip.media.sample_tables import Track

TO_TABLES = (b"trak", b"mdia", b"minf", b"stbl")


def open_parts(path: Path, place: tuple[int, int], parts: Iterable[Part]) -> BinaryIO | None:
    """The file with an index of these parts alone, and of its start and end; None: its index is none to be shortened.

    place: bytes [start, end) of the index. Raises: OSError.
    """
    try:
        short = _shortened(_content(path, place), list(parts))
    except (Unusual, struct.error, ValueError, LookupError):
        return None  # as it is, then: FFmpeg may know what to make of it
    n_spare = place[1] - place[0] - len(short)
    if n_spare < HEAD.size:
        return None
    return cast(BinaryIO, _Patched(path, place[0], short + HEAD.pack(n_spare, b"free")))


def times_and_sizes(path: Path, index: int) -> tuple[Numbers, Numbers] | None:
    """When the samples of a stream are decoded, in its units from 0, and their sizes, bytes; None: it is none to be shortened.

    index: of the stream in the container. Raises: OSError.
    """
    place = long_index(path)
    if place is None:
        return None
    try:
        track = _tracks(_content(path, place))[index]
        return (track.times, track.sizes.astype(np.int64)) if track.is_long else None
    except (Unusual, struct.error, ValueError, LookupError):
        return None


def _content(path: Path, place: tuple[int, int]) -> memoryview:
    with path.open("rb") as file:
        file.seek(place[0])
        return memoryview(file.read(place[1] - place[0]))[HEAD.size :]


def _tracks(content: memoryview) -> list[Track]:
    if any(kind == b"mvex" for kind, _ in boxes(content)):
        raise Unusual  # most of its index lies elsewhere
    header = inside(content, b"mvhd")
    rate = int.from_bytes(header[20:24] if header[0] else header[12:16], "big")
    return [Track(data, rate) for kind, data in boxes(content) if kind == b"trak"]


def _shortened(content: memoryview, parts: list[Part]) -> bytes:
    tracks = _tracks(content)
    spans = [(_start_s(tracks, part), part.end_s + part.margin_s) for part in parts]
    short: list[bytes] = []
    for kind, data in boxes(content):
        track = tracks.pop(0) if kind == b"trak" else None
        if track is None or not track.is_long:
            short.append(box(kind, data))
        else:
            tables = track.tables_of(track.kept(spans, MARGIN_S))
            short.append(_with_tables(box(kind, data), TO_TABLES, tables))
    return box(b"moov", b"".join(short))


def _start_s(tracks: list[Track], part: Part) -> float:
    """Where reading begins for a part: all tracks must have what is read from the key picture on."""
    start_s = part.start_s - part.margin_s
    return min([start_s, *(track.key_s(start_s) for track in tracks if track.is_long)]) - 1 / 1000


def _with_tables(data: bytes | memoryview, path: tuple[bytes, ...], tables: bytes) -> bytes:
    """Boxes in which what lies at a path has another content."""
    made = []
    for kind, content in boxes(memoryview(data)):
        if kind != path[0]:
            made.append(box(kind, content))
        else:
            made.append(box(kind, _with_tables(content, path[1:], tables) if path[1:] else tables))
    return b"".join(made)


class _Patched(io.RawIOBase):
    """A file in which other bytes stand in one place."""

    def __init__(self, path: Path, at: int, patch: bytes) -> None:
        self._file = path.open("rb", buffering=0)
        self._patch, self._start, self._end = patch, at, at + len(patch)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at}.get(whence)
        self._at = self._file.seek(offset, whence) if base is None else base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        if self._start <= self._at < self._end:
            data = self._patch[self._at - self._start :][: None if size < 0 else size]
        else:
            if self._at < self._start:
                size = self._start - self._at if size < 0 else min(size, self._start - self._at)
            self._file.seek(self._at)
            data = self._file.read(size) or b""
        self._at += len(data)
        return data

    def close(self) -> None:
        self._file.close()
        super().close()
