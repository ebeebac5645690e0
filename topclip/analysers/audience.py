"""Audience: what those who watched made of it, by a curve that was sent with the source."""

import numpy as np

from topclip.analysers.told import Told
from topclip.analysers.tracks import Array
from topclip.analysers.windows import HOP_S
from topclip.model.analysis import Signal

GAP = 3.0
"""Values so many times farther apart than usual have a gap between them, of which nothing is known."""
DIGITS = 6
"""Of a value that count, beginning at the largest one's first."""
LEAST_POWER = -20
"""Of ten; smaller curves are as good as zero."""


def audience(told: Told) -> Signal | None:
    """The curve at each hop, in its own unit: the mean of the values in it, else the straight line between those around it.

    Not a number in gaps, and farther from the curve's first and last value than its values usually are from one another.
    None without a curve.
    """
    if told.curve is None:
        return None
    times_s, values = np.array(told.curve.times_s), np.array(told.curve.values)
    middles_s = (np.arange(told.n_hops) + 0.5) * HOP_S
    steps_s = np.diff(times_s)
    usual_s = float(np.median(steps_s))
    found = np.interp(middles_s, times_s, values)
    after = np.searchsorted(times_s, middles_s)  # the first value at or after each middle
    inside_s = np.append(np.insert(steps_s, 0, 0.0), 0.0)[after]
    is_known = inside_s <= max(GAP * usual_s, HOP_S)
    is_known &= (middles_s >= times_s[0] - max(usual_s, HOP_S)) & (middles_s <= times_s[-1] + max(usual_s, HOP_S))
    hops = np.floor(np.round(times_s / HOP_S, 6)).astype(np.int64)
    is_in = (hops >= 0) & (hops < told.n_hops)
    counts = np.bincount(hops[is_in], minlength=told.n_hops)
    sums = np.bincount(hops[is_in], weights=values[is_in], minlength=told.n_hops)
    found = np.where(counts > 0, sums / np.maximum(1, counts), found)
    return Signal("audience", HOP_S, np.where(is_known | (counts > 0), _rounded(found), np.nan).astype(np.float32))


def _rounded(values: Array) -> Array:
    """Rounded to what counts of the largest, so that no machine's last bit decides between two ranges."""
    largest = float(np.abs(values).max())
    power = max(LEAST_POWER, int(np.floor(np.log10(largest)))) if largest else 0
    rounded: Array = np.round(values, DIGITS - 1 - power)
    return rounded
