"""Words: how much is said."""

from topclip.analysers.told import Told
from topclip.analysers.windows import HOP_S
from topclip.model.analysis import Signal

WINDOW_S = 4.0


def words(told: Told) -> Signal | None:
    """Words a second, over WINDOW_S. None if nothing is said."""
    return Signal("words", HOP_S, told.rate(told.words, WINDOW_S)) if told.words else None
