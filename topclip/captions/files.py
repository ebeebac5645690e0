"""Subtitle files, SRT and WebVTT: read with the line at fault named, and written.

Libraries were tried and lose what files hold: see docs/adr/0018-captions.md.
"""

import html
import re
from collections.abc import Iterator, Sequence
from typing import Final, Literal

from topclip.errors import BadSubtitles
from topclip.model.transcript import Cue, RawCue
from topclip.text_files import TextFile

MAX_CUES: Final = 100_000
MAX_CUE_CHARS: Final = 5_000
TIME = r"(?:(\d{1,3}):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
TIMING = re.compile(rf"{TIME}\s*-->\s*{TIME}(?:\s|$)")
MEANT_AS_TIMING = re.compile(r"-?\d[\d:., ]*-->")
"""Both of a line without spaces around it: no pattern here takes longer than a line is long."""
ASS_HEAD = "[Script Info]"
HINT = "correct that line, or send the subtitles as SRT or WebVTT that another player shows right"


def read_file(content: bytes, name: str) -> list[RawCue] | None:
    """The cues of an SRT or WebVTT file in the file's order; None if it is ASS or SSA, which is no work for this module.

    Raises: BadSubtitles, which names the file and the line.
    """
    text = decode(content, name)
    if text.lstrip().startswith(ASS_HEAD):
        return None
    syntax: Literal["srt", "vtt"] = "vtt" if text.startswith("WEBVTT") else "srt"
    cues = list(_cues(text.split("\n"), syntax, name))
    if not cues:
        _file(name).refuse(
            "holds no cue", "send an SRT or WebVTT file, with lines such as 00:00:01,000 --> 00:00:02,500"
        )
    if len(cues) > MAX_CUES:
        _file(name).refuse(f"holds more than {MAX_CUES} cues", "split the video, or leave out cues")
    return cues


def decode(content: bytes, name: str) -> str:
    """The text with plain line ends: UTF-8, or UTF-16 with its mark. Raises: BadSubtitles."""
    return _file(name).decode(content)


def _file(name: str) -> TextFile:
    return TextFile(name, "subtitles", BadSubtitles, "an SRT or WebVTT file")


def _cues(lines: Sequence[str], syntax: Literal["srt", "vtt"], name: str) -> Iterator[RawCue]:
    """Each timing line with the text that follows it, up to a blank line, in SRT up to the next cue's number."""
    n = 0
    while n < len(lines):
        times = _times(lines[n], n + 1, name)
        n += 1
        if times is None:
            continue
        first = n
        while n < len(lines) and not _is_end(lines, n, syntax):
            n += 1
        markup = "\n".join(lines[first:n]).strip()
        if len(markup) > MAX_CUE_CHARS:
            _file(name).refuse(f"the cue has more than {MAX_CUE_CHARS} characters", HINT, first)
        if markup and times[1] > times[0]:
            yield RawCue(start_ms=times[0], end_ms=times[1], markup=markup, syntax=syntax)


def _is_end(lines: Sequence[str], n: int, syntax: str) -> bool:
    """Whether the text of a cue is over before line n. An SRT's may hold a blank line: then a number or timing ends it."""
    line = lines[n].strip()
    if _is_meant_as_timing(line):
        return True
    if syntax == "vtt":
        return not line
    return line.isdecimal() and n + 1 < len(lines) and _is_meant_as_timing(lines[n + 1].strip())


def _is_meant_as_timing(line: str) -> bool:
    return "-->" in line and MEANT_AS_TIMING.match(line) is not None


def _times(line: str, number: int, name: str) -> tuple[int, int] | None:
    """Start and end in ms of a timing line; None if it is none."""
    line = line.strip()
    if not _is_meant_as_timing(line):
        return None
    match = TIMING.match(line)
    if match is None:
        _file(name).refuse(f"{line[:60]!r} are no times", HINT, number)
    groups = match.groups()
    start_ms, end_ms = _ms(groups[:4]), _ms(groups[4:])
    if start_ms is None or end_ms is None:
        _file(name).refuse(f"{line[:60]!r} has minutes or seconds above 59", HINT, number)
    if end_ms < start_ms:
        _file(name).refuse("the cue ends before it begins", HINT, number)
    return start_ms, end_ms


def _ms(groups: Sequence[str | None]) -> int | None:
    hours, minutes, seconds, fraction = (text or "0" for text in groups)
    if int(minutes) > 59 or int(seconds) > 59:
        return None
    return ((int(hours) * 60 + int(minutes)) * 60 + int(seconds)) * 1000 + int(fraction.ljust(3, "0"))


def to_srt(cues: Sequence[Cue]) -> str:
    """Cues as an SRT file."""
    blocks = (
        f"{n}\n{_stamp(cue.start_s, ',')} --> {_stamp(cue.end_s, ',')}\n{_harmless(cue.text)}\n"
        for n, cue in enumerate(cues, 1)
    )
    return "\n".join(blocks)


def to_vtt(cues: Sequence[Cue]) -> str:
    """Cues as a WebVTT file."""
    blocks = (
        f"{_stamp(cue.start_s, '.')} --> {_stamp(cue.end_s, '.')}\n{html.escape(_harmless(cue.text), quote=False)}\n"
        for cue in cues
    )
    return "\n".join(["WEBVTT\n", *blocks])


def _harmless(text: str) -> str:
    """No blank line, which would end the cue, and no arrow, which would begin one."""
    lines = (line.replace("-->", "->").strip() for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


def _stamp(time_s: float, point: str) -> str:
    total_ms = round(time_s * 1000)
    seconds, ms = divmod(total_ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{point}{ms:03d}"


__all__ = ["decode", "read_file", "to_srt", "to_vtt"]
