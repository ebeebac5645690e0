"""Where an edge of a clip may fall: the frames near a wanted time, each with its price. Pure.

A price is one whole number. Its faults come first, the worst in the highest place: all the edges of a plan together weigh less
than one fault of the next kind, so that the cheapest sum has fewest of the worst, among these fewest of the next, and so on.
What is left, reasons and distance, decides between places of the same faults.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from topclip.analysers.tracks import Array
from topclip.model.analysis import Analysis
from topclip.model.source import HOLD_S, SourceInfo
from topclip.model.transcript import Word
from topclip.pipeline.quiet import Quiet

TOLERANCE_S = 2.0
"""An edge moves by no more than this, where its clip fits in so."""
SLIVER_S = 0.8
"""A clip does not begin so little before a cut, nor end so little after one."""
MIN_QUIET_S = 0.15
BREATH_S = 0.1
"""A clip that begins or ends in a pause keeps so much of the pause next to its sound."""
WORD_EDGE_S = 0.05
"""So little of a word may be lost: frames stand as far apart."""
SLACK_S = 1e-6
MOMENT_S, MOST_MOMENTS = 0.1, 500_000
"""Where a frame lasts long, a clip may begin or end every so many seconds, at so many places in all."""

PARTS = 10_000
"""Reasons and distance are counted in so many parts of one."""
RECKONED, SOUND, SLIVER, WORD, AWAY = (1 << (24 + 7 * place) for place in range(5))
"""Faults: inside a word whose time is only reckoned, unless it is measured to be quiet there; on sustained sound; a sliver of
another shot; inside a word whose time is known; farther than TOLERANCE_S from where it is wanted. A plan has a hundred edges
at most, and a hundred of one fault are less than one of the next."""
COST_NONE, COST_SOURCE, COST_CUT, COST_QUIET = 1.0, 0.1, 0.1, 0.3
COST_LOUD_CUT = 0.3
"""What a cut costs more if sound goes on over it."""
COST_SENTENCE, COST_GAP = 0.2, 0.9
"""Before the first or behind the last word of a sentence; between two words."""
COST_PAUSE = 0.9
"""In a pause, but not a breath from its sound."""
FARTHEST = 10.0
"""Distance counts up to so many times the tolerance."""


class Edge(NamedTuple):
    """An edge of a clip: frame index in the timeline (end: the first one after the clip), its time, what it was snapped to."""

    frame: int
    time_s: float
    kind: str


@dataclass(frozen=True)
class Places:
    """Where an edge may fall, in order: frame indices, times, prices (int64) and kinds, all (n,)."""

    frames: Array
    times_s: Array
    prices: Array
    kinds: Array

    def within(self, low_s: float, high_s: float) -> "Places":
        """Those in a range of the source."""
        a, b = np.searchsorted(self.times_s, [low_s - SLACK_S, high_s + SLACK_S])
        return Places(self.frames[a:b], self.times_s[a:b], self.prices[a:b], self.kinds[a:b])

    def edge(self, k: int) -> Edge:
        """The k-th."""
        return Edge(int(self.frames[k]), float(self.times_s[k]), str(self.kinds[k]))


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
        self._timed = _insides([word for word in words if word.is_timed])
        self._reckoned = _insides([word for word in words if not word.is_timed])

    def in_timed(self, times_s: Array) -> Array:
        """Whether each time lies in a word whose time is known, away from its edges; bool, same shape."""
        return _is_inside(self._timed, times_s)

    def in_reckoned(self, times_s: Array) -> Array:
        """The same of words whose time is only reckoned."""
        return _is_inside(self._reckoned, times_s)

    def gaps(self, near_s: float, *, is_start: bool) -> Iterator[tuple[float, bool]]:
        """Times near a wanted one that lie between two words, and a breath off; whether a sentence is whole."""
        low, high = np.searchsorted(self._starts_s, [near_s - TOLERANCE_S - self._longest_s, near_s + TOLERANCE_S + 1])
        for n in range(int(low), int(high)):
            before_s = float(self._ends_s[n - 1]) if n else 0.0
            after_s = float(self._starts_s[n + 1]) if n + 1 < len(self._words) else math.inf
            word = self._words[n]
            if is_start:
                yield (
                    max(min(before_s, word.start_s), word.start_s - BREATH_S),
                    n == 0 or self._words[n - 1].ends_sentence,
                )
            else:
                yield min(max(after_s, word.end_s), word.end_s + BREATH_S), word.ends_sentence


class Timeline:
    """A source's frame times, cuts, words and quiet moments, ready to be asked.

    pts: of the frames, of moments within the time of those that last long, which count as frames here, and of the end.
    frame_pts: of the frames alone.
    """

    def __init__(self, info: SourceInfo, analysis: Analysis) -> None:
        self._tick, self._start_pts = float(info.video.tick), info.video.start_pts
        self.frame_pts = analysis.frame_pts
        self.pts, self._is_moment = _with_moments(np.append(analysis.frame_pts, analysis.end_pts), info.video.tick)
        self.times_s: Array = np.round((self.pts - info.video.start_pts) * float(info.video.tick), 6)
        self.n_frames = len(self.pts) - 1
        self.end_s = float(self.times_s[-1])
        shot_frames = np.array([s.start_frame for s in analysis.shots[1:]], np.int64)
        self.cut_frames = np.searchsorted(self.pts, analysis.frame_pts[shot_frames])
        self.cut_times_s: Array = self.times_s[self.cut_frames]
        self.quiet = Quiet(analysis.level_db)
        self.words = Words(analysis.words)

    def pts_of(self, edge: Edge) -> int:
        """Where an edge lies."""
        if edge.time_s == self.times_s[edge.frame]:
            return int(self.pts[edge.frame])
        return self._start_pts + round(edge.time_s / self._tick)

    def frames_of(self, start_pts: int, end_pts: int) -> tuple[int, int]:
        """Indices in frame_pts of the first frame that is shown in a range, and of the first one after it."""
        first = int(np.searchsorted(self.frame_pts, start_pts, "right")) - 1
        return first, max(first + 1, int(np.searchsorted(self.frame_pts, end_pts)))

    def edge_near(self, frame: int, time_s: float, kind: str) -> Edge:
        """An edge at a frame that comes next, or just where it is wanted if that is within the time of one that lasts long."""
        near_s = float(self.times_s[frame])
        is_held = time_s < near_s and self._is_moment[max(0, frame - 1) : frame + 1].any()
        exact_s = round(round(time_s / self._tick) * self._tick, 6)
        return Edge(frame, exact_s if is_held else near_s, kind)

    def frame_at(self, time_s: float) -> int:
        """The first frame at or after a time, as far as a microsecond tells; the number of frames if there is none."""
        return min(self.n_frames, int(np.searchsorted(self.times_s, time_s - 2e-6)))


def _with_moments(pts: Array, tick: Fraction) -> tuple[Array, Array]:
    """The pts with those of moments where one frame is shown for long, of a talk with slides, say; which of them those are."""
    long = np.flatnonzero(np.diff(pts) > HOLD_S / tick)
    if not len(long):
        return pts, np.zeros(len(pts), np.bool_)
    gaps_s = np.diff(pts)[long] * float(tick)
    step_s = max(MOMENT_S, float(gaps_s.sum()) / MOST_MOMENTS)
    offsets = (np.round(np.arange(1, gap_s / step_s) * (step_s / tick)).astype(np.int64) for gap_s in gaps_s)
    found = np.unique(np.concatenate([pts, *(pts[i] + more for i, more in zip(long, offsets, strict=True))]))
    return found, pts[np.searchsorted(pts, found)] != found


def places(timeline: Timeline, wanted_s: float, *, is_start: bool, more: Sequence[Array] = ()) -> Places:
    """Every frame within the tolerance of a wanted time, and the first one after it, however far. more: other frames."""
    low, high = np.searchsorted(timeline.times_s, [wanted_s - TOLERANCE_S - SLACK_S, wanted_s + TOLERANCE_S + SLACK_S])
    frames = np.unique(np.concatenate([np.arange(low, high), [timeline.frame_at(wanted_s)], *more]).astype(np.int64))
    frames = frames[frames < timeline.n_frames] if is_start else frames[frames > 0]
    times_s = timeline.times_s[frames]
    distances = np.abs(times_s - wanted_s)
    spans = timeline.quiet.spans_s(wanted_s - TOLERANCE_S, wanted_s + TOLERANCE_S, MIN_QUIET_S)
    is_quiet = _is_inside((spans[:, 0] - SLACK_S, spans[:, 1] + SLACK_S), times_s)
    costs, kinds = _reasons(timeline, frames, is_quiet, _found(timeline, wanted_s, spans, is_start=is_start))
    prices = np.round((costs + np.minimum(distances / TOLERANCE_S, FARTHEST)) * PARTS).astype(np.int64)
    prices += AWAY * (distances > TOLERANCE_S + SLACK_S)
    prices += WORD * timeline.words.in_timed(times_s)
    prices += SLIVER * _leaves_sliver(timeline, times_s, is_start=is_start)
    if timeline.quiet.n:  # beyond the source's ends no sound goes on
        prices += SOUND * (~is_quiet & (frames > 0 if is_start else frames < timeline.n_frames))
    prices += RECKONED * (~is_quiet & timeline.words.in_reckoned(times_s))
    return Places(frames, times_s, prices, kinds)


def _reasons(
    timeline: Timeline, frames: Array, is_quiet: Array, found: Iterator[tuple[float, str, float]]
) -> tuple[Array, Array]:
    """Cost and kind of each frame by the best reason for it."""
    costs = np.where(is_quiet, COST_PAUSE, COST_NONE)
    kinds = np.where(is_quiet, "quiet", "none").astype("<U8")
    for at_s, kind, cost in found:
        frame = timeline.frame_at(max(0.0, at_s))
        k = int(np.searchsorted(frames, frame))
        dearer = COST_LOUD_CUT if kind == "cut" and timeline.quiet.n and k < len(frames) and not is_quiet[k] else 0.0
        if k < len(frames) and frames[k] == frame and cost + dearer < costs[k]:
            costs[k], kinds[k] = cost + dearer, kind
    return costs, kinds


def _found(
    timeline: Timeline, wanted_s: float, quiet_s: Array, *, is_start: bool
) -> Iterator[tuple[float, str, float]]:
    """Times with a reason for an edge, its kind, and its cost."""
    yield (0.0 if is_start else timeline.end_s), "source", COST_SOURCE
    low, high = np.searchsorted(timeline.cut_times_s, [wanted_s - TOLERANCE_S, wanted_s + TOLERANCE_S])
    for at_s in timeline.cut_times_s[low : high + 1].tolist():
        yield at_s, "cut", COST_CUT
    for first_s, last_s in quiet_s.tolist():
        yield max(first_s, last_s - BREATH_S) if is_start else min(last_s, first_s + BREATH_S), "quiet", COST_QUIET
    for at_s, is_sentence in timeline.words.gaps(wanted_s, is_start=is_start):
        yield (at_s, "sentence", COST_SENTENCE) if is_sentence else (at_s, "word", COST_GAP)


def _leaves_sliver(timeline: Timeline, times_s: Array, *, is_start: bool) -> Array:
    """Whether an edge at each time would show a sliver of another shot; bool, same shape."""
    first_s, last_s = (times_s, times_s + SLIVER_S) if is_start else (times_s - SLIVER_S, times_s)
    n_before = np.searchsorted(timeline.cut_times_s, first_s + SLACK_S)
    found: Array = np.searchsorted(timeline.cut_times_s, last_s - SLACK_S) > n_before
    return found


def _insides(words: Sequence[Word]) -> tuple[Array, Array]:
    """Sorted starts and sorted ends of what is inside of words; words without an inside are left out."""
    spans = [(word.start_s + WORD_EDGE_S, word.end_s - WORD_EDGE_S) for word in words]
    kept = np.array([span for span in spans if span[0] < span[1]]).reshape(-1, 2)
    return np.sort(kept[:, 0]), np.sort(kept[:, 1])


def _is_inside(spans: tuple[Array, Array], times_s: Array) -> Array:
    """Whether each time lies in the inside of some span: more have begun than have ended. spans: sorted starts and ends."""
    found: Array = np.searchsorted(spans[0], times_s, "left") > np.searchsorted(spans[1], times_s, "right")
    return found
