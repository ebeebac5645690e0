"""Crowd: laughter, applause and cheers against voice, by where in the spectrum the power lies."""

import numpy as np

from topclip.analysers.tracks import N_BANDS, Array, Tracks
from topclip.analysers.windows import HOP_S, band_power, by_hops, moving_mean
from topclip.model.analysis import Signal

VOICE_BANDS, BRIGHT_BANDS = (1, 4), (4, 8)
"""140 to 1200 Hz: vowels; 1200 to 12 000 Hz: breath, hands, many voices at once."""
NOISE_DB = 20.0
"""What full noisiness is worth against none."""
SMOOTH_S = 1.0
LOUD_QUANTILE, RANGE_DB = 0.95, 40.0
"""What lies so far below the loud parts is silence, and no measure of how loud the source is."""
DIGITS = 2


def crowd(tracks: Tracks, cuts: Array, tick_s: float) -> Signal | None:
    """Power of the bright bands over that of the voice's, dB, more where the sound is noisy. None without sound.

    Where it is quieter than the median of what is no silence, as many dB less: hiss in a pause is no applause.
    """
    if not len(tracks.spectra):
        return None
    voice, bright = (moving_mean(band_power(tracks, *bands), SMOOTH_S) for bands in (VOICE_BANDS, BRIGHT_BANDS))
    level_db = 10 * np.log10(moving_mean(band_power(tracks), SMOOTH_S))
    ratio_db = 10 * np.log10(bright / voice)
    noisiness = moving_mean(tracks.spectra[:, N_BANDS] / 255, SMOOTH_S)
    heard_db = level_db[level_db >= np.quantile(level_db, LOUD_QUANTILE) - RANGE_DB]
    lacking_db = np.maximum(0, np.median(heard_db) - level_db)
    values = by_hops(ratio_db + NOISE_DB * noisiness - lacking_db)
    return Signal("crowd", HOP_S, np.round(values, DIGITS).astype(np.float32))
