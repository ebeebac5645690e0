"""Motion: how much the picture changes in a second, cuts apart."""

import numpy as np

from topclip.analysers.shots import jump_sizes
from topclip.analysers.tracks import Array, Tracks
from topclip.model.analysis import Signal

HOP_S = 0.5


def motion(tracks: Tracks, cuts: Array, tick_s: float) -> Signal | None:
    """Sum of grey differences a second.

    A sum, so that a frame shown twice, or a gap in which the picture stands still, adds nothing: frame rates compare.
    A cut's own jump counts as the one before it.
    """
    if not len(tracks.pts):
        return None
    jumps = jump_sizes(tracks).astype(np.float64)
    jumps[cuts] = jumps[np.maximum(cuts - 1, 0)]
    times_s = (tracks.pts - tracks.pts[0]) * tick_s
    hops = (times_s / HOP_S).astype(np.int64)
    values = np.bincount(hops, weights=jumps) / HOP_S
    return Signal("motion", HOP_S, values.astype(np.float32))
