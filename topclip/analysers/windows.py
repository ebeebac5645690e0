"""Means over time, for analysers that look at more than a moment. Pure."""

import numpy as np

from topclip.analysers.tracks import BAND_FLOOR_DB, BAND_STEP_DB, LEVEL_HOP_S, N_BANDS, Array, Tracks

HOP_S = 0.5
BLOCK = 1 << 16
"""Values at once, so that ten hours take little memory."""
LEVELS_PER_HOP = round(HOP_S / LEVEL_HOP_S)


POWERS = 10 ** ((np.arange(256) * BAND_STEP_DB + BAND_FLOOR_DB) / 10)
"""Mean square by the tracks' steps."""


def band_power(tracks: Tracks, first: int = 0, last: int = N_BANDS) -> Array:
    """Mean square of the bands [first, last) together, float64, (2m,)."""
    total = np.zeros(len(tracks.spectra))
    for band in range(first, last):
        total += POWERS[tracks.spectra[:, band]]
    return total


def moving_mean(values: Array, seconds: float, hop_s: float = LEVEL_HOP_S) -> Array:
    """Means over `seconds` around each value, of as many as there are at both ends. values: (n,) or (n, k)."""
    half = max(0, round(seconds / hop_s / 2))
    n = len(values)
    sums = np.zeros((n + 1, *values.shape[1:]))
    np.cumsum(values, axis=0, dtype=np.float64, out=sums[1:])
    means = np.empty_like(sums[1:])
    for first in range(0, n, BLOCK):
        at = np.arange(first, min(first + BLOCK, n))
        low, high = np.maximum(at - half, 0), np.minimum(at + half + 1, n)
        counts = (high - low).reshape(-1, *[1] * (values.ndim - 1))
        means[at] = (sums[high] - sums[low]) / counts
    return means


def by_hops(values: Array, per_hop: int = LEVELS_PER_HOP) -> Array:
    """Means of every per_hop values; the last of what is left. values: (n,), n > 0."""
    starts = np.arange(0, len(values), per_hop)
    counts = np.minimum(per_hop, len(values) - starts)
    means: Array = np.add.reduceat(values.astype(np.float64), starts) / counts
    return means
