"""Files of an audience curve: CSV or JSON of pairs, seconds and value, read with the line at fault named."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from topclip.errors import BadAudience
from topclip.model.audience import AudienceCurve
from topclip.text_files import TextFile

MAX_TIME_S: Final = 1e7
MAX_VALUE: Final = 1e15
HINT: Final = (
    "send lines such as 12.5,340 (seconds from the video's start, value), or JSON such as [[12.5, 340], [13, 362]]"
)
SPACE: Final = re.compile(r"[ \t\n]*")
NUMBER: Final = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")
SHOWN: Final = 60


class _Point(NamedTuple):
    """A pair and the line it stands in, from 1."""

    line: int
    time_s: float
    value: float


def read_curve(content: bytes, name: str) -> AudienceCurve:
    """The curve of a file, sorted; where a time stands more than once, the mean of its values.

    Raises: BadAudience, which names the file and the line.
    """
    file = TextFile(name, "audience", BadAudience, "CSV or JSON")
    text = file.decode(content)
    points = list(_json_points(text, file) if text.lstrip()[:1] in ("[", "{") else _csv_points(text, file))
    for point in points:
        if not abs(point.time_s) <= MAX_TIME_S:
            file.refuse(f"{point.time_s:g} is no time in seconds", HINT, point.line)
        if not abs(point.value) <= MAX_VALUE:
            file.refuse(
                f"{point.value:g} is no value: it must be a finite number up to {MAX_VALUE:g}", HINT, point.line
            )
    if not points:
        file.refuse("holds no pair of a time and a value", HINT)
    times, where, counts = np.unique(
        np.round([point.time_s for point in points], 6), return_inverse=True, return_counts=True
    )
    if len(times) < 2:
        file.refuse("has values of one time only, which is no curve", HINT)
    sums = np.bincount(where, weights=[point.value for point in points])
    return AudienceCurve(times_s=tuple(times.tolist()), values=tuple((sums / counts).tolist()))


def curve_verdict(path: str, name: str) -> dict[str, str | None] | None:
    """The message and the hint of what speaks against a file, None if nothing does."""
    try:
        read_curve(Path(path).read_bytes(), name)
    except BadAudience as err:
        return {"message": err.message, "hint": err.hint}
    return None


def _csv_points(text: str, file: TextFile) -> Iterator[_Point]:
    """Two columns parted by tabs, semicolons or commas, as the first line has them; it may be a header."""
    mark, is_first = "", True
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        mark = mark or next((m for m in "\t;," if m in line), ",")
        cells = [cell.strip().strip('"').strip() for cell in line.split(mark)]
        is_header = is_first and not any(_number(cell, mark) is not None for cell in cells)
        is_first = False
        if is_header:
            continue
        if len(cells) != 2:
            file.refuse(f"{line.strip()[:SHOWN]!r} is no pair of a time and a value", HINT, number)
        pair = [_number(cell, mark) for cell in cells]
        if pair[0] is None or pair[1] is None:
            file.refuse(f"{cells[0 if pair[0] is None else 1][:SHOWN]!r} is no number", HINT, number)
        yield _Point(number, pair[0], pair[1])


def _number(text: str, mark: str) -> float | None:
    """A cell's number, its point a comma where cells are not parted by commas; infinite or NaN if it says so; None if none."""
    if NUMBER.fullmatch(text) and not ("," in text and mark == ","):
        return float(text.replace(",", "."))
    return float(text) if text.lower().lstrip("+-") in ("nan", "inf", "infinity") else None


def _json_points(text: str, file: TextFile) -> Iterator[_Point]:
    """One pair after the other, so that the line of each is known."""
    decoder = json.JSONDecoder(parse_int=float)
    at, line, seen = _past_space(text, 0), 1, 0
    if text[at] != "[":
        file.refuse("the JSON is no list of pairs", HINT, 1 + text.count("\n", 0, at))
    at = _past_space(text, at + 1)
    while text[at : at + 1] != "]":
        line, seen = line + text.count("\n", seen, at), at
        try:
            item, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as err:
            file.refuse(f"no JSON: {err.msg}", HINT, err.lineno)
        except RecursionError:
            file.refuse("lists within lists within lists are no pairs", HINT, line)
        if not (isinstance(item, list) and len(item) == 2 and all(isinstance(part, float) for part in item)):
            file.refuse(f"{json.dumps(item)[:SHOWN]} is no pair of a time and a value", HINT, line)
        yield _Point(line, *item)
        at = _past_space(text, at)
        if text[at : at + 1] == ",":
            at = _past_space(text, at + 1)
        elif text[at : at + 1] != "]":
            file.refuse("a comma or the list's end is missing", HINT, 1 + text.count("\n", 0, at))
    if text[at + 1 :].strip():
        file.refuse("something follows the list", HINT, 1 + text.count("\n", 0, at))


def _past_space(text: str, at: int) -> int:
    match = SPACE.match(text, at)
    return match.end() if match else at
