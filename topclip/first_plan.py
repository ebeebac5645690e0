"""A plan of a long source within seconds, in one process: a glance at all of it, a look at what might be chosen.

All of the sound is measured, but of the pictures only key frames; what is chosen by that is then analysed as it should be, and
chosen again. What a full analysis finds elsewhere is not in such a plan.
"""

from collections.abc import Sequence

from topclip.analysers.tracks import Tracks
from topclip.media.skim import Effort
from topclip.model.analysis import Analysis, Chunk
from topclip.model.clip import Highlight, Plan
from topclip.model.job import Stage
from topclip.model.request import ClipRequest
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

REACH_S = 2 * TOLERANCE_S
"""Beside a highlight: its edges may move so far, and by what lies around them."""


def first_plan(request: ClipRequest, ctx: StageContext, on_progress: OnProgress = no_progress) -> Plan:
    """Choose by a first look. Raises: TopClipError."""
    info, keywords = probe_source(request, ctx), request.options.keywords
    transcribe(request, info, ctx)
    take_audience(request, info, ctx)
    on_progress(Stage.PROBE, 1.0, 1.0)
    chunks = plan_chunks(info)
    with source_path(request, ctx, info) as path:

        def measured(some: Sequence[Chunk], effort: Effort) -> list[Tracks]:
            def one(place: int, part: StageContext) -> Tracks:
                return measure_chunk(path, info, some[place], part, effort)

            return side_by_side(Stage.ANALYSE, [chunk.duration_s for chunk in some], one, ctx, on_progress)

        def told() -> Analysis:
            return with_all_told(info, merge_chunks(info, list(parts.values())), keywords, ctx)

        parts = dict(zip(chunks, measured(chunks, Effort.KEYS), strict=True))
        plan = select_clips(info, told(), request.options)
        near = [chunk for chunk in chunks if any(_touches(chunk, one) for one in plan.highlights)]
        parts.update(zip(near, measured(near, Effort.TELLING), strict=True))
    plan = select_clips(info, told(), request.options)
    return plan.model_copy(update={"is_first": True})


def _touches(chunk: Chunk, one: Highlight) -> bool:
    return chunk.start_s < one.end_s + REACH_S and one.start_s - REACH_S < chunk.end_s
