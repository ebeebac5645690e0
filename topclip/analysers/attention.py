"""What draws the eye in small grey pictures: motion against that of the whole picture, and contrast to what lies around.

Whole numbers in and out, so that no machine's last bit decides where a picture is cut.
"""

from itertools import product

import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.int16]

LEAST_CHANGE = 7
"""Grey levels of a point; less is noise of the camera or the encoder"""
NOISE_FACTOR = 4
"""as is less than so many times the picture's median change."""
LEAST_GAIN = 0.9
"""The whole picture went somewhere only if that leaves no more than this of the change."""
N_PEAKS = 4
"""Shifts that are tried: a bright thing may correlate better than what lies behind it."""
CLIP = 16
AROUND_PX = 12
"""Reach of what a point's contrast is told against."""


def shrink(plane: NDArray[np.uint8] | Grey, by: int) -> Grey:
    """Means of squares of so many points, int16; plane: with sides that are multiples."""
    height, width = plane.shape
    parts = plane.reshape(height // by, by, width // by, by)
    means: Grey = (parts.sum(axis=(1, 3), dtype=np.int64) // (by * by)).astype(np.int16)
    return means


def motion(before: Grey | None, now: Grey, after: Grey | None) -> Grey:
    """How much each point of a picture moves of its own, grey levels: what changed both since the picture before and until
    the one after, once the motion of the whole is taken off. What moved is found where it is now, not where it was.

    None: there is none in the shot. Nothing moves in a picture that stands alone.
    """
    changes = [change(other, now) for other in (before, after) if other is not None]
    return np.min(changes, axis=0) if changes else np.zeros_like(now)


def change(other: Grey, now: Grey) -> Grey:
    """What a picture has that another one has not, at any place within a point of where the motion of the whole brings it."""
    down, right = _shift(other, now)
    height, width = now.shape
    padded = np.pad(other, ((1, 1), (1, 1)), mode="edge")
    least = np.full(now.shape, 255, np.int16)
    for dy, dx in product((-1, 0, 1), (-1, 0, 1)):
        moved = np.roll(padded[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width], (down, right), (0, 1))
        np.minimum(least, np.abs(now - moved), out=least)
    least[: max(0, down)], least[height + min(0, down) :] = 0, 0
    least[:, : max(0, right)], least[:, width + min(0, right) :] = 0, 0
    least[least < max(LEAST_CHANGE, NOISE_FACTOR * int(np.median(least)))] = 0
    return least


def _shift(other: Grey, now: Grey) -> tuple[int, int]:
    """By how many points down and right the whole picture went, by phase correlation; none where that explains little."""
    window = np.outer(np.hanning(now.shape[0]), np.hanning(now.shape[1]))
    spectra = [np.fft.rfft2((picture - picture.mean()) * window) for picture in (now, other)]
    cross = spectra[0] * np.conj(spectra[1])
    peaks = np.round(np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-9), now.shape), 6)
    found = np.unravel_index(np.argsort(-peaks, axis=None, kind="stable")[:N_PEAKS], peaks.shape)
    halves = (now.shape[0] // 2, now.shape[1] // 2)
    shifts = [
        (int(y + halves[0]) % now.shape[0] - halves[0], int(x + halves[1]) % now.shape[1] - halves[1])
        for y, x in zip(*found, strict=True)
    ]
    left = {shift: _left(other, now, shift) for shift in shifts}
    best = min(shifts, key=left.__getitem__)
    return best if left[best] < LEAST_GAIN * _left(other, now, (0, 0)) else (0, 0)


def _left(other: Grey, now: Grey, shift: tuple[int, int]) -> float:
    """Mean change that a shift of the whole leaves; what stands out counts no more than CLIP, so that most points decide."""
    inner = tuple(slice(max(0, by), side + min(0, by)) for by, side in zip(shift, now.shape, strict=True))
    off = np.abs(now - np.roll(other, shift, (0, 1)))[inner]
    return round(float(np.minimum(off, CLIP).mean()), 6) if 2 * off.size > now.size else float(CLIP)


def contrast(now: Grey) -> Grey:
    """How much each point differs from the mean of what lies around it, grey levels."""
    size = 2 * AROUND_PX + 1
    sums = np.pad(now, AROUND_PX, mode="edge").astype(np.int64)
    for axis in (0, 1):
        total = np.insert(np.cumsum(sums, axis=axis), 0, 0, axis=axis)
        sums = np.take(total, range(size, total.shape[axis]), axis) - np.take(
            total, range(total.shape[axis] - size), axis
        )
    off: Grey = np.abs(now - (sums // size**2)).astype(np.int16)
    return off
