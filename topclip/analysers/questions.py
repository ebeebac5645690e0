"""Questions: what is asked."""

import re

from topclip.analysers.told import Told
from topclip.analysers.windows import HOP_S
from topclip.model.analysis import Signal

WINDOW_S = 10.0
"""A question counts for what surrounds it too: its cause, and the answer."""
MARK = re.compile(r"[?\uff1f\u061f\u037e]")


def questions(told: Told) -> Signal | None:
    """Questions a second, by their last words, over WINDOW_S. None if nothing is asked."""
    asked = [word for word in told.words if word.ends_sentence and MARK.search(word.text)]
    return Signal("questions", HOP_S, told.rate(asked, WINDOW_S)) if asked else None
