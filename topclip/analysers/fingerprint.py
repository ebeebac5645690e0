"""What each second of a source looks and sounds like, coarse enough to be compared with any other second. Pure.

Whole numbers, so small that float32 holds all sums of their products exactly: comparing them gives the same bits on every
machine, in whatever order its library adds.
"""

import numpy as np

from topclip.analysers.frames import N_TONES
from topclip.analysers.motion import HOP_S as MOTION_HOP_S
from topclip.analysers.motion import motion
from topclip.analysers.tracks import LEVEL_HOP_S, N_BANDS, Array, Tracks

STEP_S = 1.0
BAND_STEPS = 6
"""Bands count in 3 dB: six of the tracks' steps."""
TONE_STEPS = 16
MOTION_PER_OCTAVE = 4


def fingerprints(tracks: Tracks, cuts: Array, tick_s: float) -> Array:
    """One for each STEP_S of the pictures' time.

    Returns: int16 (n, N_BANDS + N_TONES + 1): bands of the sound (0 without), tones, motion.
    """
    seen = motion(tracks, cuts, tick_s)
    if seen is None:
        return np.empty((0, N_BANDS + N_TONES + 1), np.int16)
    per_step = round(STEP_S / MOTION_HOP_S)
    n = -(-len(seen.values) // per_step)
    moved = (
        np.pad(seen.values.astype(np.float64), (0, n * per_step - len(seen.values))).reshape(n, per_step).mean(axis=1)
    )
    found = np.zeros((n, N_BANDS + N_TONES + 1), np.int16)
    found[:, :N_BANDS] = np.rint(_means(tracks.spectra[:, :N_BANDS], n) / BAND_STEPS)
    found[:, N_BANDS:-1] = np.rint(_tones(tracks, tick_s, n) / TONE_STEPS)
    found[:, -1] = np.rint(MOTION_PER_OCTAVE * np.log2(1 + moved))
    return found


def _means(spectra: Array, n: int) -> Array:
    """The bands' means over each step."""
    if not len(spectra):
        return np.zeros((n, N_BANDS))
    per_step = round(STEP_S / LEVEL_HOP_S)
    padded = np.zeros((n * per_step, N_BANDS))
    padded[: len(spectra)] = spectra[: len(padded)]
    means: Array = padded.reshape(n, per_step, N_BANDS).mean(axis=1)
    return means


def _tones(tracks: Tracks, tick_s: float, n: int) -> Array:
    """The tones' means over each step; where no picture begins, those of the one that still stands."""
    steps = ((tracks.pts - tracks.pts[0]) * tick_s / STEP_S).astype(np.int64)
    counts = np.bincount(steps, minlength=n)
    first = np.concatenate([[0], np.cumsum(counts)])[:n]
    # One by one, so that ten hours take little memory.
    shares = (np.append(share, 0) for share in tracks.tones.T)
    sums = np.stack([np.add.reduceat(share, first, dtype=np.int64) for share in shares], axis=1)
    last = np.maximum.accumulate(np.where(counts > 0, np.arange(n), 0))
    means: Array = (sums / np.maximum(1, counts)[:, None])[last]
    return means
