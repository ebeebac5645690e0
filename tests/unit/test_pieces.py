"""Modes `shots` and `silence`: whole pieces of the source, scored, within the bounds, and an error that names the option."""

import dataclasses

import numpy as np
import pytest

from tests.unit.test_select import make_analysis, make_info
from topclip.errors import NoHighlights
from topclip.model.analysis import Analysis
from topclip.model.clip import Plan
from topclip.model.request import ClipOptions
from topclip.pipeline.select import select_clips

CUTS = (10.0, 10.4, 22.0, 60.0)
PAUSES = ((12.0, 14.0), (20.0, 20.3), (40.0, 90.0))


def planned(analysis: Analysis, mode: str, duration_s: float = 100, **options: object) -> Plan:
    return select_clips(make_info(duration_s), analysis, ClipOptions.model_validate({"mode": mode, **options}))


def spans(plan: Plan) -> list[tuple[float, float]]:
    return [(h.start_s, h.end_s) for h in plan.highlights]


def flat(found: list[tuple[float, float]]) -> list[float]:
    return [time_s for span in found for time_s in span]


def test_every_shot_of_a_second_or_more_is_a_clip_in_the_order_of_the_source() -> None:
    plan = planned(make_analysis(100, ((70, 90),), CUTS), "shots")
    assert spans(plan) == [(0, 10), (10.4, 22), (22, 60), (60, 100)]
    assert [(h.n, h.start_edge, h.end_edge) for h in plan.highlights][::3] == [
        (1, "source", "cut"),
        (4, "cut", "source"),
    ]
    assert [(m.start_s, m.reason) for m in plan.near_misses] == [(10.0, "too short")]
    assert sum(p.contribution for p in plan.highlights[0].signals) == pytest.approx(plan.highlights[0].score)


def test_the_best_shots_are_taken_where_there_are_too_many_and_lengths_are_kept_to() -> None:
    analysis = make_analysis(100, ((70, 90),), CUTS)
    two = planned(analysis, "shots", count=2)
    best = sorted(planned(analysis, "shots").highlights, key=lambda h: -h.score)[:2]
    assert spans(two) == sorted((h.start_s, h.end_s) for h in best)
    assert two.near_misses[0].reason == "lower score"
    assert spans(planned(analysis, "shots", min_length=11, max_length=39)) == [(10.4, 22), (22, 60)]


def test_what_lies_between_silences_is_a_clip_with_a_margin() -> None:
    plan = planned(make_analysis(100, quiet=PAUSES), "silence")
    assert flat(spans(plan)) == pytest.approx([0, 12.2, 13.8, 40.2, 89.8, 100])  # 0.3 s is a pause, no silence
    assert [(h.start_edge, h.end_edge) for h in plan.highlights] == [
        ("source", "quiet"), ("quiet", "quiet"), ("quiet", "source")
    ]  # fmt: skip


def test_a_source_that_is_never_silent_is_one_clip() -> None:
    assert spans(planned(make_analysis(100), "silence")) == [(0, 100)]


def test_a_long_silence_of_some_noise_is_silent_throughout() -> None:
    analysis = make_analysis(300)
    noisy = analysis.level_db + 10
    noisy[1000:5000] = -53 + np.random.default_rng(2).normal(0, 1, 4000)
    found = spans(planned(dataclasses.replace(analysis, level_db=noisy.astype(np.float32)), "silence", 300))
    assert flat(found) == pytest.approx([0, 50.2, 249.8, 300], abs=0.05)


@pytest.mark.parametrize(
    ("mode", "options", "field", "hint"),
    [
        ("shots", {"min_length": 45}, "min_length", "lower min_length to 40 or less"),
        ("shots", {"max_length": 5}, "max_length", "raise max_length to 10 or more"),
        ("silence", {"min_length": 50}, "min_length", "lower min_length to 26.4 or less"),
    ],
)
def test_bounds_that_nothing_keeps_are_named(mode: str, options: dict[str, float], field: str, hint: str) -> None:
    with pytest.raises(NoHighlights) as caught:
        planned(make_analysis(100, (), CUTS, PAUSES), mode, **options)
    assert (caught.value.detail["field"], caught.value.hint) == (field, hint)


def test_a_source_without_sound_has_shots_and_no_silences() -> None:
    analysis = make_analysis(100, (), CUTS)
    mute = dataclasses.replace(
        analysis, level_db=np.empty(0, np.float32), loudness_lufs=np.empty(0, np.float32), signals=analysis.signals[1:]
    )
    assert len(planned(mute, "shots").highlights) == 4
    with pytest.raises(NoHighlights, match="no sound") as caught:
        planned(mute, "silence")
    assert caught.value.detail["field"] == "mode"
    silent = dataclasses.replace(analysis, level_db=np.full_like(analysis.level_db, -120))
    with pytest.raises(NoHighlights, match="silent throughout"):
        planned(silent, "silence")


def test_defaults_depend_on_the_mode_and_what_is_said_stands() -> None:
    assert ClipOptions.model_validate({"mode": "shots"}).max_length == 3600
    said = ClipOptions.model_validate_json('{"mode": "silence", "count": 5, "min_length": 15.0}')
    assert (said.count, said.min_length, said.max_length) == (5, 15, 3600)
    assert ClipOptions().count == 5
    assert ClipOptions.model_validate(said.to_dict()) == said
