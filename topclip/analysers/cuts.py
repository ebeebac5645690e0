"""Cut rate: how quickly the shots change."""

import numpy as np

from topclip.analysers.motion import HOP_S
from topclip.analysers.tracks import Array, Tracks
from topclip.model.analysis import Signal

WINDOW_S = 10.0


def cut_rate(tracks: Tracks, cuts: Array, tick_s: float) -> Signal | None:
    """Cuts a minute, counted over WINDOW_S around each hop; fewer seconds at the source's ends."""
    if not len(tracks.pts):
        return None
    times_s = (tracks.pts - tracks.pts[0]) * tick_s
    n = int(times_s[-1] / HOP_S) + 1
    counts = np.bincount((times_s[cuts] / HOP_S).astype(np.int64), minlength=n)
    half = round(WINDOW_S / HOP_S / 2)
    sums = np.concatenate([[0], np.cumsum(counts)])
    low, high = np.maximum(np.arange(n) - half, 0), np.minimum(np.arange(n) + half + 1, n)
    values = (sums[high] - sums[low]) / ((high - low) * HOP_S) * 60
    return Signal("cuts", HOP_S, values.astype(np.float32))
