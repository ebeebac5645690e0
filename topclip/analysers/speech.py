"""Speech: whether a voice talks."""

import numpy as np

from topclip.analysers.tracks import N_BANDS, Array, Tracks
from topclip.analysers.windows import HOP_S, band_power, by_hops, moving_mean
from topclip.model.analysis import Signal

VOICE_BANDS = 1, 5
"""140 to 2400 Hz hold nearly all of a voice's power."""
SHARE_S, SYLLABLE_S, BEAT_S, SMOOTH_S = 1.0, 0.15, 0.6, 2.0
FULL_SWING_DB = 4.0
"""Syllables, some four a second, swing the level by so much, as root mean square; held notes, engines and applause do not."""
RANGE_DB = 40.0
"""What lies so far below the loud parts is silence, whose flutter is no syllable."""
LOUD_QUANTILE = 0.95
NOISY_FROM, NOISY_TO = 150.0, 195.0
"""Between these the noisiness, of 255, turns from a voice's into noise's."""
DIGITS = 3


def speech(tracks: Tracks, cuts: Array, tick_s: float) -> Signal | None:
    """Presence of speech, 0-1: the voice's share of the power, times how much it swings as syllables do, times how little it is
    noise. None without sound.
    """
    if not len(tracks.spectra):
        return None
    voice, whole = band_power(tracks, *VOICE_BANDS), band_power(tracks)
    total = moving_mean(whole, SHARE_S)
    noisiness = moving_mean(tracks.spectra[:, N_BANDS] * whole, SHARE_S) / total
    share = moving_mean(voice, SHARE_S) / total
    level_db = 10 * np.log10(voice)
    level_db = np.maximum(level_db, np.quantile(level_db, LOUD_QUANTILE) - RANGE_DB)
    swing = moving_mean(level_db, SYLLABLE_S) - moving_mean(level_db, BEAT_S)
    swing_db = np.sqrt(moving_mean(np.square(swing), SMOOTH_S))
    voiced = np.clip((NOISY_TO - noisiness) / (NOISY_TO - NOISY_FROM), 0, 1)
    presence = share * np.minimum(1, swing_db / FULL_SWING_DB) * moving_mean(voiced, SMOOTH_S)
    return Signal("speech", HOP_S, np.round(by_hops(presence), DIGITS).astype(np.float32))
