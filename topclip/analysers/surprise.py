"""Surprise: how far the sound rises above what is usual around it."""

import numpy as np

from topclip.analysers.loudness import loudness
from topclip.analysers.tracks import SOUND_HOP_S, Array, Tracks
from topclip.analysers.windows import HOP_S, by_hops, moving_mean
from topclip.model.analysis import Signal

WINDOW_S = 40.0
"""What is usual: long against a laugh or a cheer, short against an hour that slowly gets louder."""
BEFORE_S = 20.0
"""What came before sets what is usual too: something loud that goes on for half of that surprises no more."""
SMOOTH_S = 1.5
"""A moment, not a syllable."""
ROWS = 4096
DIGITS = 2


def surprise(tracks: Tracks, cuts: Array, tick_s: float) -> Signal | None:
    """LU above what is usual. None without sound.

    Usual is the higher of two medians, of the WINDOW_S around and the BEFORE_S before, mirrored at the source's ends. So
    neither music that stays surprises, nor talk that goes on after a silence.
    """
    heard = loudness(tracks, cuts, tick_s)
    if heard is None:
        return None
    known = np.nan_to_num(heard.values.astype(np.float64), nan=float(np.nanmin(heard.values, initial=-70.0)))
    levels = moving_mean(by_hops(known, round(HOP_S / SOUND_HOP_S)), SMOOTH_S, HOP_S)
    half, before = round(WINDOW_S / HOP_S / 2), round(BEFORE_S / HOP_S)
    usual = np.maximum(_medians(levels, half, half), _medians(levels, before, 0))
    return Signal("surprise", HOP_S, np.round(levels - usual, DIGITS).astype(np.float32))


def _medians(values: Array, before: int, after: int) -> Array:
    """The median of each value with so many before and after it; in blocks, so that memory stays small."""
    padded = np.pad(values, (before, after), mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, before + after + 1)
    medians: Array = np.concatenate([np.median(windows[i : i + ROWS], axis=1) for i in range(0, len(windows), ROWS)])
    return medians
