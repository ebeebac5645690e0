"""From signals to one score over time, and from a range to its parts. Pure.

Signals of different kinds are compared by their rank within the source: a percentile of 0.9 is "louder than nine tenths
of this source", whatever the source's level is.
"""

from dataclasses import dataclass

import numpy as np

from topclip.analysers.tracks import Array
from topclip.model.analysis import Analysis, Signal
from topclip.model.clip import SignalPart
from topclip.model.request import Weights

HOP_S = 0.5
NEUTRAL = 0.5
DIGITS = 6


@dataclass(frozen=True)
class Ranked:
    """A signal, its percentiles (same shape) and its normalised weight."""

    signal: Signal
    percentiles: Array
    weight: float


@dataclass(frozen=True)
class Scores:
    """The combined score of each HOP_S, 0-1, float64, and the signals that made it."""

    values: Array
    ranked: tuple[Ranked, ...]


def percentiles(values: Array) -> Array:
    """Each value's rank among all, 0-1: share of smaller ones plus half the share of equal ones.

    So a constant signal is 0.5 throughout. What is not a number is unknown, and neutral.
    """
    result = np.full(len(values), NEUTRAL)
    known = np.isfinite(values)
    if known.any():
        _, where, counts = np.unique(values[known], return_inverse=True, return_counts=True)
        below = np.cumsum(counts) - counts
        result[known] = ((below + counts / 2) / counts.sum())[where]
    return result


def score_source(analysis: Analysis, weights: Weights, n_hops: int) -> Scores:
    """Combine the source's signals; the weights of those it has are normalised to a sum of one.

    If only signals without weight are there (no sound, and sound alone wanted), all count alike.
    """
    asked = [float(getattr(weights, s.name)) for s in analysis.signals]
    if not sum(asked):
        asked = [1.0] * len(asked)
    ranked = tuple(
        Ranked(s, percentiles(s.values), w / sum(asked)) for s, w in zip(analysis.signals, asked, strict=True)
    )
    values = np.zeros(n_hops)
    for one in ranked:
        values += one.weight * _at_hops(one.percentiles, one.signal.hop_s, n_hops)
    return Scores(np.round(values, DIGITS), ranked)


def scores_of(analysis: Analysis, weights: Weights, end_s: float) -> Scores:
    """The scores of a source that lasts so long."""
    return score_source(analysis, weights, max(1, int(np.ceil(end_s / HOP_S))))


def _at_hops(values: Array, hop_s: float, n_hops: int) -> Array:
    """Means over each HOP_S, which hop_s divides; neutral beyond the signal's end."""
    per_hop = round(HOP_S / hop_s)
    padded = np.full(n_hops * per_hop, np.nan)
    padded[: len(values)] = values[: len(padded)]
    table = padded.reshape(n_hops, per_hop)
    known = np.isfinite(table)
    sums = np.where(known, table, 0.0).sum(axis=1)
    means: Array = np.where(known.any(axis=1), sums / np.maximum(1, known.sum(axis=1)), NEUTRAL)
    return means


def score_parts(scores: Scores, start_s: float, end_s: float) -> tuple[float, tuple[SignalPart, ...]]:
    """A range's score and what made it: the score is the sum of the contributions."""
    parts = tuple(_part(one, start_s, end_s) for one in scores.ranked)
    return round(sum(p.contribution for p in parts), DIGITS), parts


def _part(ranked: Ranked, start_s: float, end_s: float) -> SignalPart:
    hop_s = ranked.signal.hop_s
    first = int(round(start_s / hop_s, DIGITS))
    last = max(first + 1, int(np.ceil(round(end_s / hop_s, DIGITS))))
    values, ranks = ranked.signal.values[first:last].astype(np.float64), ranked.percentiles[first:last]
    known = values[np.isfinite(values)]
    percentile = float(ranks.mean()) if len(ranks) else NEUTRAL
    return SignalPart(
        name=ranked.signal.name,
        value=round(float(known.mean()), DIGITS) if len(known) else None,
        percentile=round(min(1.0, max(0.0, percentile)), DIGITS),
        weight=round(ranked.weight, DIGITS),
        contribution=round(ranked.weight * percentile, DIGITS),
    )
