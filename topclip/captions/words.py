"""Cues with markup to cues with words and their times."""

import html
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, pairwise
from typing import Final

from topclip.model.transcript import Cue, RawCue, Word

BRACES = re.compile(r"\{[^{}]*\}")
"""Override tags of ASS, which SRT files hold too. Braces without a backslash are text."""
KARAOKE = re.compile(r"\\(?:k|K|kf|ko)(\d{1,6})(?!\d)")
DRAWING = re.compile(r"\\p(\d+)")
VTT_TIME = re.compile(r"<(?:(\d{1,3}):)?(\d\d):(\d\d)\.(\d{3})>")
VTT_TAG = re.compile(r"</?[^<>\n]*>")
HTML_TAG = re.compile(r"</?(?:i|b|u|s|em|strong|font|span|c|v|ruby|rt|lang)(?:[\s.=][^<>]*)?/?>", re.IGNORECASE)
UNSPACED = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\uff66-\uff9f\U00020000-\U0003ffff"
)
"""Ideographs and kana: each stands alone."""
TOKEN = re.compile(rf"[{UNSPACED}][^\s\w]*|[^\s{UNSPACED}]+")
END_OF_SENTENCE = re.compile(r"[.!?…。！？｡؟۔।॥]['\"’”»)\]]*$")
UNSEEN = re.compile(r"[\u0000-\u0008\u000b-\u001f\u007f\ufeff\ufffe\uffff\u2028\u2029]")
ROLL_UP_S: Final = 0.1


@dataclass(frozen=True)
class _Plain:
    """Text without markup; marks: where in it (an index) a time begins, ms."""

    text: str
    marks: tuple[tuple[int, int], ...] = ()


def build_cues(raw: Sequence[RawCue], duration_s: float, offset_s: float = 0.0) -> tuple[Cue, ...]:
    """Cues with words, sorted, within [0, duration_s); what lies beyond is left out, what reaches beyond is cut.

    offset_s: time of the cues' clock at the source's first frame. Cues that begin at the same moment become one: nobody could
    tell which comes first.
    """
    plain = [(cue, _plain(cue)) for cue in raw]
    plain.sort(key=lambda item: (item[0].start_ms, item[0].end_ms))
    if any(text.marks for cue, text in plain if cue.syntax == "vtt"):
        plain = list(_without_roll_up(plain))
    built = (_cue(cue, text, duration_s, offset_s) for cue, text in plain)
    by_start = groupby((cue for cue in built if cue), key=lambda cue: cue.start_s)
    return tuple(_together(list(cues)) for _, cues in by_start)


def _together(cues: Sequence[Cue]) -> Cue:
    if len(cues) == 1:
        return cues[0]
    text, words = "\n".join(cue.text for cue in cues), tuple(chain.from_iterable(cue.words for cue in cues))
    return Cue(start_s=cues[0].start_s, end_s=max(cue.end_s for cue in cues), text=text, words=words)


def _cue(raw: RawCue, plain: _Plain, duration_s: float, offset_s: float) -> Cue | None:
    words = _words(plain, raw.start_ms, raw.end_ms)
    start_s, end_s = (max(0.0, min(duration_s, ms / 1000 - offset_s)) for ms in (raw.start_ms, raw.end_ms))
    if not words or end_s - start_s < 0.001:
        return None
    text = "\n".join(line for line in (" ".join(line.split()) for line in plain.text.split("\n")) if line)
    moved = (_moved(word, offset_s, duration_s) for word in words)
    return Cue(start_s=round(start_s, 3), end_s=round(end_s, 3), text=text, words=tuple(moved))


def _moved(word: Word, offset_s: float, duration_s: float) -> Word:
    start_s, end_s = (round(max(0.0, min(duration_s, at - offset_s)), 3) for at in (word.start_s, word.end_s))
    return word.model_copy(update={"start_s": start_s, "end_s": end_s})


def tokens(text: str) -> Iterator[re.Match[str]]:
    """The words of a text as matches."""
    return TOKEN.finditer(text)


def _words(plain: _Plain, start_ms: int, end_ms: int) -> list[Word]:
    found = list(tokens(plain.text))
    if not found:
        return []
    anchors = _anchors(found, plain.marks, start_ms, end_ms)
    starts = _spread(found, anchors)
    words = []
    for n, match in enumerate(found):
        text = match.group()
        words.append(
            Word(
                start_s=starts[n] / 1000,
                end_s=starts[n + 1] / 1000,
                text=text,
                is_timed=bool(plain.marks) and n in anchors,
                is_joined=n > 0 and found[n - 1].end() == match.start(),
                ends_sentence=bool(END_OF_SENTENCE.search(text)),
            )
        )
    return words


def _anchors(
    found: Sequence[re.Match[str]], marks: Sequence[tuple[int, int]], start_ms: int, end_ms: int
) -> dict[int, int]:
    """Times that are told, by number of the word: those of the marks before or in it, the cue's own at both ends."""
    anchors = {0: start_ms, len(found): end_ms}
    ends = [match.end() for match in found]
    for place, at_ms in marks:
        n = bisect_right(ends, place)
        if n < len(found) and place <= found[n].start() and start_ms <= at_ms <= end_ms:
            anchors[n] = at_ms
    latest = start_ms
    for n in sorted(anchors):  # times that fall back are no times
        latest = anchors[n] = max(latest, anchors[n])
    return anchors


def _spread(found: Sequence[re.Match[str]], anchors: dict[int, int]) -> list[float]:
    """The start of each word and the end of the last, ms; between two told times in proportion to length."""
    starts = [float(anchors[0])]
    for first, last in pairwise(sorted(anchors)):
        lengths = [len(match.group()) + 1 for match in found[first:last]]
        from_ms, scale, done = anchors[first], (anchors[last] - anchors[first]) / sum(lengths), 0
        for length in lengths:
            done += length
            starts.append(from_ms + scale * done)
    return starts


def _plain(cue: RawCue) -> _Plain:
    text = UNSEEN.sub("", cue.markup)
    match cue.syntax:
        case "ass":
            return _from_ass(text, cue.start_ms)
        case "vtt":
            return _from_vtt(text)
        case "srt":
            return _Plain(html.unescape(HTML_TAG.sub("", BRACES.sub(_tag_or_text, text))))
        case "plain":
            return _Plain(text)


def _tag_or_text(braces: re.Match[str]) -> str:
    return "" if "\\" in braces.group() else braces.group()


def _from_vtt(text: str) -> _Plain:
    pieces, marks, length, place = [], [], 0, 0
    for match in VTT_TIME.finditer(text):
        piece = html.unescape(VTT_TAG.sub("", text[place : match.start()]))
        pieces.append(piece)
        length, place = length + len(piece), match.end()
        hours, minutes, seconds, ms = (int(group or 0) for group in match.groups())
        marks.append((length, ((hours * 60 + minutes) * 60 + seconds) * 1000 + ms))
    pieces.append(html.unescape(VTT_TAG.sub("", text[place:])))
    return _Plain("".join(pieces), tuple(marks))


def _from_ass(text: str, start_ms: int) -> _Plain:
    """Syllables of karaoke begin one after the other. Between drawing tags there are no words but shapes."""
    pieces, marks, length, at_ms, is_drawing = [], [], 0, start_ms, False
    for part in re.split(r"(\{[^{}]*\})", text):
        if not (part.startswith("{") and part.endswith("}")):
            if not is_drawing:
                piece = part.replace("\\N", "\n").replace("\\n", "\n").replace("\\h", " ")
                pieces.append(piece)
                length += len(piece)
            continue
        for drawing in DRAWING.finditer(part):
            is_drawing = int(drawing.group(1)) > 0
        for syllable in KARAOKE.finditer(part):
            marks.append((length, at_ms))
            at_ms += int(syllable.group(1)) * 10
    return _Plain("".join(pieces), tuple(marks))


def _without_roll_up(plain: Sequence[tuple[RawCue, _Plain]]) -> Iterator[tuple[RawCue, _Plain]]:
    """Live captions show the line before once more above each new one, without times: it is said once."""
    shown, shown_end_ms = "", -1_000_000
    for cue, text in plain:
        lines = text.text.split("\n")
        first = next((n for n, line in enumerate(lines) if line.strip()), 0)
        is_repeated = lines[first].strip() == shown and cue.start_ms - shown_end_ms <= ROLL_UP_S * 1000
        told = next((line.strip() for line in reversed(lines) if line.strip()), "")
        shown, shown_end_ms = told, cue.end_ms
        if not is_repeated:
            yield cue, text
            continue
        skipped = len("\n".join(lines[: first + 1])) + 1
        rest = text.text[skipped:]
        if rest.strip():
            yield cue, _Plain(rest, tuple((place - skipped, at_ms) for place, at_ms in text.marks if place >= skipped))


__all__ = ["build_cues", "tokens"]
