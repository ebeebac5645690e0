"""Momentary loudness, and the integrated loudness of a range.

Source: ITU-R BS.1770 and EBU Tech 3341; the momentary values are the 400 ms blocks, three quarters overlapping, that
the gating of BS.1770 works on.
"""

import numpy as np

from topclip.analysers.tracks import LEVEL_HOP_S, SOUND_HOP_S, Array, Tracks
from topclip.model.analysis import Signal

ABSOLUTE_GATE_LUFS = -70.0
RELATIVE_GATE_LU = -10.0
LEVELS_PER_SOUND_HOP = round(SOUND_HOP_S / LEVEL_HOP_S)


def loudness(tracks: Tracks, cuts: Array, tick_s: float) -> Signal | None:
    """Momentary loudness in LUFS, no less than the absolute gate; None without sound.

    A stretch for which a source with sound has none is silent. What stays unknown is the beginning of what is heard,
    shorter than the 400 ms that a value needs.
    """
    if not len(tracks.loudness_lufs):
        return None
    values = np.maximum(tracks.loudness_lufs, ABSOLUTE_GATE_LUFS).astype(np.float32)
    is_missing = np.isnan(tracks.levels_db.reshape(-1, LEVELS_PER_SOUND_HOP)).all(axis=1)
    values[np.isnan(values) & is_missing] = ABSOLUTE_GATE_LUFS
    return Signal("loudness", SOUND_HOP_S, values)


def integrated_lufs(momentary: Array) -> float | None:
    """Integrated loudness of a range.

    momentary: LUFS, one for each 100 ms; not a number where unknown. None if nothing is above the absolute gate.
    """
    known = momentary[np.isfinite(momentary)]
    loud = known[known > ABSOLUTE_GATE_LUFS].astype(np.float64)
    if not len(loud):
        return None
    power = 10 ** (loud / 10)
    gate = 10 * np.log10(power.mean()) + RELATIVE_GATE_LU
    return float(10 * np.log10(power[loud > gate].mean()))
