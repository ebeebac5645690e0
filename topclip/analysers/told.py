"""What signals of a transcript are drawn from: words on the hops of a source."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from topclip.analysers.tracks import Array
from topclip.analysers.windows import HOP_S, moving_mean
from topclip.model.transcript import Word

DIGITS = 3


@dataclass(frozen=True)
class Told:
    """What is said in a source of n_hops times HOP_S: words sorted by start, and keywords that somebody looks for."""

    words: Sequence[Word]
    n_hops: int
    keywords: tuple[str, ...] = ()

    def rate(self, which: Sequence[Word], seconds: float) -> Array:
        """How many of some words begin in a second, over `seconds` around each hop; float32, (n_hops,)."""
        hops = np.array([word.start_s / HOP_S for word in which], np.int64)
        counts = np.bincount(np.minimum(hops, self.n_hops - 1), minlength=self.n_hops)
        found: Array = np.round(moving_mean(counts / HOP_S, seconds, HOP_S), DIGITS).astype(np.float32)
        return found
