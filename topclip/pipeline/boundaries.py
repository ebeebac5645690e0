"""Where a clip begins and ends: near a wanted time, at a cut or in a quiet moment, exact to the frame. Pure.

Each edge has a few candidates, each with a cost; the cheapest pair that keeps length and neighbours in order wins.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from topclip.analysers.tracks import LEVEL_HOP_S, Array
from topclip.model.analysis import Analysis
from topclip.model.source import SourceInfo
from topclip.model.transcript import Word

TOLERANCE_S = 2.0
"""An edge moves by no more than this."""
SLIVER_S = 0.8
"""A clip does not begin so little before a cut, nor end so little after one."""
QUIET_DB = 18.0
"""Quiet is so far below what is loud nearby."""
QUIET_WINDOW_S = 15.0
MIN_QUIET_S = 0.15
BREATH_S = 0.1
"""A clip that begins or ends in a pause keeps so much of the pause next to its sound."""

COST_NONE, COST_SOURCE, COST_CUT, COST_QUIET = 1.0, 0.1, 0.1, 0.3
COST_LOUD_CUT = 0.3
"""What a cut costs more if sound goes on over it."""
COST_SLIVER = 4.0
COST_SENTENCE, COST_GAP = 0.2, 0.9
"""Before the first or behind the last word of a sentence; between two words."""
COST_WORD, COST_RECKONED = 6.0, 1.5
"""Inside a word whose time is known; inside one whose time is only reckoned, unless it is measured to be quiet there."""
WORD_EDGE_S = 0.05
"""So little of a word may be lost: frames stand as far apart."""
COST_FORCED = 2.5
"""An end that only the length decides."""
TIE_DIGITS = 6


class Edge(NamedTuple):
    """A candidate: frame index (end: the first frame after the clip), its time, what it was snapped to, its cost."""

    frame: int
    time_s: float
    kind: str
    cost: float


@dataclass(frozen=True)
class Bounds:
    """What a clip must keep to: seconds of the source that are free, and its length."""

    low_s: float
    high_s: float
    min_length_s: float
    max_length_s: float


class Words:
    """Where words are said, and where between them an edge may fall."""

    def __init__(self, words: Sequence[Word]) -> None:
        self._words = words
        self._starts_s: Array = np.array([word.start_s for word in words])
        # Words of several speakers overlap: the latest end so far, so that a place behind all of them is found.
        self._ends_s: Array = (
            np.maximum.accumulate(np.array([word.end_s for word in words])) if words else self._starts_s
        )
        self._longest_s = max((word.end_s - word.start_s for word in words), default=0.0)

    def cost(self, edge: Edge) -> float:
        """What it costs to fall into a word, away from its edges."""
        inside = self._inside(edge.time_s)
        if any(word.is_timed for word in inside):
            return COST_WORD
        return COST_RECKONED if inside and edge.kind != "quiet" else 0.0

    def _inside(self, at_s: float) -> list[Word]:
        low, high = np.searchsorted(self._starts_s, [at_s - self._longest_s, at_s - WORD_EDGE_S])
        return [word for word in self._words[low:high] if word.start_s + WORD_EDGE_S < at_s < word.end_s - WORD_EDGE_S]

    def gaps(self, near_s: float, *, is_start: bool) -> Iterator[tuple[float, bool]]:
        """Times near a wanted one that lie between two words, and a breath off; whether a sentence is whole."""
        low, high = np.searchsorted(self._starts_s, [near_s - TOLERANCE_S - self._longest_s, near_s + TOLERANCE_S + 1])
        for n in range(int(low), int(high)):
            before_s = float(self._ends_s[n - 1]) if n else 0.0
            after_s = float(self._starts_s[n + 1]) if n + 1 < len(self._words) else math.inf
            word = self._words[n]
            if is_start:
                at_s = max(min(before_s, word.start_s), word.start_s - BREATH_S)
                is_sentence = n == 0 or self._words[n - 1].ends_sentence
            else:
                at_s = min(max(after_s, word.end_s), word.end_s + BREATH_S)
                is_sentence = word.ends_sentence
            if abs(at_s - near_s) <= TOLERANCE_S:
                yield at_s, is_sentence


class Timeline:
    """A source's frame times, cuts and quiet moments, ready to be asked."""

    def __init__(self, info: SourceInfo, analysis: Analysis) -> None:
        ticks = np.append(analysis.frame_pts, analysis.end_pts) - info.video.start_pts
        self.times_s: Array = np.round(ticks * float(info.video.tick), 6)
        self.pts = np.append(analysis.frame_pts, analysis.end_pts)
        self.n_frames = len(analysis.frame_pts)
        self.end_s = float(self.times_s[-1])
        self.cut_frames = np.array([s.start_frame for s in analysis.shots[1:]], np.int64)
        self.cut_times_s: Array = self.times_s[self.cut_frames]
        self.level_db = np.nan_to_num(analysis.level_db, nan=-120.0)
        self.words = Words(analysis.words)

    def frame_at(self, time_s: float) -> int:
        """The first frame at or after a time, as far as a microsecond tells; the number of frames if there is none."""
        return min(self.n_frames, int(np.searchsorted(self.times_s, time_s - 2e-6)))

    def quiet_spans(self, near_s: float) -> list[tuple[float, float]]:
        """Quiet moments around a time, [start_s, end_s)."""
        reach = TOLERANCE_S + 1.0
        low, high = self._levels(near_s - QUIET_WINDOW_S, near_s + QUIET_WINDOW_S)
        if low >= high:
            return []
        limit_db = np.percentile(self.level_db[low:high], 90) - QUIET_DB
        first, last = self._levels(near_s - reach, near_s + reach)
        quiet = np.concatenate([[False], self.level_db[first:last] <= limit_db, [False]])
        turns = np.flatnonzero(quiet[1:] != quiet[:-1])
        spans = [((first + a) * LEVEL_HOP_S, (first + b) * LEVEL_HOP_S) for a, b in turns.reshape(-1, 2).tolist()]
        return [(a, b) for a, b in spans if b - a >= MIN_QUIET_S - 1e-9]

    def _levels(self, start_s: float, end_s: float) -> tuple[int, int]:
        n = len(self.level_db)
        return min(n, max(0, round(start_s / LEVEL_HOP_S))), min(n, max(0, round(end_s / LEVEL_HOP_S)))


def solve_edges(timeline: Timeline, start_s: float, end_s: float, bounds: Bounds) -> tuple[Edge, Edge] | None:
    """The best pair of edges near the wanted ones; None if no pair keeps the bounds."""
    starts = _candidates(timeline, start_s, is_start=True)
    ends = _candidates(timeline, end_s, is_start=False)
    lengths_s = (bounds.min_length_s, bounds.max_length_s)
    forced = [_edge(timeline, s.time_s + length_s, "none", COST_FORCED) for s in starts for length_s in lengths_s]
    ends += [edge._replace(cost=edge.cost + timeline.words.cost(edge)) for edge in forced]
    pairs = [(s, e) for s in starts for e in ends if _fits(timeline, s, e, bounds)]
    return min(pairs, key=_rank, default=None)


def has_frames(timeline: Timeline, starts_s: Array, min_length_s: float, max_length_s: float) -> Array:
    """Whether near each wanted start two frames lie so far apart as a clip may be long; where not, `solve_edges` finds none.

    starts_s: float64 (n,), rising. Returns: bool (n,). A source of few pictures and many hours is told at once this way.
    """
    times_s = timeline.times_s
    first = np.searchsorted(times_s, times_s + min_length_s - 1e-5)
    last = np.searchsorted(times_s, times_s + max_length_s + 1e-5)
    n_fitting = np.concatenate([[0], np.cumsum(last > first)])
    low, high = (np.searchsorted(times_s, starts_s + reach_s) for reach_s in (-TOLERANCE_S - 1, TOLERANCE_S + 1))
    found: Array = n_fitting[np.minimum(high + 1, len(times_s))] > n_fitting[low]
    return found


def _rank(pair: tuple[Edge, Edge]) -> tuple[float, float, float]:
    start, end = pair
    return round(start.cost + end.cost, TIE_DIGITS), start.time_s, end.time_s


def _fits(timeline: Timeline, start: Edge, end: Edge, bounds: Bounds) -> bool:
    length_s = round(end.time_s - start.time_s, TIE_DIGITS)
    return (
        0 <= start.frame < end.frame <= timeline.n_frames
        and start.time_s >= bounds.low_s - 1e-6
        and end.time_s <= bounds.high_s + 1e-6
        and bounds.min_length_s <= length_s <= bounds.max_length_s
    )


def _candidates(timeline: Timeline, wanted_s: float, *, is_start: bool) -> list[Edge]:
    """Every place near the wanted time where the edge may fall, the wanted time itself among them."""
    spans = timeline.quiet_spans(wanted_s)
    found = [_edge(timeline, wanted_s, "none", COST_NONE), _edge(timeline, wanted_s - 0.1, "none", COST_NONE)]
    home_s = 0.0 if is_start else timeline.end_s
    if abs(home_s - wanted_s) <= TOLERANCE_S:
        found.append(_edge(timeline, home_s, "source", COST_SOURCE))
    low, high = np.searchsorted(timeline.cut_times_s, [wanted_s - TOLERANCE_S, wanted_s + TOLERANCE_S])
    for frame in timeline.cut_frames[low:high].tolist():
        at_s = float(timeline.times_s[frame])
        is_quiet = not len(timeline.level_db) or any(a <= at_s <= b for a, b in spans)
        found.append(Edge(frame, at_s, "cut", COST_CUT + (0.0 if is_quiet else COST_LOUD_CUT)))
    for span in spans:
        at_s = max(span[0], span[1] - BREATH_S) if is_start else min(span[1], span[0] + BREATH_S)
        if abs(at_s - wanted_s) <= TOLERANCE_S:
            found.append(_edge(timeline, at_s, "quiet", COST_QUIET))
    for at_s, is_sentence in timeline.words.gaps(wanted_s, is_start=is_start):
        kind, cost = ("sentence", COST_SENTENCE) if is_sentence else ("word", COST_GAP)
        found.append(_edge(timeline, at_s, kind, cost))
    return [_priced(timeline, edge, wanted_s, is_start=is_start) for edge in found]


def _edge(timeline: Timeline, time_s: float, kind: str, cost: float) -> Edge:
    frame = timeline.frame_at(max(0.0, time_s))
    return Edge(frame, float(timeline.times_s[frame]), kind, cost)


def _priced(timeline: Timeline, edge: Edge, wanted_s: float, *, is_start: bool) -> Edge:
    """The edge with the cost of its distance, and of a sliver of another shot that it would leave."""
    cost = edge.cost + abs(edge.time_s - wanted_s) / TOLERANCE_S + timeline.words.cost(edge)
    span = (edge.time_s, edge.time_s + SLIVER_S) if is_start else (edge.time_s - SLIVER_S, edge.time_s)
    low = np.searchsorted(timeline.cut_times_s, span[0], side="right" if is_start else "left")
    high = np.searchsorted(timeline.cut_times_s, span[1], side="right" if is_start else "left")
    return edge._replace(cost=cost + (COST_SLIVER if high > low else 0.0))
