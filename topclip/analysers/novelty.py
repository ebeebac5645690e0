"""Novelty: how unlike the rest of the source a moment is. Repeated material, such as jingles, replays and loops, scores low."""

import numpy as np

from topclip.analysers.fingerprint import STEP_S, fingerprints
from topclip.analysers.tracks import Array, Tracks
from topclip.analysers.windows import HOP_S, moving_mean
from topclip.model.analysis import Signal

APART_S = 10.0
"""Closer than this it is the same moment, not its repetition; what goes on for twice as long repeats itself."""
LEAST_S = 60.0
"""A shorter source has no time to repeat itself."""
N_NEAREST = 3
SMOOTH_S = 3.0
MAX_PAIRS = 16_000_000
"""Up to an hour each second is compared with each other one, in a longer source with every second, third ... one."""
ROWS = 512
DIGITS = 2


def novelty(tracks: Tracks, cuts: Array, tick_s: float) -> Signal | None:
    """Distance to the N_NEAREST most like moments at least APART_S away, in steps of the fingerprint. None in a short source.

    A moment is three seconds in their order, so that a repetition must go on for a while.
    """
    found = fingerprints(tracks, cuts, tick_s).astype(np.float32)
    n = len(found)
    if n * STEP_S < LEAST_S:
        return None
    ends = np.pad(found, ((1, 1), (0, 0)), mode="edge")
    moments = np.concatenate([ends[:-2], found, ends[2:]], axis=1)
    stride = -(-n * n // MAX_PAIRS)
    distances = [_nearest(moments, i, min(n, i + ROWS), stride) for i in range(0, n, ROWS)]
    smooth = moving_mean(np.concatenate(distances), SMOOTH_S, STEP_S)
    values = np.repeat(np.round(smooth, DIGITS).astype(np.float32), round(STEP_S / HOP_S))
    return Signal("novelty", HOP_S, values)


def _nearest(moments: Array, first: int, last: int, stride: int) -> Array:
    """Mean distance of the moments [first, last) to the ones most like them."""
    rows, others = moments[first:last], moments[::stride]
    squares = np.square(rows).sum(axis=1)[:, None] + np.square(others).sum(axis=1)[None] - 2 * (rows @ others.T)
    is_near = np.abs(np.arange(first, last)[:, None] - np.arange(0, len(moments), stride)[None]) * STEP_S < APART_S
    squares[is_near] = np.inf
    nearest = np.partition(squares, N_NEAREST - 1, axis=1)[:, :N_NEAREST]
    means: Array = np.sqrt(np.sort(nearest, axis=1).astype(np.float64)).mean(axis=1)
    return means
