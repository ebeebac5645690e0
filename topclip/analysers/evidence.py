"""What was seen of a clip's subject: faces, and how motion and contrast lie over the picture, for each picture looked at.

Must not touch media or the store; decides nothing.
"""

import io
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from topclip.analysers.attention import Grey, contrast, motion, shrink

EVIDENCE_VERSION = "1"
AREA_PX = 4
"""Side of the squares by whose number the area is told that moves: something plain moves at its edges only."""

Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Evidence:
    """The pictures looked at, in order.

    pts: int64 (n,). cut_pts: int64, first frames of new shots. looked: bool (n,), whether faces were looked for.
    faces: int32 (m, 6): index of the picture, then centre x, centre y, width, height, score in thousandths.
    area: int32 (n,): thousandths of the picture's squares in which something moves of its own.
    motion_x, motion_y, contrast_x, contrast_y: int32 (n, k): sums of motion and contrast over the picture's columns and rows, k
    equal parts of its width and height.
    """

    pts: NDArray[np.int64]
    cut_pts: NDArray[np.int64]
    looked: NDArray[np.bool_]
    faces: Ints
    area: Ints
    motion_x: Ints
    motion_y: Ints
    contrast_x: Ints
    contrast_y: Ints

    def to_bytes(self) -> bytes:
        """As a compressed npz file."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **{f.name: getattr(self, f.name) for f in fields(self)})
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """The arrays back. Raises: ValueError or KeyError if it is no such file."""
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return cls(**{f.name: arrays[f.name] for f in fields(cls)})


class EvidenceTaker:
    """Takes pictures in order; holds two of them at most."""

    def __init__(self, cut_pts: tuple[int, ...]) -> None:
        self._cuts = np.array(cut_pts, np.int64)
        self._pts: list[int] = []
        self._looked: list[bool] = []
        self._faces: list[Ints] = []
        self._rows: list[tuple[Ints, ...]] = []
        self._last: list[tuple[Grey, int]] = []
        """The last two pictures, each with the number of its shot."""

    def add(self, pts: int, grey: Grey, faces: Ints | None) -> None:
        """Take the next picture. faces: int32 (m, 5), None: they were not looked for."""
        if faces is not None and len(faces):
            self._faces.append(np.insert(faces, 0, len(self._pts), axis=1).astype(np.int32))
        self._pts.append(pts)
        self._looked.append(faces is not None)
        self._measure((grey, int(np.searchsorted(self._cuts, pts, side="right"))))

    def finish(self) -> Evidence:
        """All that was seen."""
        self._measure(None)
        columns = zip(*self._rows, strict=True) if self._rows else [()] * 5
        area, *sums = (np.array(column, np.int32) for column in columns)
        faces = np.concatenate(self._faces) if self._faces else np.empty((0, 6), np.int32)
        return Evidence(np.array(self._pts, np.int64), self._cuts, np.array(self._looked, np.bool_), faces, area, *sums)

    def _measure(self, following: tuple[Grey, int] | None) -> None:
        """Measure the picture taken last, now that the one after it is known."""
        if self._last:
            now, shot = self._last[-1]
            before = self._last[0][0] if len(self._last) == 2 and self._last[0][1] == shot else None
            after = following[0] if following is not None and following[1] == shot else None
            moving, around = motion(before, now, after), contrast(now)
            area = np.int32(
                1000 * np.count_nonzero(shrink(moving * AREA_PX**2, AREA_PX)) // (moving.size // AREA_PX**2)
            )
            sums = [part.sum(axis=axis, dtype=np.int32) for part in (moving, around) for axis in (0, 1)]
            self._rows.append((np.asarray(area), *sums))
        if following is not None:
            self._last = [*self._last[-1:], following]
