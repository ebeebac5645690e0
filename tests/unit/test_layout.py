"""Words to lines, by widths that are made up."""

import unicodedata
from itertools import pairwise

import pytest

from topclip.captions.layout import frame_for, lay_out
from topclip.captions.styles import LOOKS
from topclip.captions.words import build_cues
from topclip.model.request import CaptionStyle
from topclip.model.transcript import RawCue


def test_an_address_that_is_longer_than_a_line_is_broken_where_it_may_be_and_lit_part_by_part() -> None:
    address = "https://example.com/talks/2026/a-long-title-about-captions?session=12&speaker=anna"
    (cue,) = build_cues([RawCue(start_ms=0, end_ms=10_000, markup=f"see {address} now", syntax="plain")], 10.0)
    look = LOOKS[CaptionStyle.SPOKEN]
    blocks = lay_out([cue], frame_for(720, 720, look), look, lambda text: 0.5 * len(text))
    assert all(block.shrink == 1.0 for block in blocks)
    words = [word for block in blocks for line in block.lines for word in line]
    assert "".join(word.text for word in words) == f"see{address}now"
    assert all(a.end_s == b.start_s for a, b in pairwise(words))
    parts = words[1:-1]
    assert [part.is_joined for part in parts] == [False, *[True] * (len(parts) - 1)]
    assert all(part.text[-1] in "/.?&=-" for part in parts[:-1])


def test_two_speakers_stay_apart_where_their_lines_are_too_long() -> None:
    first, second = "- Who is there, so late at night, and why?", "- Nobody."
    (cue,) = build_cues([RawCue(start_ms=0, end_ms=10_000, markup=f"{first}\n{second}", syntax="plain")], 10.0)
    look = LOOKS[CaptionStyle.PLAIN]
    blocks = lay_out([cue], frame_for(720, 720, look), look, lambda line: 0.5 * len(line))
    lines = [[word.text for word in line] for block in blocks for line in block.lines]
    assert lines[-1] == second.split()
    assert [word for line in lines[:-1] for word in line] == first.split()


THAI = "ประเทศไทยเป็นประเทศที่มีวัฒนธรรมยาวนานและภาษาที่ไม่มีช่องว่างระหว่างคำเลยสักนิดเดียวครับท่านผู้ชม"
GERMAN = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"


@pytest.mark.parametrize(
    "word",
    [THAI, GERMAN, "क्षत्रिय" * 12, "👩‍🚀" * 40, "👍🏽🇩🇪" * 20],
    ids=["Thai", "German", "Devanagari", "joined", "flags"],
)
def test_a_word_longer_than_a_line_is_broken_between_signs_and_not_made_small(word: str) -> None:
    (cue,) = build_cues([RawCue(start_ms=0, end_ms=10_000, markup=word, syntax="plain")], 10.0)
    look = LOOKS[CaptionStyle.SPOKEN]
    blocks = lay_out([cue], frame_for(720, 1280, look), look, lambda text: 0.6 * len(text))
    assert all(block.shrink == 1.0 for block in blocks)
    assert any(len(block.lines) == 2 for block in blocks)
    parts = [part.text for block in blocks for line in block.lines for part in line]
    assert "".join(parts) == word
    for before, after in pairwise(parts):
        assert not unicodedata.category(after[0]).startswith("M")
        assert before[-1] not in "เแโใไ\u094d\u200d"
        assert after[0] not in "ะาำ\u200d🏽🇪"
