"""The drawing of a plan: well-formed, complete, true to the plan, and safe with any name."""

import dataclasses
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.unit.test_select import make_analysis, make_info
from topclip.model.analysis import Analysis, Signal
from topclip.model.clip import Plan
from topclip.model.request import ClipOptions
from topclip.pipeline.plot import draw_plan
from topclip.pipeline.select import select_clips

SVG = "{http://www.w3.org/2000/svg}"


def drawn(analysis: Analysis, duration_s: float, name: str = "talk.mp4") -> tuple[Plan, ElementTree.Element, str]:
    info = make_info(duration_s).model_copy(update={"name": name})
    plan = select_clips(info, analysis, ClipOptions(count=3, min_length=8, max_length=20))
    plan = plan.model_copy(update={"source": {**plan.source, "name": name}})
    text = draw_plan(plan, analysis)
    return plan, ElementTree.fromstring(text), text


def texts(root: ElementTree.Element) -> list[str]:
    return ["".join(element.itertext()) for element in root.iter(f"{SVG}text")]


def test_all_of_a_plan_is_drawn() -> None:
    analysis = make_analysis(300, ((60, 75), (150, 170), (240, 252)), cuts=(40.0, 200.0))
    plan, root, _ = drawn(analysis, 300)
    found = texts(root)
    assert {"1", "2", "3", "0:00", "2:00", "shots 3", "near-misses"} <= set(found)
    assert sum(text.startswith(("loudnessweight", "motionweight")) for text in found) == 2
    titles = ["".join(t.itertext()) for t in root.iter(f"{SVG}title")]
    assert len(titles) == 1 + len(plan.highlights) + len(plan.near_misses)
    assert any(f"score {plan.highlights[0].score:.3f}" in title for title in titles)
    assert {m.reason for m in plan.near_misses} <= {text.split(" to ")[0] for text in found}


def test_a_highlight_is_drawn_where_it_lies() -> None:
    plan, root, _ = drawn(make_analysis(300, ((60, 75),)), 300)
    first = plan.highlights[0]
    spans = [g.find(f"{SVG}rect") for g in root.iter(f"{SVG}g") if (g.findtext(f"{SVG}title") or "").startswith("1: ")]
    left = 150 + (1200 - 150 - 24) * first.start_s / 300
    assert any(span is not None and float(span.get("x", "0")) == pytest.approx(left, abs=0.1) for span in spans)


def test_a_name_cannot_break_out() -> None:
    _, root, text = drawn(make_analysis(120, ((60, 75),)), 120, name='</title><script>alert(1)</script>&".mp4')
    assert "<script" not in text
    assert root.findtext(f"{SVG}title") == 'Plan of </title><script>alert(1)</script>&".mp4'


def test_the_same_plan_is_drawn_the_same() -> None:
    analysis = make_analysis(120, ((60, 75),))
    assert drawn(analysis, 120)[2] == drawn(analysis, 120)[2]


def test_hours_stay_small_and_bear_hours() -> None:
    analysis = make_analysis(36_000, ((600, 640),), cuts=tuple(float(t) for t in range(10, 35_000, 3)))
    _, root, text = drawn(analysis, 36_000)
    assert len(text) < 200_000
    assert "2:00:00" in texts(root)


def test_a_source_without_sound_is_drawn() -> None:
    mute = make_analysis(120)
    none = np.empty(0, np.float32)
    motion = Signal("motion", 0.5, mute.signals[1].values)
    silent = dataclasses.replace(mute, level_db=none, loudness_lufs=none, signals=(motion,))
    _, root, _ = drawn(silent, 120)
    assert not any(text.startswith("loudness") for text in texts(root))
