"""Choosing, on signals made by hand: no media, no disk."""

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest

from topclip.errors import InvalidRequest, NoHighlights
from topclip.model.analysis import Analysis, Shot, Signal
from topclip.model.clip import Plan
from topclip.model.request import ClipOptions, Edit, Edits, Weights
from topclip.model.source import AudioStream, SourceInfo, VideoStream
from topclip.pipeline.plan import plan_document
from topclip.pipeline.ranges import recut
from topclip.pipeline.scoring import percentiles
from topclip.pipeline.select import clip_specs, select_clips

RATE, TICKS = 25, 1000


def make_info(duration_s: float, start_pts: int = 5000) -> SourceInfo:
    video = VideoStream(
        index=0, codec="h264", width=640, height=360, display_width=640, display_height=360,
        fps="25/1", time_base="1/25000", start_pts=start_pts, pixel_format="yuv420p",
    )  # fmt: skip
    audio = AudioStream(index=1, codec="aac", sample_rate_hz=48_000, channels=2)
    return SourceInfo(
        sha256="0" * 64, size_bytes=1, container="mp4", duration_s=duration_s, video=video, audio=audio, n_streams=2
    )


def make_analysis(
    duration_s: float,
    loud: tuple[tuple[float, float], ...] = (),
    cuts: tuple[float, ...] = (),
    quiet: tuple[tuple[float, float], ...] = (),
) -> Analysis:
    """A source that murmurs, shouts in `loud`, pauses in `quiet`, and cuts at `cuts`."""
    n = round(duration_s * RATE)
    pts = 5000 + np.arange(n, dtype=np.int64) * TICKS
    rng = np.random.default_rng(1)
    t = np.arange(round(duration_s * 10)) / 10
    lufs = (-30 + rng.normal(0, 1, len(t))).astype(np.float32)
    levels = np.full(len(t) * 2, -30.0, np.float32)
    for start, end in loud:
        lufs[(t >= start) & (t < end)] += 15
    for start, end in quiet:
        levels[round(start * 20) : round(end * 20)] = -70
    motion = rng.normal(10, 1, round(duration_s * 2)).astype(np.float32)
    edges = [0, *(round(c * RATE) for c in cuts), n]
    shots = [Shot(start_frame=a, end_frame=b, start_s=a / RATE, end_s=b / RATE) for a, b in itertools.pairwise(edges)]
    signals = (Signal("loudness", 0.1, lufs), Signal("motion", 0.5, motion))
    return Analysis(pts, 5000 + n * TICKS, levels, lufs, signals, tuple(shots))


def choose(duration_s: float, analysis: Analysis, **options: Any) -> Plan:
    options = {"weights": {"loudness": 1, "motion": 0.6}, **options}
    plan = select_clips(make_info(duration_s), analysis, ClipOptions.model_validate(options))
    check(plan, ClipOptions.model_validate(options), duration_s)
    return plan


def check(plan: Plan, options: ClipOptions, duration_s: float) -> None:
    """What holds of every plan."""
    spans = sorted((h.start_s, h.end_s) for h in plan.highlights)
    assert 1 <= len(spans) <= options.count
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))
    assert all(0 <= m.start_s < m.end_s <= duration_s + 1e-6 for m in plan.near_misses)
    for h in plan.highlights:
        assert 0 <= h.start_s < h.end_s <= duration_s + 1e-6
        assert options.min_length <= round(h.end_s - h.start_s, 6) <= options.max_length
        assert h.start_s == round((h.start_pts - 5000) / 25_000, 6)
        assert h.frames == round((h.end_s - h.start_s) * RATE)
        assert h.score == pytest.approx(sum(p.contribution for p in h.signals), abs=1e-5)
        assert sum(p.weight for p in h.signals) == pytest.approx(1, abs=1e-5)
        assert all(p.contribution == pytest.approx(p.weight * p.percentile, abs=1e-5) for p in h.signals)
    assert [h.n for h in plan.highlights] == list(range(1, len(spans) + 1))
    assert [h.score for h in plan.highlights] == sorted((h.score for h in plan.highlights), reverse=True)


def test_it_finds_the_loud_moments() -> None:
    loud = ((60.0, 75.0), (150.0, 170.0), (240.0, 252.0))
    plan = choose(300, make_analysis(300, loud), count=3, min_length=8, max_length=25)
    for start, end in loud:
        best = max(min(h.end_s, end) - max(h.start_s, start) for h in plan.highlights)
        assert best > 0.75 * (end - start)


def test_the_same_signals_give_the_same_bytes() -> None:
    documents = {plan_document(choose(300, make_analysis(300, ((60, 75),)), count=4)) for _ in range(3)}
    assert len(documents) == 1


def test_weights_change_what_is_chosen() -> None:
    analysis = make_analysis(300, ((60, 80),))
    motion = analysis.signals[1].values
    motion[400:440] += 30  # seconds 200 to 220
    by_sound = choose(300, analysis, count=1, weights={"loudness": 1, "motion": 0, "cuts": 0})
    by_motion = choose(300, analysis, count=1, weights={"loudness": 0, "motion": 1, "cuts": 0})
    assert 50 < by_sound.highlights[0].start_s < 80
    assert 190 < by_motion.highlights[0].start_s < 220


def test_near_misses_say_why_they_lost() -> None:
    plan = choose(300, make_analysis(300, ((60, 75), (150, 170), (240, 252))), count=1, min_length=8, max_length=20)
    assert 1 <= len(plan.near_misses) <= 5
    assert {m.reason for m in plan.near_misses} <= {"overlap", "close", "similar", "lower score"}
    assert any(m.reason == "lower score" for m in plan.near_misses)
    assert all(m.signals for m in plan.near_misses)


def test_an_edge_is_drawn_to_a_cut_nearby() -> None:
    plan = choose(120, make_analysis(120, ((40.0, 55.0),), cuts=(39.0, 56.2)), count=1, min_length=10, max_length=30)
    best = plan.highlights[0]
    assert (best.start_s, best.end_s) == (39.0, 56.2)
    assert (best.start_edge, best.end_edge) == ("cut", "cut")


def test_an_edge_is_drawn_to_a_pause_nearby() -> None:
    analysis = make_analysis(120, ((40.0, 55.0),), quiet=((38.6, 39.2), (55.8, 56.4)))
    best = choose(120, analysis, count=1, min_length=10, max_length=30).highlights[0]
    assert (best.start_edge, best.end_edge) == ("quiet", "quiet")
    assert 38.6 <= best.start_s <= 39.2
    assert 55.8 <= best.end_s <= 56.4


def test_no_sliver_of_the_next_shot_is_left() -> None:
    # the pause just after the cut would be nearer, but half a second of another picture would be shown
    analysis = make_analysis(120, ((40.0, 55.0),), cuts=(54.6,), quiet=((54.8, 55.2),))
    best = choose(120, analysis, count=1, min_length=10, max_length=30).highlights[0]
    assert not 54.6 < best.end_s <= 54.6 + 0.8


@pytest.mark.parametrize("duration_s", [15.0, 15.2, 15.48, 16.0, 31.0, 45.04])
def test_it_makes_do_with_a_source_hardly_long_enough(duration_s: float) -> None:
    choose(duration_s, make_analysis(duration_s), count=3, min_length=15, max_length=15.5)


@pytest.mark.parametrize("seed", range(12))
def test_every_plan_keeps_the_bounds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    duration_s = float(rng.integers(40, 400)) + 0.04 * float(rng.integers(0, 25))
    cuts = tuple(sorted({round(float(c) * RATE) / RATE for c in rng.uniform(1, duration_s - 1, rng.integers(0, 40))}))
    starts = rng.uniform(0, duration_s, 5)
    quiet = tuple((float(s), float(s) + 0.5) for s in rng.uniform(0, duration_s - 1, 30))
    analysis = make_analysis(duration_s, tuple((float(s), float(s) + 9) for s in starts), cuts, quiet)
    low = round(float(rng.uniform(1, 20)), 2)
    choose(
        duration_s,
        analysis,
        count=int(rng.integers(1, 12)),
        min_length=low,
        max_length=low + float(rng.uniform(0.1, 30)),
    )


def test_a_source_that_is_too_short_has_no_highlights() -> None:
    with pytest.raises(NoHighlights) as caught:
        select_clips(make_info(10), make_analysis(10), ClipOptions(min_length=15))
    assert "10" in str(caught.value.hint)
    with pytest.raises(NoHighlights) as caught:
        select_clips(make_info(0.52), make_analysis(0.52), ClipOptions(min_length=1))
    assert caught.value.hint == "a clip lasts a second at least"


@pytest.mark.parametrize(("length_s", "frames"), [(5.01, 125), (5.03, 126), (5.0, 125)])
def test_lengths_that_no_number_of_frames_has_are_those_of_the_nearest(length_s: float, frames: int) -> None:
    options = ClipOptions(min_length=length_s, max_length=length_s, count=3)
    analysis = make_analysis(60, loud=[(20, 25)])
    assert [h.frames for h in select_clips(make_info(60), analysis, options).highlights] == [frames] * 3


def test_asked_ranges_are_moved_to_frames_only() -> None:
    options = ClipOptions.model_validate({"mode": "ranges", "ranges": [[1.01, 2.0], [50, 60.04], [0.99, 1.0]]})
    plan = select_clips(make_info(60), make_analysis(60, cuts=(1.5,)), options)
    assert [(h.start_s, h.end_s) for h in plan.highlights] == [(1.04, 2.0), (50.0, 60.0), (1.0, 1.04)]
    assert {h.start_edge for h in plan.highlights} == {"asked"}


@pytest.mark.parametrize("outside", [[70, 80], [50, 60.1], [60, 60.03], [0, 99_999]])
def test_ranges_beyond_the_sources_end_are_refused(outside: list[float]) -> None:
    options = ClipOptions.model_validate({"mode": "ranges", "ranges": [[1, 2], outside]})
    with pytest.raises(InvalidRequest, match="it lasts 60 s") as caught:
        select_clips(make_info(60), make_analysis(60), options)
    assert caught.value.detail["field"] == "ranges"


def test_specs_carry_the_ranges_loudness() -> None:
    analysis = make_analysis(60, ((10, 30),))
    options = ClipOptions.model_validate({"mode": "ranges", "ranges": [[12, 28], [40, 50]], "aspect": "9:16"})
    loud, low = clip_specs(select_clips(make_info(60), analysis, options), analysis, options)
    assert loud.source_loudness == pytest.approx(-15, abs=0.5)
    assert low.source_loudness == pytest.approx(-30, abs=0.5)
    assert loud.aspect == "9:16"


def test_a_ranges_loudness_hears_nothing_before_it() -> None:
    analysis = make_analysis(60, ((10, 20),))
    analysis.loudness_lufs[200:203] = analysis.loudness_lufs[199]  # these 400 ms begin before 20 s
    analysis.loudness_lufs[203:] = -120
    options = ClipOptions.model_validate({"mode": "ranges", "ranges": [[20, 25], [19, 25], [12, 12.3]]})
    specs = clip_specs(select_clips(make_info(60), analysis, options), analysis, options)
    assert [spec.source_loudness is None for spec in specs] == [True, False, True]


def test_percentiles_are_midranks() -> None:
    assert percentiles(np.array([3.0, 1.0, 3.0, 7.0])).tolist() == [0.5, 0.125, 0.5, 0.875]
    assert percentiles(np.full(5, -70.0)).tolist() == [0.5] * 5
    assert percentiles(np.array([np.nan, 1.0, 2.0])).tolist() == [0.5, 0.25, 0.75]


def test_sound_alone_wanted_of_a_source_without_sound() -> None:
    analysis = make_analysis(60)
    none = np.empty(0, np.float32)
    mute = Analysis(analysis.frame_pts, analysis.end_pts, none, none, analysis.signals[1:], analysis.shots)
    plan = select_clips(make_info(60), mute, ClipOptions(weights=Weights(loudness=1, motion=0, cuts=0)))
    assert [p.name for p in plan.highlights[0].signals] == ["motion"]
    assert plan.highlights[0].signals[0].weight == 1


@pytest.mark.timeout(30)
def test_ten_hours_are_planned_at_once() -> None:
    analysis = make_analysis(36_000, tuple((float(s), float(s) + 20) for s in range(100, 36_000, 400)))
    choose(36_000, analysis, count=20, min_length=15, max_length=60)


def test_a_source_of_few_pictures_and_many_hours_is_planned_at_once() -> None:
    analysis = make_analysis(43_200)
    few = np.arange(0, len(analysis.frame_pts), 90 * RATE)
    shots = (Shot(start_frame=0, end_frame=len(few), start_s=0, end_s=43_200),)
    slides = dataclasses.replace(analysis, frame_pts=analysis.frame_pts[few], shots=shots)
    short = select_clips(make_info(43_200), slides, ClipOptions(min_length=10, max_length=60))
    assert len(short.highlights) == 5
    assert all(10 <= round(h.end_s - h.start_s, 6) <= 60 and h.frames <= 2 for h in short.highlights)
    assert all(h.held_pts is None or h.held_pts < h.start_pts for h in short.highlights)
    whole = select_clips(make_info(43_200), analysis, ClipOptions(min_length=10, max_length=60))
    assert "held_pts" in str(short.to_dict())
    assert "held_pts" not in str(whole.to_dict())  # an older release knows of none
    chosen = select_clips(make_info(43_200), slides, ClipOptions(count=2, min_length=60, max_length=100))
    assert len(chosen.highlights) == 2


def with_fingerprints(analysis: Analysis, alike: tuple[tuple[float, float], ...]) -> Analysis:
    """The ranges in `alike` look and sound the same, all else as chance has it."""
    n = round(len(analysis.frame_pts) / RATE)
    found = np.random.default_rng(2).integers(0, 16, (n, 24)).astype(np.int16)
    found[: n // 2] += 8
    for start, end in alike:
        found[round(start) : round(end)] = 3
    return dataclasses.replace(analysis, fingerprints=found)


def test_what_repeats_a_chosen_range_makes_way_for_something_else() -> None:
    analysis = make_analysis(400, ((60, 72), (200, 212), (320, 332)))
    analysis.loudness_lufs[3200:3320] -= 1.5  # a little weaker, but something else
    options = {"count": 2, "min_length": 10, "max_length": 14, "weights": {"loudness": 1, "motion": 0}}
    same = [h.start_s for h in choose(400, with_fingerprints(analysis, ()), **options).highlights]
    plan = choose(400, with_fingerprints(analysis, ((58, 74), (198, 214))), **options)
    assert max(same) < 250
    starts = sorted(h.start_s for h in plan.highlights)
    assert starts[0] < 215
    assert starts[1] > 300
    assert any(m.reason == "similar" and m.to is not None for m in plan.near_misses)


def test_what_follows_at_once_but_is_something_else_need_not_wait() -> None:
    analysis = make_analysis(400, ((100, 112), (113, 125), (300, 312)))
    analysis.loudness_lufs[3000:3120] -= 4
    options = {"count": 2, "min_length": 10, "max_length": 12, "weights": {"loudness": 1, "motion": 0}}
    by_time = [h.start_s for h in choose(400, analysis, **options).highlights]
    known = with_fingerprints(analysis, ((100, 112),))
    by_content = [h.start_s for h in choose(400, known, **options).highlights]
    assert max(by_time) > 250
    assert max(by_content) < 130


@pytest.mark.parametrize(
    ("duration_s", "count", "low", "high"), [(80, 5, 15, 60), (75.2, 5, 15, 60), (60, 4, 15, 15.5), (300, 19, 15, 60)]
)
def test_as_many_clips_as_the_source_has_room_for(duration_s: float, count: int, low: float, high: float) -> None:
    analysis = make_analysis(duration_s, ((20, 45),), quiet=((10.2, 10.8), (33.1, 33.5)))
    plan = choose(duration_s, analysis, count=count, min_length=low, max_length=high)
    assert len(plan.highlights) == count


def test_near_misses_end_with_the_source() -> None:
    analysis = make_analysis(42.4, loud=[(5, 9), (40, 42.4)])
    plan = choose(42.4, analysis, count=1, min_length=5, max_length=8)
    assert max(m.end_s for m in plan.near_misses) == 42.4


def test_near_misses_name_what_they_lost_to() -> None:
    plan = choose(300, make_analysis(300, ((60, 100), (150, 160))), count=2, min_length=8, max_length=12)
    to = {m.reason: m.to for m in plan.near_misses}
    assert to.get("close", 1) in (1, 2)
    assert to.get("lower score") is None
    assert {"close", "overlap"} & set(to)


def test_a_recut_sets_its_clip_and_leaves_the_plan_as_it_is() -> None:
    analysis, info, options = (
        make_analysis(300, ((60, 75), (150, 170), (240, 252))),
        make_info(300),
        ClipOptions(count=3),
    )
    plan = select_clips(info, analysis, options)
    old = plan.model_copy(
        update={"version": "an older one", "highlights": plan.highlights[::-1]}
    )  # not as it would be now
    edits = Edits(plan="k", clips=(Edit(n=2, start_s=10.01, end_s=20.03),))
    new = recut(old, info, analysis, options, edits)
    assert [h for h in new.highlights if h.n != 2] == [h for h in old.highlights if h.n != 2]
    (edited,) = [h for h in new.highlights if h.n == 2]
    assert (edited.start_s, edited.end_s, edited.frames, edited.start_edge) == (10.04, 20.04, 250, "asked")
    assert edited.score == pytest.approx(sum(p.contribution for p in edited.signals))
    assert new.model_copy(update={"highlights": old.highlights}) == old
    for clips in ((Edit(n=4, start_s=1, end_s=2),), (Edit(n=1, start_s=299, end_s=301),)):
        with pytest.raises(InvalidRequest):
            recut(old, info, analysis, options, Edits(plan="k", clips=clips))
