"""Subtitle files as people have them: read right, or refused with the line at fault."""

import contextlib
import random

import pytest

from topclip.captions.cues import clip_cues
from topclip.captions.files import read_file, to_srt, to_vtt
from topclip.captions.words import build_cues
from topclip.errors import BadSubtitles
from topclip.media.subtitles import ass_cues
from topclip.model.transcript import Cue, Transcript
from topclip.pipeline.subtitles import read_subtitles
from topclip.text_files import MAX_BYTES

ODD_SRT = """1
00:00:06,000 --> 00:00:07,500 X1:40 X2:600
<i>Hello</i> {\\an8}<font color="#fff">world</font> 2 < 3 {b} AT&amp;T

2
00:00:01,000 --> 00:00:03,000
- One
- Two

3
00:00:02,5 --> 00:00:04,000

still the third,
after a blank line

00:05.000 --> 00:05.500
1984

7
00:01:00,000 --> 00:01:01,000
behind the end
"""
VTT = """WEBVTT - a title
Kind: captions

STYLE
::cue { color: red }

NOTE not said
at all

intro
00:01.000 --> 00:03.000 align:start position:0%
<v Bob>Hello <00:01.500><c>big</c> <00:02.000><c.yellow>wide world</c></v> &lt;b&gt;

NOTE at the end

00:00:04.000 --> 00:00:05.000
two
lines
"""
ROLLED_UP = """WEBVTT

00:00:00.000 --> 00:00:02.000
hello<00:00:01.000><c> world</c>

00:00:02.000 --> 00:00:02.010
hello world

00:00:02.010 --> 00:00:04.000
hello world
this<00:00:03.000><c> is</c>

00:00:04.000 --> 00:00:05.000
so<00:00:04.500><c> so</c>
"""
ASS = """[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize
Style: Default,Arial,20

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:00:01.00,0:00:03.00,Default,,0,0,0,,{\\k50}Good{\\k50}bye {\\kf100}world,\\N{\\p1}m 0 0 l 1 1{\\p0}yes, {\\i1}so
Comment: 0,0:00:01.00,0:00:03.00,Default,,0,0,0,,not said
"""


def cues_of(text: str | bytes, duration_s: float = 30.0) -> tuple[Cue, ...]:
    content = text.encode() if isinstance(text, str) else text
    return build_cues(read_subtitles(content, "talk.srt"), duration_s)


def spans(cues: tuple[Cue, ...]) -> list[tuple[float, float, str]]:
    return [(cue.start_s, cue.end_s, cue.text) for cue in cues]


WANTED = [
    (1.0, 3.0, "- One\n- Two"),
    (2.5, 4.0, "still the third,\nafter a blank line"),
    (5.0, 5.5, "1984"),
    (6.0, 7.5, "Hello world 2 < 3 {b} AT&T"),
]


@pytest.mark.parametrize(
    "content",
    [
        ODD_SRT.encode(),
        ODD_SRT.encode("utf-8-sig"),
        ODD_SRT.encode("utf-16"),
        b"\xfe\xff" + ODD_SRT.encode("utf-16-be"),
        ODD_SRT.replace("\n", "\r\n").encode(),
        ODD_SRT.replace("\n", "\r").encode(),
    ],
    ids=["plain", "bom", "utf-16", "utf-16-be", "crlf", "cr"],
)
def test_an_odd_srt_is_read_right_whatever_its_encoding(content: bytes) -> None:
    assert spans(cues_of(content)) == WANTED


def test_what_reaches_beyond_the_source_is_cut_and_what_lies_beyond_is_left_out() -> None:
    assert spans(cues_of(ODD_SRT, 5.2))[-1] == (5.0, 5.2, "1984")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"1\n00:00:01,000 --> 00:00:02,000\na\n\n2\n00:00:xx,000 --> 00:00:05,000\nb", ["talk.srt", "no cue"][:1]),
        (b"1\n00:00:01,000 --> 00:00:02,000\na\n\n2\n-00:00:03,000 --> 00:00:05,000\nb", ["line 6", "no times"]),
        (b"1\n00:00:05,000 --> 00:00:02,000\na", ["line 2", "before it begins"]),
        (b"1\n00:75:01,000 --> 00:76:02,000\na", ["line 2", "above 59"]),
        (b"1\n00:00:01,000 --> 00:00:02,000\ncaf\xe9", ["line 3", "UTF-8"]),
        (b"1\n00:00:01,000 --> 00:00:02,000\na\0b", ["line 3", "binary"]),
        (bytes(range(256)) * 40, ["talk.srt", "line"]),
        (b"\xff\xfe\x00\xd8\x01", ["talk.srt", "UTF-16"]),
        (b"", ["no cue"]),
        (b"just words", ["no cue"]),
        (b"1\n00:00:01,000 --> 00:00:02,000\n" + b"long " * 2000, ["line 2", "characters"]),
        (b"x" * (MAX_BYTES + 1), ["larger than"]),
        (b"[Script Info]\nScriptType: v4.00+\n", ["no cue"]),
    ],
)
def test_what_cannot_be_read_is_refused_with_file_line_and_a_hint(content: bytes, words: list[str]) -> None:
    if words == ["talk.srt"]:  # a line that is no time at all is text of the cue before
        assert "xx" in cues_of(content)[0].text
        return
    with pytest.raises(BadSubtitles) as caught:
        cues_of(content)
    assert all(word in caught.value.message for word in ("talk.srt", *words))
    assert caught.value.detail["field"] == "subtitles"
    assert caught.value.hint


def test_notes_styles_and_names_of_cues_are_not_said_and_words_keep_their_times() -> None:
    first, second = cues_of(VTT)
    assert (first.text, second.text) == ("Hello big wide world <b>", "two\nlines")
    told = [(word.text, word.start_s, word.end_s, word.is_timed) for word in first.words]
    assert told[:2] == [("Hello", 1.0, 1.5, True), ("big", 1.5, 2.0, True)]
    assert told[2] == ("wide", 2.0, 2.333, True)
    assert [(word[0], word[3]) for word in told[3:]] == [("world", False), ("<b>", False)]
    assert told[-1][2] == 3.0


def test_a_line_that_live_captions_show_twice_is_said_once() -> None:
    cues = cues_of(ROLLED_UP)
    assert [cue.text for cue in cues] == ["hello world", "this is", "so so"]
    assert [word.start_s for word in cues[1].words] == [2.01, 3.0]


def test_karaoke_gives_words_their_times_and_drawings_no_words() -> None:
    (cue,) = build_cues(ass_cues(ASS.encode(), "a.ass"), 30.0)
    assert cue.text == "Goodbye world,\nyes, so"
    assert [(w.text, w.start_s, w.is_timed) for w in cue.words][:2] == [("Goodbye", 1.0, True), ("world,", 2.0, True)]
    assert not cue.words[2].is_timed


def test_words_without_times_share_their_cue_by_their_length_and_sentences_end() -> None:
    (cue,) = cues_of("1\n00:00:01,000 --> 00:00:03,000\nabc. defghij ab!")
    assert [(w.start_s, w.end_s) for w in cue.words] == [(1.0, 1.588), (1.588, 2.529), (2.529, 3.0)]
    assert [w.ends_sentence for w in cue.words] == [True, False, True]


def test_signs_of_scripts_without_spaces_are_words_of_their_own() -> None:
    (cue,) = cues_of("1\n00:00:01,000 --> 00:00:03,000\n東京は、OK です")
    assert [w.text for w in cue.words] == ["東", "京", "は、", "OK", "で", "す"]
    assert [w.is_joined for w in cue.words] == [False, True, True, True, False, True]


def test_a_transcript_tells_its_words_in_the_order_of_time() -> None:
    words = Transcript(origin="subtitles", cues=cues_of(ODD_SRT)).words
    assert [w.start_s for w in words] == sorted(w.start_s for w in words)
    assert Transcript.from_dict(Transcript(origin="subtitles", cues=cues_of(VTT)).to_dict()).words[1].text == "big"


def test_a_clips_cues_are_cut_at_its_bounds_to_the_millisecond() -> None:
    transcript = Transcript(origin="subtitles", cues=cues_of(ODD_SRT))
    cut = clip_cues(transcript, 2.0, 6.001)
    assert spans(cut) == [
        (0.0, 1.0, "- One\n- Two"),
        (0.5, 2.0, "still the third,\nafter a blank line"),
        (3.0, 3.5, "1984"),
        (4.0, 4.001, "Hello world 2 < 3 {b} AT&T"),
    ]
    assert clip_cues(transcript, 7.5, 9.0) == ()


def test_of_a_parted_cue_with_times_only_what_is_heard_stays() -> None:
    (cue, _) = clip_cues(Transcript(origin="subtitles", cues=cues_of(VTT)), 1.5, 4.5)
    assert (cue.start_s, cue.end_s, cue.text) == (0.0, 1.5, "big wide world <b>")
    assert [w.start_s for w in cue.words][:2] == [0.0, 0.5]


def test_files_read_back_as_they_were_written_whatever_the_text() -> None:
    nasty = ["a --> b", "00:00:01,000 --> 00:00:02,000", "x\n\n7\n", "<b> & &amp;", "WEBVTT", "NOTE x", "42"]
    cues = tuple(Cue(start_s=n * 3600.0, end_s=n * 3600.0 + 0.001, text=text, words=()) for n, text in enumerate(nasty))
    for content, is_vtt in ((to_srt(cues), False), (to_vtt(cues), True)):
        back = read_file(content.encode(), "a")
        assert back is not None
        assert [(c.start_ms, c.end_ms) for c in back] == [(n * 3_600_000, n * 3_600_000 + 1) for n in range(len(nasty))]
        assert "&lt;b&gt; &amp; &amp;amp;" in content if is_vtt else "<b> & &amp;" in content


def test_many_cues_at_one_moment_take_no_time_that_grows_with_their_square() -> None:
    cues = cues_of("".join("1\n00:00:01,000 --> 00:00:02,000\nword\n\n" for _ in range(20_000)))
    assert len(cues) == 1
    assert len(cues[0].words) == 20_000


@pytest.mark.parametrize(
    "content",
    [
        b" " * 4_000_000 + b"x-->",
        b"1" * 4_000_000 + b"-->",
        b"".join(b"00:00:%02d,000 --> 00:00:%02d,500\n%s\n\n" % (n, n, b"{" + b"\\" * 4000) for n in range(30)),
        b"WEBVTT\n\n" + b"".join(b"00:%02d.000 --> 00:%02d.500\n%s\n\n" % (n, n, b"<" * 4000) for n in range(30)),
        b"1\n00:00:01,000 --> 00:00:02,000\n" + b"\n" * 4_000_000 + b"x",
    ],
    ids=["spaces", "digits", "braces", "tags", "lines"],
)
def test_no_file_takes_longer_than_it_is_long(content: bytes) -> None:
    with contextlib.suppress(BadSubtitles):
        cues_of(content)


def test_whatever_bytes_come_they_are_read_or_refused() -> None:
    rng = random.Random(7)
    seeds = [text.encode() for text in (ODD_SRT, VTT, ROLLED_UP, ASS)]
    n_read = 0
    for _ in range(400):
        content = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 8)):
            place = rng.randrange(len(content))
            content[place : place + rng.randint(0, 6)] = rng.choice(
                [b"-->", b"\xff", b"00:", b"<", b"{\\", b"\n\n", b"9" * 9]
            )
        try:
            cues = cues_of(bytes(content))
        except BadSubtitles:
            continue
        n_read += 1
        for cue in cues:
            assert 0 <= cue.start_s < cue.end_s <= 30
            assert all(cue.start_s <= word.start_s <= word.end_s <= cue.end_s for word in cue.words)
    assert n_read > 40
