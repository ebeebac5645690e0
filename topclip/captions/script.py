"""Blocks to an ASS script for libass. Text is data: nothing that it holds is read as a tag."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from topclip.captions.direction import Base, marked
from topclip.captions.fonts import FontChoice, choose_fonts, is_seen
from topclip.captions.layout import Block, Frame, frame_for, lay_out
from topclip.captions.styles import LOOKS, Look
from topclip.model.request import CaptionStyle
from topclip.model.transcript import Cue, Word

STRETCH: Final = 10
"""A script counts hundredths of a second: one that runs ten times as long, like its pictures, is exact to the millisecond."""
STYLE_FORMAT = (
    "Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, StrikeOut, "
    "ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding"
)
EVENT_FORMAT = "Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text"
WHITE, EDGE, BOX = "&H00FFFFFF", "&H00101010", "&H48101010"
BASE_BY_TEXT: Final = -1
"""Encoding by which libass takes the direction from the text, and lays out a line as a whole whatever tags it holds: else
words of right-to-left scripts stand in the wrong order as soon as one of them has a colour."""
WORD_JOINER = "\u2060"
"""Behind a backslash: it then begins no tag, and nothing is seen of it."""


@dataclass(frozen=True)
class Script:
    """An ASS script, the fonts it needs, what stands when, and the signs that are left out since no font has them."""

    text: str
    fonts: FontChoice
    blocks: tuple[Block, ...]


def make_script(
    cues: Sequence[Cue], width: int, height: int, style: CaptionStyle, fonts_folder: Path | None = None
) -> Script:
    """Draw cues of a clip on a canvas. fonts_folder: where else to look for fonts."""
    look = LOOKS[style]
    frame = frame_for(width, height, look)
    fonts = choose_fonts("".join(cue.text for cue in cues), fonts_folder)
    drawn = [_without(cue, fonts.missing) for cue in cues]
    blocks = lay_out(drawn, frame, look, lambda text: sum(fonts.font_of(sign).width_em(sign) for sign in text))
    scribe = _Scribe(frame, look, fonts)
    events = [line for block in blocks for line in scribe.events(block)]
    return Script("\n".join([*scribe.head(), *events, ""]), fonts, blocks)


def _without(cue: Cue, missing: frozenset[str]) -> Cue:
    """The cue without the signs that no font has, and without words of which nothing is left."""
    if not any(sign in missing for sign in cue.text):
        return cue
    words = (word.model_copy(update={"text": _kept(word.text, missing)}) for word in cue.words)
    text = "\n".join(_kept(line, missing) for line in cue.text.split("\n"))
    return cue.model_copy(update={"words": tuple(word for word in words if word.text), "text": text})


def _kept(text: str, missing: frozenset[str]) -> str:
    kept = "".join(sign for sign in text if sign not in missing)
    return kept if any(map(is_seen, kept)) else ""


@dataclass(frozen=True)
class _Scribe:
    """Writes blocks down in one style."""

    frame: Frame
    look: Look
    fonts: FontChoice

    def head(self) -> list[str]:
        """All before the first event."""
        frame, look = self.frame, self.look
        side = (frame.width - frame.line_px) // 2
        edge = max(1.0, look.edge_em * frame.font_px)
        # A box (4) is as much larger than its text as the shadow would be far.
        border = f"4,0,{edge:.1f}" if look.is_boxed else f"1,{edge:.1f},0"
        colours = f"{WHITE},{WHITE},{BOX if look.is_boxed else EDGE},{BOX if look.is_boxed else EDGE}"
        style = (
            f"Captions,{self.fonts.fonts[0].family},{frame.font_px},{colours},-1,0,0,0,100,100,0,0,{border},2,"
            f"{side},{side},{frame.below_px},{BASE_BY_TEXT}"
        )
        return [
            *("[Script Info]", "ScriptType: v4.00+", f"PlayResX: {frame.width}", f"PlayResY: {frame.height}"),
            *("WrapStyle: 2", "ScaledBorderAndShadow: yes", "YCbCr Matrix: None", ""),
            *("[V4+ Styles]", f"Format: {STYLE_FORMAT}", f"Style: {style}", ""),
            *("[Events]", f"Format: {EVENT_FORMAT}"),
        ]

    def events(self, block: Block) -> Iterator[str]:
        """One event for as long as nothing changes: the whole block, or one word after the other being lit."""
        words = [word for line in block.lines for word in line]
        if self.look.lit is None:
            yield self._event(block, (block.start_s, block.end_s), None)
            return
        starts = [max(block.start_s, min(block.end_s, word.start_s)) for word in words]
        starts[0] = block.start_s
        for word, times in zip(words, pairwise([*starts, block.end_s]), strict=True):
            if times[1] > times[0]:
                yield self._event(block, times, word)

    def _event(self, block: Block, times: tuple[float, float], lit: Word | None) -> str:
        text = "\\N".join(self._line(*of_line, lit) for of_line in zip(block.lines, block.bases, strict=True))
        size = ""
        if block.shrink < 1:
            edge = max(1.0, self.look.edge_em * self.frame.font_px * block.shrink)
            around = f"\\{'shad' if self.look.is_boxed else 'bord'}{edge:.1f}"
            size = f"{{\\fs{max(6, int(self.frame.font_px * block.shrink))}{around}}}"
        return f"Dialogue: 0,{_stamp(times[0])},{_stamp(times[1])},Captions,,0,0,0,,{size}{text}"

    def _line(self, line: Sequence[Word], base: Base | None, lit: Word | None) -> str:
        family = self.fonts.fonts[0].family
        pieces = [f"{{\\fn{family}}}"] if len(self.fonts.fonts) > 1 else []
        spaces = ["" if word.is_joined else " " for word in line]
        shown = marked([word.text for word in line], spaces, base)
        for n, word in enumerate(line):
            if n and not word.is_joined:
                pieces.append(" ")
            text, family = _in_fonts(shown[n], family, self.fonts)
            is_lit = word is lit and self.look.lit is not None
            pieces.append(f"{{\\1c{_colour(self.look.lit or '')}}}{text}{{\\1c{WHITE}&}}" if is_lit else text)
        return "".join(pieces)


def _in_fonts(text: str, family: str, fonts: FontChoice) -> tuple[str, str]:
    """A word with a tag wherever the font changes, and the font that its end is in. One font for all of it where one can."""
    seen = [sign for sign in text if is_seen(sign)]
    whole = next((font for font in fonts.fonts if all(ord(sign) in font.advances for sign in seen)), None)
    pieces = []
    for sign in text:
        wanted = family if not is_seen(sign) else (whole or fonts.font_of(sign)).family
        if wanted != family:
            pieces.append(f"{{\\fn{wanted}}}")
            family = wanted
        pieces.append(_escaped(sign))
    return "".join(pieces), family


def _escaped(sign: str) -> str:
    if sign in "{}":
        return f"\\{sign}"
    return f"\\{WORD_JOINER}" if sign == "\\" else sign


def _colour(rgb: str) -> str:
    return f"&H{rgb[4:6]}{rgb[2:4]}{rgb[0:2]}&"


def _stamp(time_s: float) -> str:
    hundredths = round(time_s * STRETCH * 100)
    seconds, hundredths = divmod(hundredths, 100)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}.{hundredths:02d}"
