"""Edges of clips, against all that could have been chosen: thousands of random sources, each solved by trying everything.

What is a fault of an edge is said here anew, word by word from docs/selection.md, and not by the code under test.
"""

import dataclasses
import itertools

import numpy as np
import pytest

from tests.unit.test_select import make_info
from topclip.analysers.tracks import Array
from topclip.model.analysis import Analysis, Shot
from topclip.model.transcript import Word
from topclip.pipeline.boundaries import Bounds, first_least, has_frames, solve_edges
from topclip.pipeline.places import Edge, Timeline

FPS = 5
END_S = 40.0
START_PTS = 5000
REACH_S = 2.0
NONE = np.empty(0, np.float32)

Pairs = list[tuple[Edge, Edge]]


@dataclasses.dataclass
class Source:
    """What was put into a made source, seconds."""

    frames_s: Array
    pauses: list[tuple[float, float]]
    words: list[Word]
    cuts: list[float]
    has_sound: bool

    def analysis(self) -> Analysis:
        levels = np.full(round(END_S * 20), -20.0, np.float32)
        for start, end in self.pauses:
            levels[round(start * 20) : round(end * 20)] = -70
        starts = [0, *(int(np.searchsorted(self.frames_s, cut)) for cut in self.cuts), len(self.frames_s)]
        shots = tuple(Shot(start_frame=a, end_frame=b, start_s=0, end_s=0) for a, b in itertools.pairwise(starts))
        pts = START_PTS + np.round(self.frames_s * 25_000).astype(np.int64)
        end_pts = START_PTS + round(END_S * 25_000)
        return Analysis(pts, end_pts, levels if self.has_sound else NONE, NONE, (), shots, words=tuple(self.words))

    def places_s(self) -> list[float]:
        """Where an edge may lie, the end included."""
        return Timeline(make_info(END_S), self.analysis()).times_s.tolist()

    def faults(self, at_s: float, *, is_start: bool) -> tuple[int, int, int, int]:
        """In a timed word; a sliver of another shot; on sustained sound; in a reckoned word where it is not quiet."""
        is_quiet = self.has_sound and any(a - 1e-6 <= at_s <= b + 1e-6 and b - a >= 0.149 for a, b in self.pauses)
        in_word = [w.is_timed for w in self.words if w.start_s + 0.05 < at_s < w.end_s - 0.05]
        beyond_s = [round(cut - at_s if is_start else at_s - cut, 6) for cut in self.cuts]
        is_sliver = any(0 < s < 0.8 for s in beyond_s)
        is_loud = self.has_sound and not is_quiet and at_s != (0.0 if is_start else END_S)
        return any(in_word), is_sliver, is_loud, not is_quiet and False in in_word


def made(seed: int, fps: float = FPS) -> Source:
    """A source with some pauses, words with or without their times known, and cuts, here and there many."""
    rng = np.random.default_rng(seed)
    frames = np.arange(round(END_S * fps)) / fps
    if rng.random() < 0.3:  # a rate that varies
        frames = frames[np.sort(rng.choice(np.arange(1, len(frames)), int(len(frames) * 0.7), replace=False))]
        frames = np.append(0.0, frames)
    places = np.sort(rng.choice(np.arange(2, 140), int(rng.integers(0, 22)), replace=False)) * 0.25
    pauses = [(float(p), round(float(p) + float(rng.choice([0.1, 0.15, 0.2])), 3)) for p in places]
    words, at_s, is_timed = [], float(rng.uniform(0, 3)), bool(rng.random() < 0.6)
    while rng.random() < 0.98 and at_s < END_S - 2:
        length_s = float(rng.uniform(0.05, 1.5))
        is_last = bool(rng.random() < 0.2)
        words.append(Word(start_s=at_s, end_s=at_s + length_s, text="w", is_timed=is_timed, ends_sentence=is_last))
        at_s += length_s + float(rng.choice([-0.2, 0.0, 0.0, 0.3, 2.0]))
    words.sort(key=lambda word: word.start_s)
    cuts = np.sort(rng.choice(frames[1:], int(rng.choice([0, 4, 12, 40])), replace=False)).tolist()
    return Source(frames, pauses, words, cuts, bool(rng.random() < 0.9))


def pairs_of(source: Source, span_s: tuple[float, float], bounds: Bounds) -> list[tuple[float, float]]:
    """All pairs of frames within the reach of wanted edges that keep the bounds."""
    places_s = source.places_s()
    starts = [t for t in places_s[:-1] if abs(t - span_s[0]) <= REACH_S + 1e-6 and t >= bounds.low_s]
    ends = [t for t in places_s[1:] if abs(t - span_s[1]) <= REACH_S + 1e-6 and t <= bounds.high_s]
    return [
        (a, b)
        for a in starts
        for b in ends
        if bounds.min_length_s - 1e-9 <= round(b - a, 6) <= bounds.max_length_s + 1e-9
    ]


def summed(*faults: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sum(kinds) for kinds in zip(*faults, strict=True))


def found_faults(source: Source, found: Pairs) -> tuple[int, ...]:
    """Of all edges, the worst kind first."""
    return summed(
        *(source.faults(start.time_s, is_start=True) for start, _ in found),
        *(source.faults(end.time_s, is_start=False) for _, end in found),
    )


def wanted(rng: np.random.Generator, n: int) -> tuple[list[tuple[float, float]], Bounds]:
    """Ranges side by side, often close together, and bounds in which they lie."""
    low, length = float(rng.uniform(1, 4)), float(rng.uniform(0.2, 5))
    spans, at_s = [], float(rng.choice([0.0, rng.uniform(0, 8)]))
    for _ in range(n):
        end_s = at_s + low + float(rng.uniform(0, length))
        spans.append((at_s, end_s))
        at_s = end_s + float(rng.choice([0.0, 0.3, 1.5]))
    return spans, Bounds(0.0, END_S, low, low + length)


@pytest.mark.parametrize("part", range(4))
def test_no_pair_of_edges_has_fewer_faults_the_worst_kind_counted_first(part: int) -> None:
    n_of_kind = np.zeros(4, np.int64)
    for seed in range(part * 400, part * 400 + 400):
        rng = np.random.default_rng(seed)
        source = made(seed)
        (span_s,), bounds = wanted(rng, 1)
        if rng.random() < 0.3:  # a neighbour that takes some of the room
            bounds = dataclasses.replace(bounds, high_s=span_s[1] + float(rng.uniform(-0.5, 1)))
        found = solve_edges(Timeline(make_info(END_S), source.analysis()), [span_s], bounds)
        pairs = pairs_of(source, span_s, bounds)
        if not pairs:
            continue
        starts = {a: source.faults(a, is_start=True) for a, _ in pairs}
        ends = {b: source.faults(b, is_start=False) for _, b in pairs}
        least = min(summed(starts[a], ends[b]) for a, b in pairs)
        assert found is not None, seed
        assert (found[0][0].time_s, found[0][1].time_s) in pairs, seed
        assert found_faults(source, found) == least, seed
        n_of_kind += np.array(least) > 0
    assert n_of_kind.min() > 3  # each kind was not to be had without, some time


def test_all_clips_together_have_as_few_faults_as_they_can() -> None:
    n_better = 0
    for seed in range(250):
        rng = np.random.default_rng(seed)
        source = made(seed, fps=2.5)
        spans, bounds = wanted(rng, 3)
        if spans[-1][1] > END_S - 3:
            continue
        timeline = Timeline(make_info(END_S), source.analysis())
        found = solve_edges(timeline, spans, bounds)
        best = together(source, spans, bounds)
        if best is None:
            continue
        assert found is not None, seed
        assert found_faults(source, found) == best, seed
        assert all(a[1].frame <= b[0].frame for a, b in itertools.pairwise(found)), seed
        assert all((a.time_s, b.time_s) in pairs_of(source, s, bounds) for (a, b), s in zip(found, spans, strict=True))
        alone = one_after_the_other(timeline, spans, bounds)
        n_better += alone is None or found_faults(source, alone) > best
    assert n_better > 10  # so that it is no matter of chance


def together(source: Source, spans: list[tuple[float, float]], bounds: Bounds) -> tuple[int, ...] | None:
    """The fewest faults of edges that keep the clips apart, by trying all that could follow each end."""
    best: dict[float, tuple[int, ...]] = {0.0: (0, 0, 0, 0)}
    for span_s in spans:
        after: dict[float, tuple[int, ...]] = {}
        for a, b in pairs_of(source, span_s, bounds):
            before = [faults for end_s, faults in best.items() if end_s <= a]
            if before:
                own = (source.faults(a, is_start=True), source.faults(b, is_start=False))
                now = summed(min(before), *own)
                after[b] = min(now, after.get(b, now))
        best = after
    return min(best.values(), default=None)


def one_after_the_other(timeline: Timeline, spans: list[tuple[float, float]], bounds: Bounds) -> Pairs | None:
    found: Pairs = []
    for span_s in spans:
        room = dataclasses.replace(bounds, low_s=found[-1][1].time_s if found else 0.0)
        pair = solve_edges(timeline, [span_s], room)
        if pair is None:
            return None
        found += pair
    return found


def test_an_earlier_clip_gives_way_to_a_later_one() -> None:
    # alone, the first one ends in the nearer pause, 20.4; the second, whose end has no other pause, must begin at 19 then
    pauses = [(9.0, 9.2), (19.0, 19.2), (20.4, 20.6), (29.0, 29.2)]
    source = Source(np.arange(200) / 5, pauses, [], [], has_sound=True)
    timeline, bounds = Timeline(make_info(END_S), source.analysis()), Bounds(0.0, END_S, 9.6, 11.6)
    spans = [(9.2, 20.0), (20.2, 30.1)]
    alone = solve_edges(timeline, spans[:1], bounds)
    found = solve_edges(timeline, spans, bounds)
    assert alone is not None
    assert found is not None
    assert alone[0][1].time_s >= 20.4
    assert found[0][1].time_s <= 19.2
    assert found_faults(source, found) == (0, 0, 0, 0)


def test_of_equal_places_the_earlier_one_wins() -> None:
    source = Source(np.arange(200) / 5, [], [], [], has_sound=False)
    bounds = Bounds(0.0, END_S, 4.0, 4.0)
    found = solve_edges(Timeline(make_info(END_S), source.analysis()), [(10.1, 14.1)], bounds)
    assert found is not None
    assert (found[0][0].time_s, found[0][1].time_s) == (10.0, 14.0)


def test_where_nothing_near_keeps_the_length_the_end_lies_as_far_as_it_must() -> None:
    source = Source(np.arange(0, 40, 0.2).round(6), [], [], [], has_sound=False)
    timeline, bounds = Timeline(make_info(END_S), source.analysis()), Bounds(0.0, END_S, 12.0, 20.0)
    found = solve_edges(timeline, [(10.0, 13.0)], bounds)
    assert found is not None
    assert found[0][1].time_s == found[0][0].time_s + 12
    assert solve_edges(timeline, [(10.0, 13.0)], dataclasses.replace(bounds, high_s=19.0)) is None
    told = dataclasses.replace(source, words=[Word(start_s=19.0, end_s=24.0, text="w", is_timed=True)])
    near = solve_edges(Timeline(make_info(END_S), told.analysis()), [(10.0, 21.5)], Bounds(0.0, END_S, 9.0, 20.0))
    assert near is not None
    assert near[0][1].time_s <= 23.5  # which is in a word, but within reach
    assert has_frames(timeline, np.array([10.0]), 12.0, 20.0).all()


def test_a_clip_may_begin_and_end_while_a_picture_is_shown_for_long() -> None:
    frames_s = np.append(np.arange(0, 20, 0.2), np.arange(29, 40, 0.2)).round(6)
    pauses = [(22.0, 22.5), (26.0, 26.5)]
    timeline = Timeline(make_info(END_S), Source(frames_s, pauses, [], [30.0], has_sound=True).analysis())
    assert timeline.cut_times_s.tolist() == [30.0]
    ((start, end),) = solve_edges(timeline, [(21.5, 26.7)], Bounds(0.0, END_S, 3.0, 5.0)) or ()
    assert (start.kind, end.kind) == ("quiet", "quiet")
    assert 22.0 <= start.time_s <= 22.5
    assert 26.0 <= end.time_s <= 26.5
    assert timeline.frames_of(timeline.pts_of(start), timeline.pts_of(end)) == (99, 100)
    exact = timeline.edge_near(timeline.frame_at(23.456), 23.456, "asked")
    assert (exact.time_s, timeline.pts_of(exact)) == (23.456, START_PTS + 586_400)
    frame = timeline.edge_near(timeline.frame_at(10.1), 10.1, "asked")
    assert (frame.time_s, timeline.pts_of(frame)) == (10.2, START_PTS + 255_000)


def test_the_first_of_the_least_of_each_stretch() -> None:
    rng = np.random.default_rng(5)
    for n in (0, 1, 2, 3, 8, 33):
        values = rng.integers(0, 4, n)
        lows, highs = rng.integers(0, n + 1, 200), rng.integers(0, n + 1, 200)
        slow = [int(np.argmin(values[a:b])) + a if a < b else n for a, b in zip(lows, highs, strict=True)]
        assert first_least(values, lows, highs).tolist() == slow
