"""What a moment of sound is made of: a few numbers of its spectrum. Knows nothing of files or frames."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

BAND_EDGES_HZ = (40, 140, 300, 600, 1200, 2400, 4800, 8000, 12_000)
"""Octaves but for both ends: rumble, a voice's fundamental, four of vowels and consonants, what hisses, what glitters."""
N_BANDS = len(BAND_EDGES_HZ) - 1
NOISY_BANDS = slice(3, 6)
"""Where noise is told from notes: 600 to 4800 Hz."""
TINY = np.float32(1e-20)

Samples = NDArray[np.float32]


def spectra(stereo: Samples, rate_hz: int) -> Samples:
    """Numbers of moments of sound, each looked at by itself.

    stereo: float32 (k, 2 n), k moments of n interleaved pairs, full scale 1; n is even. Returns: float32 (k, N_BANDS + 1): mean
    square of the mono mix in each band; and its noisiness, 0-1: near 0 for notes, about 0.78 for noise, as the mean magnitude
    squared over the mean power. Every second pair is mixed into the one before it: half the work for what is heard the same.
    """
    k, n = stereo.shape[0], stereo.shape[1] // 4
    window, edges, scale = _shape(n, rate_hz)
    mono = stereo.reshape(k, n, 4) @ _QUARTERS
    magnitudes = np.abs(np.fft.rfft(mono * window))
    both = np.concatenate([magnitudes, np.square(magnitudes)])
    sums = np.add.reduceat(both, edges, axis=1)[:, :N_BANDS]
    means, powers = sums[:k, NOISY_BANDS].sum(axis=1), sums[k:, NOISY_BANDS].sum(axis=1)
    found = np.empty((k, N_BANDS + 1), np.float32)
    found[:, :N_BANDS] = sums[k:] * scale
    found[:, N_BANDS] = means * means / np.maximum(powers * _n_noisy(edges), TINY)
    return found


_QUARTERS = np.full(4, 0.25, np.float32)


def _n_noisy(edges: tuple[int, ...]) -> int:
    return edges[NOISY_BANDS.stop] - edges[NOISY_BANDS.start]


@lru_cache(maxsize=4)
def _shape(n: int, rate_hz: int) -> tuple[Samples, tuple[int, ...], np.float32]:
    """Hann window, first bins of the bands and of what lies behind them, and the scale from power to mean square."""
    window = np.hanning(n).astype(np.float32)
    edges = tuple(round(hz * n / (rate_hz / 2)) for hz in BAND_EDGES_HZ)
    return window, edges, np.float32(2 / (n * float(np.square(window).sum())))
