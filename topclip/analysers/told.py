"""What signals are drawn from that others tell of a source: its words, and what an audience did."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from topclip.analysers.tracks import Array
from topclip.analysers.windows import HOP_S, moving_mean
from topclip.model.audience import AudienceCurve
from topclip.model.transcript import Word

DIGITS = 3


@dataclass(frozen=True)
class Told:
    """What is told of a source of n_hops times HOP_S.

    words: sorted by start. keywords: what somebody looks for. curve: what an audience did.
    """

    words: Sequence[Word]
    n_hops: int
    keywords: tuple[str, ...] = ()
    curve: AudienceCurve | None = None

    def rate(self, which: Sequence[Word], seconds: float) -> Array:
        """How many of some words begin in a second, over `seconds` around each hop; float32, (n_hops,)."""
        hops = np.array([word.start_s / HOP_S for word in which], np.int64)
        counts = np.bincount(np.minimum(hops, self.n_hops - 1), minlength=self.n_hops)
        found: Array = np.round(moving_mean(counts / HOP_S, seconds, HOP_S), DIGITS).astype(np.float32)
        return found
