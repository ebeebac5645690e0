"""Words to what stands on the screen at once: two lines at most, of about equal length, within the safe area."""

import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from wcwidth import iter_graphemes

from topclip.captions.direction import Base, base_of, bases_of
from topclip.captions.styles import Look
from topclip.captions.words import tokens
from topclip.model.transcript import Cue, Word

Measure = Callable[[str], float]
"""Width of a text in em."""
Line = tuple[Word, ...]
LINE_COST, MARK_BONUS = 0.3, 0.25
"""What another line costs, and what it is worth to break behind a mark, in squares of an unfilled line."""
MARKS = (",", ";", ":", "،", "؛", "、", "，", "–", "—")
DASHES = ("-", "‐", "–", "—")
"""What a line of a dialogue begins with."""
WITHIN = re.compile(r"(?<=[/\\._?&=#-])(?=\w)")
"""Where a word that is longer than a line, such as an address, is rather broken; else between any two signs."""
LEADING, FOLLOWING = frozenset("เแโใไເແໂໃໄ"), frozenset("ะาำๅๆฯະາຳໆ")
"""Vowels of Thai and Lao that stand before their consonant, and vowels and signs that stand behind it."""
MAX_LINE_EM = 22.0
"""About 40 letters: as long as the eye takes in at once."""


@dataclass(frozen=True)
class Frame:
    """Where captions may stand on a canvas: the size of letters, the longest line, the room below. Pixels."""

    width: int
    height: int
    font_px: int
    line_px: int
    below_px: int

    @property
    def line_em(self) -> float:
        """The longest line in em."""
        return min(MAX_LINE_EM, self.line_px / self.font_px)


@dataclass(frozen=True)
class Block:
    """Lines that stand from start_s to before end_s, in the clip's time.

    bases: which way each line runs; None where nothing tells. shrink: how much smaller than usual, 0 to 1.
    """

    start_s: float
    end_s: float
    lines: tuple[Line, ...]
    bases: tuple[Base | None, ...] = ()
    shrink: float = 1.0


def frame_for(width: int, height: int, look: Look) -> Frame:
    """The safe area of a canvas. Players of upright videos cover their lower fifth and right edge with buttons."""
    shape = height / width
    size = (0.068 if shape >= 1 else 0.058) * min(width, height) * look.scale
    below, across = (0.22, 0.80) if shape >= 1.5 else (0.10, 0.86) if shape >= 1 else (0.07, 0.84)
    return Frame(width, height, max(8, round(size)), round(across * width), round(below * height))


def lay_out(cues: Sequence[Cue], frame: Frame, look: Look, measure: Measure) -> tuple[Block, ...]:
    """Blocks in the order of time; one at a time: where cues overlap, the later one takes the place of the earlier."""
    blocks = [block for cue in cues for block in _blocks(cue, frame.line_em, look, measure)]
    blocks.sort(key=lambda block: block.start_s)
    ends = [block.start_s for block in blocks[1:]] + [math.inf]
    placed = (replace(block, end_s=min(block.end_s, end)) for block, end in zip(blocks, ends, strict=True))
    return tuple(block for block in placed if block.end_s > block.start_s)


def _blocks(cue: Cue, most_em: float, look: Look, measure: Measure) -> Iterator[Block]:
    if not cue.words:
        return
    cue = cue.model_copy(update={"words": tuple(_parted(cue.words, min(most_em, look.line_em), measure))})
    lines = _lines(cue, most_em, look, measure)
    bases = _bases(cue, lines)
    groups = [lines[n : n + look.lines] for n in range(0, len(lines), look.lines)]
    starts = [max(cue.start_s, group[0][0].start_s) for group in groups]
    starts[0] = cue.start_s
    for n, (group, start_s, end_s) in enumerate(zip(groups, starts, [*starts[1:], cue.end_s], strict=True)):
        if min(end_s, cue.end_s) > start_s:
            widest = max(measure(line_text(line)) for line in group)
            shrink = min(1.0, most_em / widest) if widest else 1.0
            ways = tuple(bases[n * look.lines :][: len(group)])
            yield Block(start_s, min(end_s, cue.end_s), tuple(group), ways, shrink)


def _parted(words: Sequence[Word], most_em: float, measure: Measure) -> Iterator[Word]:
    """The words, of which those that are longer than a line are broken where they may be, each part with its share of time."""
    for word in words:
        if measure(word.text) <= most_em:
            yield word
            continue
        parts = [""]
        for piece in WITHIN.split(word.text):
            for part in [piece] if measure(piece) <= most_em else _clusters(piece):
                if parts[-1] and measure(parts[-1] + part) > most_em:
                    parts.append("")
                parts[-1] += part
        ends = itertools.accumulate(len(part) / len(word.text) for part in parts)
        times = [word.start_s, *(round(word.start_s + (word.end_s - word.start_s) * share, 3) for share in ends)]
        for n, part in enumerate(parts):
            is_last = n == len(parts) - 1
            update = {"text": part, "start_s": times[n], "end_s": word.end_s if is_last else times[n + 1]}
            update |= {"is_joined": word.is_joined or n > 0, "ends_sentence": word.ends_sentence and is_last}
            yield word.model_copy(update=update)


def _clusters(text: str) -> Iterator[str]:
    """Signs with all that belongs to them, vowels of Thai and Lao too. Where words of these end none of them tells."""
    cluster = ""
    for sign in iter_graphemes(text):
        if cluster and sign not in FOLLOWING and cluster[-1] not in LEADING:
            yield cluster
            cluster = ""
        cluster += sign
    yield cluster


def _bases(cue: Cue, lines: Sequence[Line]) -> list[Base | None]:
    """Which way each line runs: as the line of the cue that its first word stands in."""
    of_words = [base for line, base in zip(cue.text.split("\n"), bases_of(cue.text), strict=True) for _ in tokens(line)]
    if len(of_words) != len(cue.words):  # a cue that was cut at a clip's bound keeps its words only
        return [base_of(cue.text)] * len(lines)
    firsts = itertools.accumulate((len(line) for line in lines[:-1]), initial=0)
    return [of_words[first] for first in firsts]


def _lines(cue: Cue, most_em: float, look: Look, measure: Measure) -> list[Line]:
    """The lines as the cue has them, if they fit: whoever wrote them had a reason. Two speakers stay apart anyway."""
    given = _given_lines(cue)
    if 1 < len(given) <= look.lines and all(measure(line_text(line)) <= most_em for line in given):
        return given
    parts = given if len(given) > 1 and all(line[0].text.startswith(DASHES) for line in given) else [cue.words]
    return [line for part in parts for line in break_lines(part, most_em, look, measure)]


def _given_lines(cue: Cue) -> list[Line]:
    """The lines that the cue has; none where its words are others by now."""
    counts = [count for line in cue.text.split("\n") if (count := sum(1 for _ in tokens(line)))]
    if sum(counts) != len(cue.words):
        return []
    ends = list(itertools.accumulate(counts))
    return [cue.words[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def break_lines(words: Sequence[Word], most_em: float, look: Look, measure: Measure) -> list[Line]:
    """Break where lines come out about equal, none too long, rather behind a mark; a part that is too long has its own line."""
    most_em = min(most_em, look.line_em)
    best: list[tuple[float, int]] = [(0.0, 0)]
    widths = [measure(_spaced(word)) for word in words]
    for end in range(1, len(words) + 1):
        options, width = [], 0.0
        for start in range(end - 1, -1, -1):
            width += widths[start]
            if width > most_em and start < end - 1:
                break
            slack = max(0.0, 1 - width / most_em)
            options.append((best[start][0] + slack**2 + LINE_COST - _mark(words[end - 1]), start))
        best.append(min(options))
    lines, end = [], len(words)
    while end:
        start = best[end][1]
        lines.append(tuple(words[start:end]))
        end = start
    return lines[::-1]


def _mark(word: Word) -> float:
    return MARK_BONUS if word.ends_sentence or word.text.endswith(MARKS) else 0.0


def line_text(line: Line) -> str:
    """A line's text."""
    return "".join(_spaced(word) if n else word.text for n, word in enumerate(line))


def _spaced(word: Word) -> str:
    return word.text if word.is_joined else f" {word.text}"
