"""Signals: one algorithm a file, found here by name. A new one is a file, a line here, and a field of Weights."""

from collections.abc import Callable

from topclip.analysers.audience import audience
from topclip.analysers.crowd import crowd
from topclip.analysers.cuts import cut_rate
from topclip.analysers.keywords import keywords
from topclip.analysers.loudness import loudness
from topclip.analysers.motion import motion
from topclip.analysers.novelty import novelty
from topclip.analysers.onsets import onsets
from topclip.analysers.questions import questions
from topclip.analysers.speech import speech
from topclip.analysers.surprise import surprise
from topclip.analysers.told import Told
from topclip.analysers.tracks import Array, Tracks
from topclip.analysers.words import words
from topclip.model.analysis import Signal

Analyser = Callable[[Tracks, Array, float], Signal | None]
"""analyser(tracks, cuts, tick_s): the whole source's numbers, the frames that begin a shot, seconds of one pts unit.
None if the source has nothing to measure."""

ANALYSERS: dict[str, Analyser] = {
    "loudness": loudness,
    "surprise": surprise,
    "speech": speech,
    "crowd": crowd,
    "onsets": onsets,
    "motion": motion,
    "cuts": cut_rate,
    "novelty": novelty,
}

TELLING: dict[str, Callable[[Told], Signal | None]] = {
    "words": words,
    "questions": questions,
    "keywords": keywords,
    "audience": audience,
}
"""Those of what others tell of a source, a transcript or an audience's curve. None if they tell nothing of the kind."""

__all__ = ["ANALYSERS", "TELLING", "Analyser", "Told"]
