"""Where a source is quiet: far below what is loud nearby, or below what is loud anywhere in it. Pure."""

import numpy as np

from topclip.analysers.tracks import LEVEL_HOP_S, Array

QUIET_DB = 18.0
"""Quiet is so far below what is loud nearby."""
NEAR_S = 15.0
SOURCE_QUIET_DB = 30.0
"""Quiet is also what lies so far below what is loud in the whole source: in a long silence nothing near is loud."""
SILENT_DBFS = -60.0
"""No sound at all, however quiet the rest is."""
STEP = 20
"""Values of the level between two looks at what is loud nearby: one a second."""
LOUD_PERCENTILE = 90
UNKNOWN_DB = -120.0


class Quiet:
    """A source's level, ready to be asked where it is quiet."""

    def __init__(self, level_db: Array) -> None:
        """level_db: RMS level at LEVEL_HOP_S, dBFS, (n,); empty without sound."""
        self._level_db = np.nan_to_num(level_db, nan=UNKNOWN_DB)
        self.n = len(level_db)
        loud_db = float(np.percentile(self._level_db, LOUD_PERCENTILE)) if self.n else 0.0
        self._least_db = max(SILENT_DBFS, loud_db - SOURCE_QUIET_DB)
        self._limits_db: dict[int, float] = {}

    def runs(self, first: int, last: int, least_s: float) -> list[tuple[int, int]]:
        """Ranges [a, b) of values within [first, last) that are quiet for least_s or longer, however long beyond it."""
        if first >= last:
            return []
        looks = np.arange(first // STEP, (last - 1) // STEP + 1)
        limits_db = np.repeat([self._limit_db(int(look)) for look in looks], STEP)[first - looks[0] * STEP :]
        flags = self._level_db[first:last] <= limits_db[: last - first]
        found = [(first + a, first + b) for a, b in runs_of(flags)]
        return [(a, b) for a, b in found if (b - a) * LEVEL_HOP_S >= least_s - 1e-9]

    def spans_s(self, start_s: float, end_s: float, least_s: float) -> Array:
        """Seconds, (n, 2), of what is quiet for least_s or longer around [start_s, end_s]."""
        first = min(self.n, max(0, int((start_s - least_s) / LEVEL_HOP_S) - 1))
        last = min(self.n, max(first, int((end_s + least_s) / LEVEL_HOP_S) + 2))
        return np.array(self.runs(first, last, least_s), np.float64).reshape(-1, 2) * LEVEL_HOP_S

    def _limit_db(self, look: int) -> float:
        """What counts as quiet in the second of a look."""
        if look not in self._limits_db:
            reach = round(NEAR_S / LEVEL_HOP_S)
            near_db = self._level_db[max(0, look * STEP - reach) : look * STEP + reach]
            loud_db = float(np.percentile(near_db, LOUD_PERCENTILE))
            self._limits_db[look] = max(self._least_db, loud_db - QUIET_DB)
        return self._limits_db[look]


def runs_of(flags: Array) -> list[tuple[int, int]]:
    """Ranges [first, last) in which a flag is set."""
    padded = np.concatenate([[False], flags, [False]])
    turns = np.flatnonzero(padded[1:] != padded[:-1])
    return [(int(a), int(b)) for a, b in turns.reshape(-1, 2)]
