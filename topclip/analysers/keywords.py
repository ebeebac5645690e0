"""Keywords: whether it is what somebody looks for."""

import re

from topclip.analysers.told import Told
from topclip.analysers.windows import HOP_S
from topclip.model.analysis import Signal

WINDOW_S = 8.0
EDGES = re.compile(r"^\W+|\W+$")


def keywords(told: Told) -> Signal | None:
    """Keywords a second, over WINDOW_S, whatever their case and marks. None if none is said.

    One of several words is found where they follow one another.
    """
    said = [_bare(word.text) for word in told.words]
    wanted = {tuple(_bare(part) for part in keyword.split()) for keyword in told.keywords}
    found = [word for n, word in enumerate(told.words) if any(tuple(said[n : n + len(w)]) == w for w in wanted)]
    return Signal("keywords", HOP_S, told.rate(found, WINDOW_S)) if found else None


def _bare(text: str) -> str:
    return EDGES.sub("", text).casefold()
