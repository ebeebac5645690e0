"""What a transcript adds to choosing: signals of what is said, and edges that lie in no word."""

import dataclasses
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.unit.conftest import make_context, request_for
from tests.unit.test_select import choose, make_analysis, make_info
from topclip import run_local
from topclip.analysers import TELLING, Told
from topclip.model.analysis import Analysis
from topclip.model.audience import AudienceCurve
from topclip.model.clip import Plan
from topclip.model.request import MediaPath, Weights
from topclip.model.transcript import Word
from topclip.pipeline.merge import with_told


def spoken(duration_s: float, *, per_sentence: int = 7, seed: int = 3) -> tuple[Word, ...]:
    """Words without a pause, 0.25 to 0.9 s long; every so many end a sentence."""
    rng, at_s, words = np.random.default_rng(seed), 0.3, []
    while at_s < duration_s - 1:
        end_s = round(at_s + float(rng.uniform(0.25, 0.9)), 3)
        is_end = len(words) % per_sentence == per_sentence - 1
        text = "word." if is_end else "word"
        words.append(Word(start_s=at_s, end_s=end_s, text=text, is_timed=True, ends_sentence=is_end))
        at_s = end_s
    return tuple(words)


def said(*words: str) -> Told:
    """Words that begin a second after the other."""
    found = [
        Word(start_s=float(n), end_s=n + 0.5, text=text, is_timed=True, ends_sentence=text[-1] in ".?؟？")
        for n, text in enumerate(words)
    ]
    curve = AudienceCurve(times_s=(0.0, 20.0, 30.0), values=(0.0, 9.0, 3.0))
    return Told(found, 2 * len(words) + 60, ("big river", "Straße"), curve)


def depths(plan: Plan, words: tuple[Word, ...]) -> list[float]:
    """How deep each edge lies in a word, seconds."""
    edges = [at for h in plan.highlights for at in (h.start_s, h.end_s)]
    return [max(min(at - w.start_s, w.end_s - at) for w in words) for at in edges]


@pytest.mark.parametrize("seed", range(6))
def test_no_edge_lies_in_a_word(seed: int) -> None:
    words = spoken(180, seed=seed)
    base = make_analysis(180, loud=((40, 50), (90, 97), (140, 155)), cuts=(38.2, 52.4, 88.9, 139.7))
    told = dataclasses.replace(base, words=words)
    options = {"count": 4, "min_length": 8, "max_length": 20}
    assert max(depths(choose(180, told, **options), words)) <= 0.05
    assert max(depths(choose(180, base, **options), words)) > 0.05  # which is none's luck


def test_a_sentence_is_rather_whole_than_parted() -> None:
    words = spoken(120, per_sentence=4)
    plan = choose(120, dataclasses.replace(make_analysis(120, loud=((60, 70),)), words=words), count=1, min_length=8)
    (highlight,) = plan.highlights
    firsts = [after.start_s for word, after in pairwise(words) if word.ends_sentence]
    assert highlight.start_edge == "sentence"
    assert min(abs(highlight.start_s - first) for first in firsts) <= 0.11


def test_what_is_measured_to_be_quiet_is_believed_rather_than_times_that_are_only_reckoned() -> None:
    quiet = ((57.5, 58.0), (72.0, 72.5))
    words = tuple(Word(start_s=a, end_s=b, text="long", is_timed=False) for a, b in ((50.0, 72.8), (72.8, 80.0)))
    analysis = dataclasses.replace(make_analysis(120, loud=((58, 72),), quiet=quiet), words=words)
    (highlight,) = choose(120, analysis, count=1, min_length=8, max_length=20).highlights
    assert highlight.end_edge == "quiet"


def test_what_is_told_is_loudest_where_they_are_said() -> None:
    told = said(
        *["and"] * 20, "who", "asks", "why?", *["so"] * 20, "the", "BIG", "river,", "and", "strasse", *["no."] * 9
    )
    tops = {}
    for name, analyser in TELLING.items():
        signal = analyser(told)
        assert signal is not None
        assert (signal.name, signal.values.shape, signal.values.dtype) == (name, (told.n_hops,), np.float32)
        assert name in Weights.model_fields
        tops[name] = float(np.nanargmax(signal.values)) * signal.hop_s
    assert abs(tops["questions"] - 22) <= 6
    assert abs(tops["keywords"] - 45) <= 5
    assert tops["audience"] == 20
    words = TELLING["words"](told)
    assert words is not None
    assert words.values[:100].mean() == pytest.approx(1.0, abs=0.05)
    assert words.values[-20:].max() == 0


@pytest.mark.parametrize(("name", "words"), [("questions", ["no."]), ("keywords", ["river"]), ("words", [])])
def test_what_a_transcript_does_not_hold_is_no_signal(name: str, words: list[str]) -> None:
    assert TELLING[name](said(*words)) is None


@pytest.mark.parametrize("mark", ["?", "؟", "？"])
def test_questions_are_told_by_their_mark_in_any_script(mark: str) -> None:
    assert TELLING["questions"](said("so" + mark)) is not None


def test_a_keyword_moves_the_choice() -> None:
    words = tuple(
        Word(start_s=t, end_s=t + 0.4, text="river" if 150 < t < 158 else "word", is_timed=True)
        for t in np.arange(0.0, 199.0, 1.0).tolist()
    )
    base: Analysis = make_analysis(200, loud=((40, 50),))
    weights = {"loudness": 1, "motion": 0.6, "keywords": 3}
    spans = []
    for keywords in ((), ("River",)):
        analysis = with_told(make_info(200), base, words, keywords)
        (highlight,) = choose(200, analysis, count=1, min_length=8, max_length=15, weights=weights).highlights
        spans.append(highlight.start_s)
        assert {"words"} | ({"keywords"} if keywords else set()) <= {part.name for part in highlight.signals}
    assert 30 < spans[0] < 50
    assert 140 < spans[1] < 158


def test_a_plan_rests_on_its_transcript(tmp_path: Path, media: object) -> None:
    source = media("base.mp4")  # type: ignore[operator]
    keys = []
    for n, text in enumerate((None, "one", "two?")):
        request = request_for(source, mode="plan", count=2, min_length=3, max_length=6)
        if text:
            path = tmp_path / f"{n}.srt"
            path.write_text(f"1\n00:00:01,000 --> 00:00:05,000\n{text} more\n")
            request = request.model_copy(update={"subtitles": MediaPath(path=str(path), name=path.name)})
        ctx = make_context(tmp_path / "store")
        plan = Plan.model_validate_json(ctx.store.get_bytes((result := run_local.run(request, ctx)).plan_key))
        keys.append(result.plan_key.rpartition("/")[2])
        assert ("words" in {part.name for part in plan.highlights[0].signals}) == bool(text)
    assert len(set(keys)) == 3
