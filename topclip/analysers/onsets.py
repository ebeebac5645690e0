"""Onsets: how often something begins to sound."""

import numpy as np

from topclip.analysers.tracks import BAND_STEP_DB, LEVEL_HOP_S, N_BANDS, Array, Tracks
from topclip.analysers.windows import HOP_S, by_hops, moving_mean
from topclip.model.analysis import Signal

RANGE_DB = 45.0
"""What lies so far below a band's loud parts is silence."""
LOUD_QUANTILE = 0.95
MAX_RISE_DB = 20.0
LEAST_RISE_DB = 2.0
"""Mean over the bands, from one moment to the next."""
STAND_OUT = 1.5
"""Times the mean rise around it."""
AROUND_S, WINDOW_S = 1.0, 4.0
DIGITS = 3


def onsets(tracks: Tracks, cuts: Array, tick_s: float) -> Signal | None:
    """Onsets a second, over WINDOW_S. None without sound.

    An onset is a rise of the bands' levels that is larger than its neighbours and stands out of what is around.
    """
    if not len(tracks.spectra):
        return None
    rises = np.zeros(len(tracks.spectra))
    for band in range(N_BANDS):
        rises += _rises_db(tracks.spectra[:, band]) / N_BANDS
    padded = np.pad(rises, 1)
    is_peak = (rises > padded[:-2]) & (rises >= padded[2:])
    is_onset = is_peak & (rises >= np.maximum(LEAST_RISE_DB, STAND_OUT * moving_mean(rises, AROUND_S)))
    values = by_hops(moving_mean(is_onset.astype(np.float64), WINDOW_S) / LEVEL_HOP_S)
    return Signal("onsets", HOP_S, np.round(values, DIGITS).astype(np.float32))


def _rises_db(steps: Array) -> Array:
    """By how much a band's level exceeds the one before; steps: uint8 (n,)."""
    level_db = np.maximum(steps * BAND_STEP_DB, np.quantile(steps, LOUD_QUANTILE) * BAND_STEP_DB - RANGE_DB)
    rises: Array = np.clip(np.diff(level_db, prepend=level_db[:1]), 0, MAX_RISE_DB)
    return rises
