"""A plan of a long source within seconds, in one process: a glance at all of it, a look at what might be chosen.

All of the sound is measured, but of the pictures only some key frames, and by that it is chosen. Where that begins and ends
every picture is then decoded, so that edges find their cuts. Scores stay those of the glance: what was seen in full cannot be
compared with what was not. What only moving pictures show is not in such a plan.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from math import ceil
from typing import NamedTuple

import numpy as np

from topclip.analysers.seams import without_seams
from topclip.analysers.tracks import Array, Tracks
from topclip.media.skim import Effort
from topclip.model.analysis import Analysis, Chunk
from topclip.model.clip import Plan
from topclip.model.job import Stage
from topclip.model.request import ClipRequest
from topclip.model.source import SourceInfo
from topclip.pipeline.analyse import measure_chunk
from topclip.pipeline.audience import take_audience
from topclip.pipeline.chunk import plan_chunks
from topclip.pipeline.context import StageContext
from topclip.pipeline.merge import merge_chunks
from topclip.pipeline.places import TOLERANCE_S
from topclip.pipeline.probe import probe_source
from topclip.pipeline.select import select_clips
from topclip.pipeline.source import source_path
from topclip.pipeline.told import with_all_told
from topclip.pipeline.transcribe import transcribe
from topclip.run_analysis import OnProgress, no_progress, side_by_side

REACH_S = 1.5 * TOLERANCE_S
"""Beside an edge: it may move so far, and by what lies around it."""
Window = tuple[float, float]


class FirstPlan(NamedTuple):
    """A plan by a first look, and what it was made from."""

    plan: Plan
    info: SourceInfo
    analysis: Analysis


def first_plan(request: ClipRequest, ctx: StageContext, on_progress: OnProgress = no_progress) -> FirstPlan:
    """Choose by a first look. Raises: TopClipError."""
    info, options = probe_source(request, ctx), request.options
    transcribe(request, info, ctx)
    take_audience(request, info, ctx)
    on_progress(Stage.PROBE, 1.0, 1.0)

    def analysis_of(tracks: Tracks) -> Analysis:
        return with_all_told(info, merge_chunks(info, [tracks]), options.keywords, ctx)

    with source_path(request, ctx, info) as path:

        def measured(facts: SourceInfo, chunks: Sequence[Chunk], effort: Effort) -> list[Tracks]:
            def one(place: int, part: StageContext) -> Tracks:
                return measure_chunk(path, facts, chunks[place], part, effort)

            return side_by_side(Stage.ANALYSE, [chunk.duration_s for chunk in chunks], one, ctx, on_progress)

        tracks = Tracks.joined(without_seams(measured(info, plan_chunks(info), Effort.KEYS)))
        glance = analysis_of(tracks)
        looks = [_look(info, window) for window in _windows(select_clips(info, glance, options), info)]
        silent = info.model_copy(update={"audio": None})  # its sound is known
        for look, found in zip(looks, measured(silent, looks, Effort.WHOLE), strict=True):
            tracks = _with_pictures(tracks, found, look)
    seen = replace(analysis_of(tracks), signals=glance.signals, fingerprints=glance.fingerprints)
    plan = select_clips(info, seen, options).model_copy(update={"is_first": True})
    return FirstPlan(plan, info, seen)


def _windows(plan: Plan, info: SourceInfo) -> list[Window]:
    """What to look at: the surroundings of each edge, joined where they meet, seconds."""
    edges_s = sorted(edge_s for h in plan.highlights for edge_s in (h.start_s, h.end_s))
    wanted = [(max(0.0, at_s - REACH_S), min(info.duration_s, at_s + REACH_S)) for at_s in edges_s]
    found: list[Window] = []
    for start_s, end_s in wanted:
        if found and start_s <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end_s))
        else:
            found.append((start_s, end_s))
    return found


def _look(info: SourceInfo, window: Window) -> Chunk:
    """The window as a chunk of its own; open to a side where the source ends."""
    start_s, end_s = window
    start, end = (info.video.start_pts + ceil(at_s / info.video.tick) for at_s in window)
    return Chunk(
        index=0,
        start_s=start_s,
        end_s=end_s,
        start_pts=start if start_s > 0 else None,
        end_pts=end if end_s < info.duration_s else None,
    )


def _with_pictures(tracks: Tracks, found: Tracks, look: Chunk) -> Tracks:
    """The source's numbers with those of the pictures of a window in place of what a glance gave."""
    first = 0 if look.start_pts is None else int(np.searchsorted(tracks.pts, look.start_pts))
    last = len(tracks.pts) if look.end_pts is None else int(np.searchsorted(tracks.pts, look.end_pts))
    edges = [0, first, last, len(tracks.pts)]

    def spliced(name: str) -> Array:
        before, _, after = (getattr(tracks, name)[a:b] for a, b in pairwise(edges))
        return np.concatenate([before, getattr(found, name), after])

    return replace(
        tracks, **{name: spliced(name) for name in ("pts", "differences", "layouts", "grids", "tones", "kinds")}
    )
