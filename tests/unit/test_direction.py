"""Lines of right-to-left and mixed text run as Unicode has them, seen in pictures."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.unit.test_captions import drawn, yellow
from topclip.captions.direction import bases_of, marked
from topclip.captions.words import build_cues
from topclip.model.transcript import RawCue

# (text, its words as they are to stand in the picture: by line, from the left)
TEXTS = [
    ("היום נדבר על\nWindows 11, מערכת!", [["על", "נדבר", "היום"], ["מערכת!", "Windows", "11,"]]),
    ("The word for hello:\nשלום (peace), yes.", [["The", "word", "for", "hello:"], ["שלום", "(peace),", "yes."]]),
    ("שלום, (world) 123 אמר", [["אמר", "123", "(world)", "שלום,"]]),
    ("word שלום (עולם) (abc) end", [["word", "(עולם)", "שלום", "(abc)", "end"]]),
    ("- What is up?\n- שלום (peace) טוב", [["-", "What", "is", "up?"], ["טוב", "(peace)", "שלום", "-"]]),
]


@pytest.mark.parametrize(("text", "wanted"), TEXTS)
def test_words_stand_in_the_order_of_their_line(text: str, wanted: list[list[str]], tmp_path: Path) -> None:
    (cue,) = build_cues([RawCue(start_ms=0, end_ms=1000, markup=text, syntax="plain")], 1.0)
    middles = {}
    for word, end_s in zip(cue.words, [*(w.start_s for w in cue.words[1:]), 1.0], strict=True):
        if word.text != "-":
            picture = drawn(text, tmp_path, size=(1280, 360), style="spoken", at_s=(word.start_s + end_s) / 2)
            middles[word.text] = float(np.nonzero(yellow(picture))[1].mean())
    for line in wanted:
        assert all(middles[a] < middles[b] for a, b in pairwise(word for word in line if word in middles)), middles


def test_brackets_stay_around_what_they_hold(tmp_path: Path) -> None:
    alone = drawn("(world)", tmp_path, style="spoken")
    with_others = drawn("שלום (world) 123", tmp_path, style="spoken", at_s=0.5)
    lit = [np.ptp(np.nonzero(yellow(picture))[1]) for picture in (alone, with_others)]
    assert lit[0] == pytest.approx(lit[1], abs=2)  # else one of them stands beyond the number


@pytest.mark.parametrize(
    ("text", "bases"),
    [
        ("שלום\nWindows, טוב", ["R", "R"]),
        ("hello\nשלום, yes", ["L", "L"]),
        ("שלום לך\nHello there.", ["R", "L"]),
        ("שלום\n123!", ["R", "R"]),
        ("hello\n- שלום yes", ["L", "R"]),
        ("... 12", [None]),
    ],
)
def test_a_line_runs_as_its_cue_unless_it_is_another_text(text: str, bases: list[str | None]) -> None:
    assert bases_of(text) == bases


@pytest.mark.parametrize("text", ["Grüße (you) 12", "שלום (טוב) 12", "(a [b) c] {", "…"])
def test_a_line_that_needs_no_mark_is_as_it_was(text: str) -> None:
    (base,) = bases_of(text)
    words = text.split(" ")
    assert marked(words, [" "] * len(words), base) == words
