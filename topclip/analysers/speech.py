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
    presence = _share(tracks) * np.minimum(1, _swing_db(tracks) / FULL_SWING_DB) * _voiced(tracks)
    return Signal("speech", HOP_S, np.round(by_hops(presence), DIGITS).astype(np.float32))


def _share(tracks: Tracks) -> Array:
    """The voice's share of the power."""
    whole = moving_mean(band_power(tracks), SHARE_S)
    share: Array = moving_mean(band_power(tracks, *VOICE_BANDS), SHARE_S) / whole
    return share


def _swing_db(tracks: Tracks) -> Array:
    """How much the voice's level swings as syllables do."""
    level_db = 10 * np.log10(band_power(tracks, *VOICE_BANDS))
    level_db = np.maximum(level_db, np.quantile(level_db, LOUD_QUANTILE) - RANGE_DB)
    swing = moving_mean(level_db, SYLLABLE_S) - moving_mean(level_db, BEAT_S)
    swing_db: Array = np.sqrt(moving_mean(np.square(swing), SMOOTH_S))
    return swing_db


def _voiced(tracks: Tracks) -> Array:
    """How little it is noise, 0-1."""
    whole = band_power(tracks)
    noisiness = moving_mean(tracks.spectra[:, N_BANDS] * whole, SHARE_S) / moving_mean(whole, SHARE_S)
    return moving_mean(np.clip((NOISY_TO - noisiness) / (NOISY_TO - NOISY_FROM), 0, 1), SMOOTH_S)
