"""Analysis of a whole source in one process: probe, words, audience, chunks; and how parts of a stage go side by side."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from threading import Event
from typing import TypeVar

from topclip.errors import JobStopped
from topclip.model.job import Stage
from topclip.model.request import ClipRequest
from topclip.model.source import SourceInfo
from topclip.pipeline.analyse import analyse_chunk
from topclip.pipeline.audience import take_audience
from topclip.pipeline.chunk import plan_chunks
from topclip.pipeline.context import StageContext
from topclip.pipeline.probe import probe_source
from topclip.pipeline.transcribe import transcribe

T = TypeVar("T")

OnProgress = Callable[[Stage, float, float], None]
"""on_progress(stage, done_s, total_s): media seconds of the whole stage."""


def no_progress(stage: Stage, done_s: float, total_s: float) -> None:
    """Tell nobody."""


def analyse(
    request: ClipRequest, ctx: StageContext, on_progress: OnProgress = no_progress, *, has_sound: bool = True
) -> SourceInfo:
    """Probe a source, find what is said in it, and analyse all its chunks, as many at once as the context has threads.

    has_sound: False leaves sound and words out; what is found is then no good for a plan, and for a store of its own only.
    Raises: TopClipError.
    """
    probing = _reporting(ctx, Stage.PROBE, on_progress)
    info = probe_source(request, probing)
    if has_sound:
        transcribe(request, info, probing)
        take_audience(request, info, probing)
    else:
        info = info.model_copy(update={"audio": None})
    chunks = plan_chunks(info)

    def one(place: int, part: StageContext) -> None:
        analyse_chunk(request, info, chunks[place], part)

    side_by_side(Stage.ANALYSE, [chunk.duration_s for chunk in chunks], one, ctx, on_progress)
    return info


def side_by_side(
    stage: Stage,
    lengths_s: Sequence[float],
    one: Callable[[int, StageContext], T],
    ctx: StageContext,
    on_progress: OnProgress,
) -> list[T]:
    """Do all parts of a stage, as many at once as the context has threads. The first that fails ends the others.

    lengths_s: of the parts. one(place, ctx): does one of them. Returns: what the parts gave, in their order.
    """
    done_s = [0.0] * len(lengths_s)
    stopped = Event()

    def run_one(place: int) -> T:
        def report(part_s: float, total_s: float) -> None:
            if stopped.is_set():
                raise JobStopped("another part failed")
            ctx.report(part_s, total_s)
            done_s[place] = part_s
            on_progress(stage, sum(done_s), sum(lengths_s))

        found = one(place, replace(ctx, report=report))
        done_s[place] = lengths_s[place]
        return found

    with ThreadPoolExecutor(max(1, ctx.threads)) as pool:
        running = [pool.submit(run_one, place) for place in range(len(lengths_s))]
        try:
            for future in as_completed(running):
                future.result()
        finally:
            stopped.set()
            pool.shutdown(wait=True, cancel_futures=True)
    on_progress(stage, sum(lengths_s), sum(lengths_s))
    return [future.result() for future in running]


def _reporting(ctx: StageContext, stage: Stage, on_progress: OnProgress) -> StageContext:
    """The context of a stage that has one part."""

    def report(done_s: float, total_s: float) -> None:
        ctx.report(done_s, total_s)
        on_progress(stage, done_s, total_s)

    return replace(ctx, report=report)
