"""Stage select: which ranges of a source become clips, and why. Pure: same signals and options, same plan.

A range's extent is solved first: from each start, the end that gathers most score above a threshold, and of the starts
around a moment the one that gathers most. Ranges then compete by their mean score, less what they repeat of those chosen
before. Where that leaves fewer than wanted although the source has room, ranges are made shorter. Numbers are rounded
before they are compared and ties go to the earlier one, so that no machine's last bit decides.
"""

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from topclip.analysers.loudness import integrated_lufs
from topclip.analysers.tracks import ANALYSIS_VERSION, SOUND_HOP_S, Array
from topclip.errors import NoHighlights
from topclip.model.analysis import Analysis
from topclip.model.clip import ClipSpec, Highlight, NearMiss, Plan
from topclip.model.request import ClipOptions, Mode
from topclip.model.source import SourceInfo
from topclip.pipeline.boundaries import Bounds, has_frames, solve_edges
from topclip.pipeline.diversity import ANOTHER, Likeness, cost_of
from topclip.pipeline.pieces import whole_pieces
from topclip.pipeline.places import Timeline
from topclip.pipeline.ranges import asked, highlight
from topclip.pipeline.scoring import HOP_S, Scores, score_parts, scores_of

SELECT_VERSION = "8"
LONGEST_FRAME_S = 0.25
"""Where frames last longer, half of one is no rounding."""
PLAN_VERSION = f"analysis {ANALYSIS_VERSION}, select {SELECT_VERSION}"

THRESHOLD_QUANTILE = 0.65
"""A range grows as long as it stays, on the whole, above this share of the source."""
PEAK_HOPS = 10
"""How near two starts are the same moment seen twice."""
SPACING_S = 5.0
"""Two ranges closer than this show the same moment, unless they are unlike; the weaker one waits until the rest is served."""
MAX_NEAR_MISSES = 5
OVERLAP_SHARE = 0.5
"""A near-miss that shares more than this with a chosen range would tell nothing new."""
WINDOW_HOPS = 4
"""A value of the momentary loudness hears 400 ms, the last of them its own hop."""


Span = tuple[float, float]


class Chosen(NamedTuple):
    """A chosen range: where it was wanted, seconds, and what came of it."""

    wanted_s: Span
    highlight: Highlight


@dataclass
class Field:
    """The candidates: one for each start hop, with its best length in hops (0: none), its gain and its mean score.

    prefix: running sum of the source's score. threshold: what a hop must exceed to be worth its time. gains: sum of
    what the candidate's hops have above the threshold.
    """

    prefix: Array
    threshold: float
    lengths: Array
    gains: Array
    scores: Array

    def peaks(self) -> Array:
        """The candidates whose gain no other start nearby betters: each moment's best extent."""
        padded = np.pad(self.gains, PEAK_HOPS, constant_values=-np.inf)
        highest: Array = np.lib.stride_tricks.sliding_window_view(padded, 2 * PEAK_HOPS + 1).max(axis=1)
        peaks: Array = self.gains >= highest
        return peaks

    def span_s(self, start: int) -> Span:
        """The candidate's range in seconds."""
        return start * HOP_S, (start + int(self.lengths[start])) * HOP_S


def select_clips(info: SourceInfo, analysis: Analysis, options: ClipOptions) -> Plan:
    """Choose.

    Raises: NoHighlights if nothing satisfies the options; InvalidRequest if an asked range lies outside the source.
    """
    timeline = Timeline(info, analysis)
    scores = scores_of(analysis, options.weights, timeline.end_s)
    chosen: list[Highlight]
    missed: list[NearMiss] = []
    if options.mode is Mode.RANGES:
        chosen = [asked(info, timeline, scores, span_s) for span_s in options.ranges]
    elif options.mode in (Mode.SHOTS, Mode.SILENCE):
        chosen, missed = whole_pieces(timeline, analysis, scores, options, MAX_NEAR_MISSES)
    else:
        likeness = Likeness(analysis.fingerprints, options.min_length)
        chosen, missed = _best(timeline, scores, likeness, options)
    return Plan(
        source={"sha256": info.sha256, "duration_s": info.duration_s, "name": info.name},
        options=options.to_dict(),
        version=PLAN_VERSION,
        highlights=tuple(h.model_copy(update={"n": i}) for i, h in enumerate(chosen, 1)),
        near_misses=tuple(m.model_copy(update={"n": i}) for i, m in enumerate(missed, 1)),
    )


def clip_specs(plan: Plan, analysis: Analysis, options: ClipOptions) -> tuple[ClipSpec, ...]:
    """The clips to be made of a plan."""
    return tuple(
        ClipSpec(
            n=h.n,
            start_s=h.start_s,
            end_s=h.end_s,
            start_pts=h.start_pts,
            end_pts=h.end_pts,
            held_pts=h.held_pts,
            frames=h.frames,
            aspect=options.aspect,
            fit=options.fit,
            quality=options.quality,
            loudness=options.loudness,
            source_loudness=_range_loudness(analysis, h),
        )
        for h in plan.highlights
    )


def _range_loudness(analysis: Analysis, highlight: Highlight) -> float | None:
    """By the values whose 400 ms lie within the range: those at its beginning also hear what comes before it."""
    first = int(np.ceil(round(highlight.start_s / SOUND_HOP_S, 6))) + WINDOW_HOPS - 1
    last = int(round(highlight.end_s / SOUND_HOP_S, 6))
    measured = integrated_lufs(analysis.loudness_lufs[first:last])
    return None if measured is None else round(measured, 2)


# --- the best ranges ------------------------------------------------------------------------------------------


def _best(
    timeline: Timeline, scores: Scores, likeness: Likeness, options: ClipOptions
) -> tuple[list[Highlight], list[NearMiss]]:
    if timeline.end_s < options.min_length - 1e-6:
        shortest = int(timeline.end_s)
        hint = f"lower min_length to {shortest} or less" if shortest else "a clip lasts a second at least"
        raise NoHighlights(
            f"the source lasts {timeline.end_s:g} s, shorter than min_length {options.min_length:g} s",
            {"field": "min_length", "hint": hint},
        )
    options = _with_a_whole_frame(timeline, options)
    field = _candidates(scores, options)
    chosen = _choose(timeline, scores, likeness, options, field)
    for shorter in _shorter(timeline, options):
        if len(chosen) >= options.count:
            break
        others = _choose(timeline, scores, likeness, shorter, _candidates(scores, shorter))
        chosen = max(chosen, others, key=len)
    if len(chosen) < options.count:
        chosen = max(chosen, _one_a_slot(timeline, scores, options), key=len)
    if not chosen:
        raise NoHighlights(
            "no range of the source satisfies the options",
            {"field": "min_length", "hint": "allow more room between min_length and max_length"},
        )
    highlights = _settled(timeline, scores, options, chosen)
    return highlights, _near_misses(timeline, field, scores, likeness, highlights)


def _settled(timeline: Timeline, scores: Scores, options: ClipOptions, chosen: list[Chosen]) -> list[Highlight]:
    """The chosen ranges with the edges that are best for all of them together; the best range first."""
    in_time = sorted(chosen, key=lambda one: one.highlight.start_s)
    bounds = Bounds(0.0, timeline.end_s, options.min_length, options.max_length)
    edges = solve_edges(timeline, [one.wanted_s for one in in_time], bounds)
    found = [highlight(timeline, scores, *pair) for pair in edges or ()]
    return sorted(found, key=lambda h: (-h.score, h.start_s))


def _with_a_whole_frame(timeline: Timeline, options: ClipOptions) -> ClipOptions:
    """The options; where no number of frames lasts from min_length to max_length, with half a frame more to either side:
    "five seconds" of 29.97 frames a second are 150 frames, which last 5.005 s.
    """
    frame_s = float(np.median(np.diff(timeline.times_s)))
    has_one = np.ceil(options.min_length / frame_s - 1e-4) * frame_s <= options.max_length + 1e-5
    if has_one or frame_s > LONGEST_FRAME_S:
        return options
    lengths = {"min_length": options.min_length - frame_s / 2, "max_length": options.max_length + frame_s / 2}
    return options.model_copy(update=lengths)


def _shorter(timeline: Timeline, options: ClipOptions) -> list[ClipOptions]:
    """The options with a lower max_length, under which more ranges fit in."""
    least_s = options.min_length + 2 * HOP_S
    lengths_s = [s for s in (max(least_s, timeline.end_s / options.count), least_s) if s < options.max_length]
    return [options.model_copy(update={"max_length": s}) for s in lengths_s]


def _one_a_slot(timeline: Timeline, scores: Scores, options: ClipOptions) -> list[Chosen]:
    """The best range of each of as many equal parts of the source as clips are wanted, or as can hold one: the last resort."""
    n = min(options.count, int((timeline.end_s + 1e-6) / options.min_length))
    edges_s = [float(timeline.times_s[timeline.frame_at(i * timeline.end_s / n)]) for i in range(n)] + [timeline.end_s]
    chosen = []
    field = _candidates(scores, options)
    for low_s, high_s in itertools.pairwise(edges_s):
        first, last = int(np.ceil(low_s / HOP_S)), int(high_s / HOP_S)
        if first < last:
            _extend(field, options, (first, last), last)
            start = first + int(np.argmax(field.gains[first:last]))
            wanted = [field.span_s(start), (low_s, min(high_s, low_s + options.max_length))]
            bounds = Bounds(low_s, high_s, options.min_length, options.max_length)
            found = [(span, edges[0]) for span in wanted if (edges := solve_edges(timeline, [span], bounds))]
            chosen += [Chosen(span, highlight(timeline, scores, *pair)) for span, pair in found[:1]]
    return chosen


def _candidates(scores: Scores, options: ClipOptions) -> Field:
    n = len(scores.values)
    prefix = np.concatenate([[0.0], np.cumsum(scores.values)])
    threshold = float(np.quantile(scores.values, THRESHOLD_QUANTILE))
    field = Field(prefix, threshold, np.zeros(n, np.int64), np.full(n, -np.inf), np.full(n, -np.inf))
    _extend(field, options, (0, n), n)
    return field


def _extend(field: Field, options: ClipOptions, starts: tuple[int, int], limit: int) -> None:
    """Solve the extents of the candidates that begin in starts, none to end after hop `limit`."""
    first, last = starts
    index = np.arange(first, last)
    best, lengths = np.full(last - first, -np.inf), np.zeros(last - first, np.int64)
    shortest = max(1, int(np.ceil(options.min_length / HOP_S)))
    longest = max(shortest, min(int(options.max_length / HOP_S), limit - first))
    for length in range(shortest, longest + 1):
        ends = index + length
        sums = field.prefix[np.minimum(ends, limit)] - field.prefix[index]
        gains = np.where(ends <= limit, np.round(sums - field.threshold * length, 6), -np.inf)
        better = gains > best
        best[better], lengths[better] = gains[better], length
    means = (field.prefix[index + lengths] - field.prefix[index]) / np.maximum(1, lengths)
    field.lengths[first:last], field.gains[first:last] = lengths, best
    field.scores[first:last] = np.where(lengths > 0, np.round(means, 6), -np.inf)


def _choose(timeline: Timeline, scores: Scores, likeness: Likeness, options: ClipOptions, field: Field) -> list[Chosen]:
    """Take the best candidate, give its edges their place, take its time out of the field; again."""
    picked: list[Chosen] = []
    chosen: list[Highlight] = []
    may_fit = has_frames(timeline, np.arange(len(field.scores)) * HOP_S, options.min_length, options.max_length)
    open_scores = np.where(may_fit, field.scores, -np.inf)
    is_peak = field.peaks()
    alike, costs = np.empty((0, len(open_scores))), np.zeros(len(open_scores))
    while len(chosen) < options.count:
        start = _next(field, open_scores - costs, is_peak, chosen, alike)
        if start is None:
            break
        wanted_s = field.span_s(start)
        edges = solve_edges(timeline, [wanted_s], _room(timeline, options, chosen, start * HOP_S))
        if edges is None:
            open_scores[start] = -np.inf
            continue
        chosen.append(highlight(timeline, scores, *edges[0]))
        picked.append(Chosen(wanted_s, chosen[-1]))
        _take(field, open_scores, options, chosen)
        is_peak = field.peaks()
        alike = _alike(field, likeness, chosen)
        costs = cost_of(alike.max(axis=0))
    return picked


def _alike(field: Field, likeness: Likeness, chosen: list[Highlight]) -> Array:
    """Likeness of each candidate to each chosen range, (k, n)."""
    starts_s = np.arange(len(field.lengths)) * HOP_S
    profiles = likeness.profiles(starts_s, starts_s + field.lengths * HOP_S)
    return np.array([likeness.to(profiles, (h.start_s, h.end_s)) for h in chosen])


def _next(field: Field, open_scores: Array, is_peak: Array, chosen: list[Highlight], alike: Array) -> int | None:
    """The best open candidate: a moment of its own, else one close to a chosen one, else any that is left.

    alike: (k, n), likeness of each candidate to each chosen range.
    """
    peaks = np.where(is_peak, open_scores, -np.inf)
    for allowed in (_apart(field, peaks, chosen, alike), peaks, open_scores):
        start = int(np.argmax(allowed))
        if np.isfinite(allowed[start]):
            return start
    return None


def _take(field: Field, open_scores: Array, options: ClipOptions, chosen: list[Highlight]) -> None:
    """Close the hops of the range chosen last; candidates that would run into it are solved anew to end before it."""
    taken = chosen[-1]
    first, last = int(taken.start_s / HOP_S), int(np.ceil(round(taken.end_s / HOP_S, 6)))
    before = max((h.end_s for h in chosen if h.end_s <= taken.start_s), default=0.0)
    low = max(0, first - int(options.max_length / HOP_S), int(np.ceil(round(before / HOP_S, 6))))
    if low < first:
        is_closed = open_scores[low:first] == -np.inf
        _extend(field, options, (low, first), first)
        open_scores[low:first] = np.where(is_closed, -np.inf, field.scores[low:first])
    open_scores[first:last] = -np.inf


def _apart(field: Field, open_scores: Array, chosen: list[Highlight], alike: Array) -> Array:
    """The open candidates that keep SPACING_S from every chosen range, or are known to be something else."""
    starts_s = np.arange(len(open_scores)) * HOP_S
    ends_s = starts_s + field.lengths * HOP_S
    allowed = open_scores.copy()
    for h, likeness in zip(chosen, alike, strict=True):
        is_close = (ends_s > h.start_s - SPACING_S) & (starts_s < h.end_s + SPACING_S)
        allowed[is_close & (likeness > ANOTHER)] = -np.inf
    return allowed


def _room(timeline: Timeline, options: ClipOptions, chosen: list[Highlight], start_s: float) -> Bounds:
    """The free time around a candidate, and the lengths allowed."""
    low_s = max((h.end_s for h in chosen if h.start_s <= start_s), default=0.0)
    high_s = min((h.start_s for h in chosen if h.start_s > start_s), default=timeline.end_s)
    return Bounds(low_s, high_s, options.min_length, options.max_length)


# --- what was not chosen --------------------------------------------------------------------------------------


def _near_misses(
    timeline: Timeline, field: Field, scores: Scores, likeness: Likeness, chosen: list[Highlight]
) -> list[NearMiss]:
    """The best candidates that lost, each telling something new, with the reason."""
    missed: list[NearMiss] = []
    taken = [(h.start_s, h.end_s) for h in chosen]
    alike = _alike(field, likeness, chosen)
    costs = cost_of(alike.max(axis=0))
    open_scores = np.where(field.peaks(), field.scores, -np.inf)
    while len(missed) < MAX_NEAR_MISSES:
        start = int(np.argmax(open_scores))
        if not np.isfinite(open_scores[start]):
            break
        open_scores[start] = -np.inf
        start_s, end_s = field.span_s(start)
        end_s = min(end_s, timeline.end_s)  # hops go beyond it
        others = taken + [(m.start_s, m.end_s) for m in missed]
        if max((_overlap_s((start_s, end_s), o) for o in others), default=0.0) > OVERLAP_SHARE * (end_s - start_s):
            continue
        score, parts = score_parts(scores, start_s, end_s)
        reason, to = _reason((start_s, end_s), taken)
        if reason == "lower score" and costs[start] > 0 and score >= chosen[-1].score:
            reason, to = "similar", int(np.argmax(alike[:, start])) + 1
        missed.append(NearMiss(n=0, start_s=start_s, end_s=end_s, score=score, signals=parts, reason=reason, to=to))
    return missed


def _reason(span: Span, taken: list[Span]) -> tuple[str, int | None]:
    """Why a range lost, and to which of the chosen ones, from 1."""
    wide = (span[0] - SPACING_S, span[1] + SPACING_S)
    for reason, one in (("overlap", span), ("close", wide)):
        shared_s = [_overlap_s(one, t) for t in taken]
        if max(shared_s) > 0:
            return reason, shared_s.index(max(shared_s)) + 1
    return "lower score", None


def _overlap_s(a: Span, b: Span) -> float:
    return min(a[1], b[1]) - max(a[0], b[0])
