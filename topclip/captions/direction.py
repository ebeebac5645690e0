"""Which way a line runs, and marks that make libass lay it out so. Pure.

libass takes each line for a paragraph of its own, so that the second line of a Hebrew sentence runs the other way as soon as it
begins with a Latin name; and it knows nothing of pairs of brackets, so that `(world) 123` comes apart beside Hebrew words.

Source: Unicode Standard Annex 9, rules P2 and P3 (the base is the first strong sign's) and N0 (pairs of brackets).
"""

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final, Literal

Base = Literal["L", "R"]
MARKS: Final[dict[Base, str]] = {"L": "\u200e", "R": "\u200f"}
"""Nothing is seen of them; to their neighbours they are letters of that direction."""
STRONG: Final[dict[str, Base]] = {"L": "L", "R": "R", "AL": "R"}
CLOSING: Final = {"(": ")", "[": "]", "{": "}"}
DASHES: Final = ("-", "–", "—", "‐", "־")


def base_of(text: str) -> Base | None:
    """The direction of a text's first letter; None without letters."""
    return next((STRONG[kind] for kind in map(unicodedata.bidirectional, text) if kind in STRONG), None)


def bases_of(text: str) -> list[Base | None]:
    """The direction of each line of a cue: that of all of it, since a sentence goes on.

    A line that has no letter of that direction, as a translation, or begins with a dash, as another speaker's, has its own.
    """
    lines, base = text.split("\n"), base_of(text)
    return [
        base_of(line) or base if line.lstrip().startswith(DASHES) or base not in _directions(line) else base
        for line in lines
    ]


def marked(words: Sequence[str], spaces: Sequence[str], base: Base | None) -> list[str]:
    """The words of a line with the marks that it needs to run as it should; nothing else changes.

    spaces: what parts each word from the one before; that of the first is not shown. base: how the line is to run.
    """
    line = "".join(part for n, word in enumerate(words) for part in ((spaces[n] if n else ""), word))
    before: dict[int, str] = {}
    if base is not None and (base_of(line) or "L") != base:
        before[0] = MARKS[base]
    if len(_directions(line) | {base or "L"}) > 1:
        for at, mark in _bracket_marks(line, base or "L"):
            before[at] = before.get(at, "") + mark
    found, at = [], 0
    for n, word in enumerate(words):
        at += len(spaces[n]) if n else 0
        text = "".join(before.get(at + k, "") + sign for k, sign in enumerate(word))
        at += len(word)
        found.append(text + (before.get(at, "") if n == len(words) - 1 or spaces[n + 1] else ""))
    return found


def _directions(line: str) -> set[Base]:
    return {STRONG[kind] for kind in map(unicodedata.bidirectional, line) if kind in STRONG}


def _bracket_marks(line: str, base: Base) -> Iterator[tuple[int, str]]:
    """Where a mark is to stand, before which sign, so that both brackets of a pair run the same way."""
    kinds = _kinds(line, base)
    for first, last in _pairs(line):
        inside = {kind for kind in kinds[first + 1 : last] if kind}
        if inside:
            is_other = base not in inside and _nearest(kinds[:first][::-1], base) != base
            kinds[first] = kinds[last] = _other(base) if is_other else base
    for n, sign in enumerate(line):
        kind = kinds[n]
        if kind and (sign in CLOSING or sign in CLOSING.values()):
            sides = ((n, kinds[:n][::-1]), (n + 1, kinds[n + 1 :]))
            yield from ((at, MARKS[kind]) for at, beside in sides if _nearest(beside, base) != kind)


def _kinds(line: str, base: Base) -> list[Base | None]:
    """The direction of each sign, None where it has none; numbers run with Latin words before them, else as if leftwards."""
    kinds: list[Base | None] = []
    latest = base
    for kind in map(unicodedata.bidirectional, line):
        latest = STRONG.get(kind, latest)
        is_number = kind in ("EN", "AN")
        kinds.append(STRONG.get(kind) or ((latest if kind == "EN" else "R") if is_number else None))
    return kinds


def _pairs(line: str) -> list[tuple[int, int]]:
    """Where pairs of brackets open and close, in the order in which they open."""
    found, opened = [], list[tuple[str, int]]()
    for n, sign in enumerate(line):
        if sign in CLOSING:
            opened.append((CLOSING[sign], n))
        depth = next((k for k in range(len(opened) - 1, -1, -1) if opened[k][0] == sign), None)
        if depth is not None:
            found.append((opened[depth][1], n))
            del opened[depth:]
    return sorted(found)


def _nearest(kinds: Sequence[Base | None], base: Base) -> Base:
    return next((kind for kind in kinds if kind), base)


def _other(base: Base) -> Base:
    return "L" if base == "R" else "R"
