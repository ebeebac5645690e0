"""How alike two ranges of a source look and sound, so that five clips do not show one thing five times. Pure."""

import numpy as np

from topclip.analysers.fingerprint import STEP_S
from topclip.analysers.tracks import Array

DIVERSITY = 0.1
"""What a full likeness to a chosen range costs a candidate's score, which is 0-1; it only orders candidates, and is no part of
the score that is shown. As much as separates a moment from the rest of a source, so that the same thing again comes last."""
ANOTHER = 0.1
"""What is no more alike than this shows something else, however close by."""
FREE = 0.5
"""Up to this likeness nothing is paid: all of a talk is somewhat alike."""
UNKNOWN = 0.5
"""Where nothing can be compared: costs nothing, and time has to tell what is another moment."""
DIGITS = 6


class Likeness:
    """Compares ranges by the mean of their fingerprints; likeness is 1 for the same mean, 0 for what lies as far apart as two
    ranges of this source usually do, or farther; UNKNOWN without fingerprints."""

    def __init__(self, fingerprints: Array, length_s: float) -> None:
        """fingerprints: whole numbers, (n, k), one for each STEP_S. length_s: of a usual range."""
        n = len(fingerprints)
        self._n = n
        self._sums = np.zeros((n + 1, fingerprints.shape[1]), np.int64)
        np.cumsum(fingerprints, axis=0, out=self._sums[1:])
        starts_s = np.arange(n) * STEP_S
        profiles = self.profiles(starts_s, np.minimum(starts_s + length_s, n * STEP_S))
        away = _distance(profiles, profiles.mean(axis=0)) if n else np.zeros(1)
        self._usual = float(np.sqrt(2) * np.median(away))

    def profiles(self, starts_s: Array, ends_s: Array) -> Array:
        """Mean fingerprints of ranges, float64 (m, k). starts_s, ends_s: (m,)."""
        if not self._n:
            return np.zeros((len(starts_s), self._sums.shape[1]))
        first = np.clip((starts_s / STEP_S).astype(np.int64), 0, self._n - 1)
        last = np.clip(np.ceil(ends_s / STEP_S).astype(np.int64), first + 1, self._n)
        means: Array = (self._sums[last] - self._sums[first]) / (last - first)[:, None]
        return means

    def to(self, profiles: Array, span_s: tuple[float, float]) -> Array:
        """Likeness of each profile to a range, float64 (m,), 0-1."""
        if self._usual <= 0:
            return np.full(len(profiles), UNKNOWN)
        own = self.profiles(np.array([span_s[0]]), np.array([span_s[1]]))[0]
        alike: Array = np.round(np.clip(1 - _distance(profiles, own) / self._usual, 0, 1), DIGITS)
        return alike


def cost_of(alike: Array) -> Array:
    """What likeness, 0-1, costs a candidate's score."""
    costs: Array = np.round(DIVERSITY * np.maximum(0, alike - FREE) / (1 - FREE), DIGITS)
    return costs


def _distance(profiles: Array, one: Array) -> Array:
    distances: Array = np.sqrt(np.square(profiles - one).sum(axis=1))
    return distances
