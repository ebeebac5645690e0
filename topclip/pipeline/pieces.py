"""Modes `shots` and `silence`: clips that are whole pieces of the source, between cuts or between silences. Pure.

Nothing is trimmed: a piece that is shorter or longer than is allowed is left out and told among the near-misses. Where there
are more than wanted, those with the best scores are taken; clips are numbered in the order of the source.
"""

import itertools
import math
from collections.abc import Iterator

import numpy as np

from topclip.analysers.tracks import LEVEL_HOP_S
from topclip.errors import NoHighlights
from topclip.model.analysis import Analysis
from topclip.model.clip import Highlight, NearMiss
from topclip.model.request import ClipOptions, Mode
from topclip.pipeline.places import Edge, Timeline
from topclip.pipeline.quiet import runs_of
from topclip.pipeline.ranges import highlight
from topclip.pipeline.scoring import Scores

Pieces = list[tuple[Edge, Edge]]

MIN_SILENCE_S = 0.5
"""What is quiet for less is a pause within speech."""
MARGIN_S = 0.2
"""So much of the silence stays at both ends of a clip: breaths, and the end of a sound that fades."""


def whole_pieces(
    timeline: Timeline, analysis: Analysis, scores: Scores, options: ClipOptions, near_misses: int
) -> tuple[list[Highlight], list[NearMiss]]:
    """The pieces that the options allow, at most `options.count`, and the best of the others.

    Raises: NoHighlights if there is none; its hint names the option.
    """
    pieces = list(_shots(timeline)) if options.mode is Mode.SHOTS else list(_sounds(timeline, analysis))
    found = [highlight(timeline, scores, start, end) for start, end in pieces]
    fitting = [h for h in found if not _misfit(h, options)]
    if not fitting:
        raise _none(found, options)
    best = sorted(fitting, key=lambda h: (-h.score, h.start_s))
    chosen = sorted(best[: options.count], key=lambda h: h.start_s)
    lost = best[options.count :] + sorted(
        (h for h in found if _misfit(h, options)), key=lambda h: (-h.score, h.start_s)
    )
    return chosen, [_missed(h, _misfit(h, options) or "lower score") for h in lost[:near_misses]]


def _misfit(piece: Highlight, options: ClipOptions) -> str | None:
    """Why the length of a piece is not allowed."""
    length_s = round(piece.end_s - piece.start_s, 6)
    if length_s < options.min_length:
        return "too short"
    return "too long" if length_s > options.max_length else None


def _missed(piece: Highlight, reason: str) -> NearMiss:
    return NearMiss(
        n=0, start_s=piece.start_s, end_s=piece.end_s, score=piece.score, signals=piece.signals, reason=reason
    )


def _none(found: list[Highlight], options: ClipOptions) -> NoHighlights:
    if not found:
        hint = "take mode `highlights` or `shots`"
        return NoHighlights("the source is silent throughout", {"field": "mode", "hint": hint})
    what = "shots" if options.mode is Mode.SHOTS else "stretches between silences"
    lengths_s = [round(h.end_s - h.start_s, 6) for h in found]
    text = (
        f"none of {len(found)} {what} lasts {options.min_length:g} to {options.max_length:g} s: they last "
        f"{min(lengths_s):.2f} to {max(lengths_s):.2f} s"
    )
    if short_s := [s for s in lengths_s if 1 <= s < options.min_length]:
        hint = f"lower min_length to {math.floor(max(short_s) * 100) / 100:g} or less"
        return NoHighlights(text, {"field": "min_length", "hint": hint})
    if long_s := [s for s in lengths_s if s > options.max_length]:
        hint = f"raise max_length to {math.ceil(min(long_s) * 100) / 100:g} or more"
        return NoHighlights(text, {"field": "max_length", "hint": hint})
    return NoHighlights(text, {"field": "min_length", "hint": "a clip lasts a second at least; take mode `highlights`"})


def _shots(timeline: Timeline) -> Iterator[tuple[Edge, Edge]]:
    """All shots."""
    frames = [0, *timeline.cut_frames.tolist(), timeline.n_frames]
    edges = [_edge(timeline, frame, "cut") for frame in frames]
    yield from itertools.pairwise(edges)


def _sounds(timeline: Timeline, analysis: Analysis) -> Iterator[tuple[Edge, Edge]]:
    """The stretches between silences, with their margins. Raises: NoHighlights for a source without sound."""
    if not len(analysis.level_db):
        hint = "take mode `shots`, which goes by the picture alone"
        raise NoHighlights("the source has no sound to look for silences in", {"field": "mode", "hint": hint})
    n = timeline.quiet.n
    is_quiet = np.zeros(n, np.bool_)
    for first, last in timeline.quiet.runs(0, n, MIN_SILENCE_S):
        is_quiet[first:last] = True
    for first, last in runs_of(~is_quiet):
        start = timeline.frame_at(first * LEVEL_HOP_S - MARGIN_S if first else 0.0)
        end = timeline.frame_at(last * LEVEL_HOP_S + MARGIN_S) if last < n else timeline.n_frames
        if start < end:
            yield _edge(timeline, start, "quiet"), _edge(timeline, end, "quiet")


def _edge(timeline: Timeline, frame: int, kind: str) -> Edge:
    kind = "source" if frame in (0, timeline.n_frames) else kind
    return Edge(frame, float(timeline.times_s[frame]), kind)
