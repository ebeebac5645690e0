"""The numbers of a chunk's first pictures that only those of the chunk before can tell. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from topclip.analysers.frames import differences, grids_of, layouts, stacked
from topclip.analysers.tracks import N_LAGS, Array, Tracks


def without_seams(parts: Iterable[Tracks]) -> Iterator[Tracks]:
    """Chunks in the order of the grid, each as if it had been decoded together with those before it."""
    before = stacked([])
    for part in parts:
        yield _mended(part, before) if len(before) and len(part.head) else part
        before = np.concatenate([before, part.tail])[-N_LAGS:]


def _mended(part: Tracks, before: Array) -> Tracks:
    found, changes = part.differences.copy(), part.layouts.copy()
    n = len(part.head)
    found[:n] = np.where(np.isnan(found[:n]), differences(part.head, before), found[:n])
    changes[:1] = np.where(
        np.isnan(changes[:1]), layouts(grids_of(np.concatenate([before[-1:], part.head[:1]])), 1), changes[:1]
    )
    return replace(part, differences=found, layouts=changes)
