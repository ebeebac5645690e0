"""Pictures to numbers, in batches; what is left of each tells its shot's end from its motion. Must not touch media.

Sums are of whole numbers, so they do not depend on how pictures were put together.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from topclip.analysers.tracks import DRAWN, KEY, N_LAGS, Array

N_TONES = 16
BLOCK_ROWS, BLOCK_COLUMNS = 4, 8
"""Parts of a picture whose mean grey shows its layout: fine patterns that shimmer leave them alone."""
N_BLOCKS = BLOCK_ROWS * BLOCK_COLUMNS
SHAPE = (36, 64)
"""Rows and columns of a picture."""
BATCH = 64

Thumbs = NDArray[np.uint8]
Floats = NDArray[np.float32]


class FrameNumbers:
    """Takes pictures in order, keeps the numbers of the owned ones, and the first and last N_LAGS pictures themselves."""

    def __init__(self) -> None:
        self._before: list[Thumbs] = []
        self._batch: list[Thumbs] = []
        self._head: list[Thumbs] = []
        self._pts: list[int] = []
        self._kinds = bytearray()
        self._parts: list[dict[str, Array]] = []

    def add(self, pts: int, thumb: Thumbs, *, is_owned: bool, is_key: bool = False, is_drawn: bool = False) -> None:
        """Take the next picture, uint8 grey, shape (36, 64). Those that are not owned come before all others."""
        if not is_owned:
            self._before = [*self._before, thumb][-N_LAGS:]
            return
        self._pts.append(pts)
        self._kinds.append(KEY * is_key | DRAWN * is_drawn)
        self._batch.append(thumb)
        if len(self._head) < N_LAGS:
            self._head.append(thumb)
        if len(self._batch) == BATCH:
            self._flush()

    @property
    def n_frames(self) -> int:
        """Owned frames so far."""
        return len(self._pts)

    def _flush(self) -> None:
        batch, before = self._batch, self._before
        self._parts.append(_numbers(np.stack(batch), before))
        self._before, self._batch = [*before, *batch][-N_LAGS:], []

    def arrays(self) -> dict[str, Array]:
        """The pictures' part of Tracks."""
        if self._batch:
            self._flush()
        if not self._parts:
            self._parts.append(_no_numbers())
        n_tail = min(N_LAGS, len(self._pts))
        found = {name: np.concatenate([part[name] for part in self._parts]) for name in self._parts[0]}
        tail = self._before[len(self._before) - n_tail :]
        known: dict[str, Array] = {
            "pts": np.array(self._pts, np.int64),
            "kinds": np.frombuffer(bytes(self._kinds), np.uint8),
        }
        return {**known, **found, "head": stacked(self._head), "tail": stacked(tail)}


def stacked(thumbs: Sequence[Thumbs]) -> Thumbs:
    """Pictures as one array, uint8 (n, 36, 64), also if there are none."""
    return np.stack(thumbs) if thumbs else np.empty((0, *SHAPE), np.uint8)


def _numbers(thumbs: Thumbs, before: Sequence[Thumbs]) -> dict[str, Array]:
    """What Tracks keeps of some pictures in a row. before: those right before them, N_LAGS at most."""
    grids = grids_of(np.concatenate([stacked(before[-1:]), thumbs]))
    counts = np.stack([np.bincount(t.reshape(-1) >> 4, minlength=N_TONES) for t in thumbs])
    return {
        "differences": differences(thumbs, stacked(before)),
        "layouts": layouts(grids, len(thumbs)),
        "grids": np.round(grids[len(grids) - len(thumbs) :]).astype(np.uint8),
        "tones": np.round(counts * (255 / thumbs[0].size)).astype(np.uint8),
    }


def _no_numbers() -> dict[str, Array]:
    return {
        "differences": np.empty((0, N_LAGS), np.float32),
        "layouts": np.empty(0, np.float32),
        "grids": np.empty((0, N_BLOCKS), np.uint8),
        "tones": np.empty((0, N_TONES), np.uint8),
    }


def differences(thumbs: Thumbs, before: Thumbs) -> Floats:
    """Mean absolute grey difference to the frame 1 to N_LAGS before, float32 (n, N_LAGS); not a number where none is known.

    thumbs: uint8 (n, 36, 64). before: those right before them, uint8 (m, 36, 64), N_LAGS of them are enough.
    """
    n, m = len(thumbs), len(before)
    flat = np.concatenate([before, thumbs]).reshape(n + m, -1).astype(np.int16)
    found = np.full((n, N_LAGS), np.nan, np.float32)
    for lag in range(1, N_LAGS + 1):
        first = max(0, lag - m)
        if first < n:
            sums = np.abs(flat[m + first :] - flat[m + first - lag : m + n - lag]).sum(axis=1, dtype=np.int64)
            found[first:, lag - 1] = sums / flat.shape[1]
    return found


def layouts(grids: NDArray[np.float64], n: int) -> Floats:
    """Mean absolute difference of the parts' means to the frame before, of the last n; not a number where there is none before.

    grids: float64 (n or n + 1, N_BLOCKS).
    """
    found = np.full(n, np.nan, np.float32)
    changes = np.abs(np.diff(grids, axis=0)).mean(axis=1)
    found[n - len(changes) :] = changes
    return found


def grids_of(thumbs: Thumbs) -> NDArray[np.float64]:
    """Mean grey of each part, float64 (n, N_BLOCKS), exact to a share of the part's points."""
    n, rows, columns = thumbs.shape
    high, wide = rows // BLOCK_ROWS, columns // BLOCK_COLUMNS
    parts = thumbs.reshape(n, BLOCK_ROWS, high, BLOCK_COLUMNS, wide)
    sums = parts.sum(axis=(2, 4), dtype=np.int64).reshape(n, N_BLOCKS)
    means: NDArray[np.float64] = sums / (high * wide)
    return means
