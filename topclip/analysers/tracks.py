"""What decoding leaves of a source: a few numbers for each frame and each 50 ms of sound. Must not touch media.

Pictures come in one at a time and leave at once, so memory does not grow with them; the numbers are enough to decide
about cuts later, over the whole source, where no chunk has a seam.
"""

import io
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

ANALYSIS_VERSION = "16"
"""Raise it with every change of the numbers: analysis is cached under it."""
KEY, DRAWN = 1, 2
"""Bits of a picture's kind: a key frame; not decoded, but drawn between its neighbours."""
N_LAGS = 5
"""A flash lasts at most 4 frames: the picture after it is compared with the one before it."""
SOUND_HOP_S = 0.1
LEVEL_HOP_S = 0.05
N_BANDS = 8
"""Bands of the sound's spectrum, from 40, 140, 300, 600, 1200, 2400, 4800 and 8000 Hz on, the last to 12 000 Hz."""
BAND_FLOOR_DB = -120.0
BAND_STEP_DB = 0.5

Array = NDArray[Any]


@dataclass(frozen=True)
class Tracks:
    """Numbers of a span of the source, or of all of it.

    pts: int64 (n,), rising. differences: float32 (n, N_LAGS), mean absolute grey difference 0-255 to the frame 1 to
    N_LAGS before; not a number where there is none. layouts: float32 (n,), mean absolute difference of the parts' means to
    the frame before. grids: uint8 (n, N_BLOCKS), the parts' means. tones: uint8 (n, N_TONES), share of each tone, 255 being
    all. kinds: uint8 (n,), bits. head, tail: uint8 (k, 36, 64), the first and last N_LAGS pictures.
    loudness_lufs: float32 (m,), momentary, one for each SOUND_HOP_S; levels_db: float32 (2m,), RMS, one for each
    LEVEL_HOP_S; not a number where unknown, both empty without sound. spectra: uint8 (2m, N_BANDS + 1), one for each
    LEVEL_HOP_S: the bands' powers in steps of BAND_STEP_DB above BAND_FLOOR_DB, a sine at full scale being at -3 dB, and the
    noisiness, of 255; 0 where unknown. Whole numbers in coarse steps, so that no machine's last bit is in them.
    n_corrupt: int64 (1,), packets passed over.
    """

    pts: Array
    differences: Array
    layouts: Array
    grids: Array
    tones: Array
    kinds: Array
    head: Array
    tail: Array
    loudness_lufs: Array
    levels_db: Array
    spectra: Array
    n_corrupt: Array

    def to_bytes(self) -> bytes:
        """The arrays as an npz file; the same arrays give the same bytes."""
        out = io.BytesIO()
        np.savez(out, **{f.name: getattr(self, f.name) for f in fields(self)})
        return out.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """The arrays back. Raises: ValueError or KeyError if it is no such file."""
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return cls(**{f.name: arrays[f.name] for f in fields(cls)})

    @classmethod
    def joined(cls, parts: "Iterable[Tracks]") -> Self:
        """The parts one after the other. Nothing of them is kept: hours of them are as large as what comes out."""
        found: dict[str, _Growing] = {}
        for part in parts:
            for f in fields(cls):
                array: Array = getattr(part, f.name)
                found.setdefault(f.name, _Growing(array)).add(array)
        joined = {name: grown.cut() for name, grown in found.items()}
        ends = {"head": joined["head"][:N_LAGS].copy(), "tail": joined["tail"][-N_LAGS:].copy()}
        return cls(**joined | ends)


class _Growing:
    """An array that takes others at its end, in place: thousands of small ones kept would leave holes in memory."""

    def __init__(self, like: Array) -> None:
        self._array, self._n = np.empty((0, *like.shape[1:]), like.dtype), 0

    def add(self, part: Array) -> None:
        end = self._n + len(part)
        if end > len(self._array):
            self._resize(end + end // 4)
        self._array[self._n : end] = part
        self._n = end

    def cut(self) -> Array:
        """All that was taken."""
        self._resize(self._n)
        return self._array

    def _resize(self, n: int) -> None:
        self._array.resize((n, *self._array.shape[1:]), refcheck=False)


class SoundNumbers:
    """Takes 100 ms blocks of sound, keeps what lies in [start_s, end_s) of the source."""

    def __init__(self, start_s: float, end_s: float) -> None:
        self._first = round(start_s / SOUND_HOP_S)
        self._n = max(0, round(end_s / SOUND_HOP_S) - self._first)
        self._loudness = np.full(self._n, np.nan, np.float32)
        self._levels = np.full((self._n, 2), np.nan, np.float32)
        self._spectra = np.zeros((self._n, 2, N_BANDS + 1), np.float32)

    def add(self, start_s: float, momentary_lufs: float, levels_db: Array, spectra: Array) -> None:
        """Take a block that begins at start_s of the source.

        Its loudness is that of the 400 ms up to its end: that belongs to the hop one before it, whose middle it has.
        """
        k = round(start_s / SOUND_HOP_S) - self._first
        if 0 <= k < self._n:
            self._levels[k], self._spectra[k] = levels_db, spectra
        if 1 <= k <= self._n:
            self._loudness[k - 1] = momentary_lufs

    def arrays(self) -> dict[str, Array]:
        """The sound's part of Tracks."""
        return {
            "loudness_lufs": self._loudness,
            "levels_db": self._levels.reshape(-1),
            "spectra": _in_steps(self._spectra.reshape(-1, N_BANDS + 1)),
        }


def _in_steps(spectra: Array) -> Array:
    """Band powers and noisiness as whole numbers."""
    found = spectra.astype(np.float64)
    powers = np.maximum(found[:, :N_BANDS], 10 ** (BAND_FLOOR_DB / 10))
    found[:, :N_BANDS] = (10 * np.log10(powers) - BAND_FLOOR_DB) / BAND_STEP_DB
    found[:, N_BANDS] *= 255
    return np.clip(np.rint(found), 0, 255).astype(np.uint8)
