"""The whole flow in one process, without broker or server: probe, chunk, analyse, merge, select, render, finalise.

The oracle for the distributed flow: the same stages, the same plan byte for byte.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from threading import Event
from typing import TypeVar

from topclip.errors import JobStopped
from topclip.model.analysis import Chunk
from topclip.model.job import Stage
from topclip.model.manifest import Manifest
from topclip.model.request import ClipRequest
from topclip.model.source import SourceInfo
from topclip.pipeline.analyse import analyse_chunk
from topclip.pipeline.chunk import plan_chunks
from topclip.pipeline.context import StageContext
from topclip.pipeline.finalise import finalise
from topclip.pipeline.plan import make_plan
from topclip.pipeline.probe import probe_source
from topclip.pipeline.render import render_clip

T = TypeVar("T")
ORDER = (Stage.PROBE, Stage.ANALYSE, Stage.SELECT, Stage.RENDER, Stage.FINALISE)

OnProgress = Callable[[Stage, float, float], None]
"""on_progress(stage, done_s, total_s): media seconds of the whole stage."""


@dataclass(frozen=True)
class LocalResult:
    """What a run left in the store."""

    manifest: Manifest
    manifest_key: str
    plan_key: str


def no_progress(stage: Stage, done_s: float, total_s: float) -> None:
    """Tell nobody."""


def run(request: ClipRequest, ctx: StageContext, on_progress: OnProgress = no_progress) -> LocalResult:
    """Make the clips of a request. Raises: TopClipError."""
    info = analyse(request, ctx, on_progress)
    plan = make_plan(request, info, ctx)
    on_progress(Stage.SELECT, 1.0, 1.0)
    total_s, done_s, results = sum(s.end_s - s.start_s for s in plan.specs), 0.0, []
    for spec in plan.specs:
        results.append(render_clip(request, info, spec, _reporting(ctx, Stage.RENDER, on_progress, done_s, total_s)))
        done_s += spec.end_s - spec.start_s
    final = finalise(request, info, plan.plan_key, results, ctx)
    on_progress(Stage.FINALISE, 1.0, 1.0)
    return LocalResult(final.manifest, final.manifest_key, plan.plan_key)


def analyse(
    request: ClipRequest, ctx: StageContext, on_progress: OnProgress = no_progress, *, has_sound: bool = True
) -> SourceInfo:
    """Probe a source and analyse all its chunks, as many at once as the context has threads.

    has_sound: False leaves the sound out; what is found is then no good for a plan, and for a store of its own only.
    Raises: TopClipError.
    """
    info = probe_source(request, _reporting(ctx, Stage.PROBE, on_progress, 0.0, None))
    if not has_sound:
        info = info.model_copy(update={"audio": None})
    each_chunk(plan_chunks(info), ctx, on_progress, lambda chunk, to: analyse_chunk(request, info, chunk, to))
    return info


def each_chunk(
    chunks: Sequence[Chunk],
    ctx: StageContext,
    on_progress: OnProgress,
    work: Callable[[Chunk, StageContext], T],
) -> list[T]:
    """Work on chunks, as many at once as the context has threads; what came of each. One that fails ends all."""
    done_s = dict.fromkeys((chunk.index for chunk in chunks), 0.0)
    whole_s = sum(chunk.duration_s for chunk in chunks)
    stopped = Event()

    def one(chunk: Chunk) -> T:
        def report(part_s: float, total_s: float) -> None:
            if stopped.is_set():
                raise JobStopped("another chunk failed")
            ctx.report(part_s, total_s)
            done_s[chunk.index] = part_s
            on_progress(Stage.ANALYSE, sum(done_s.values()), whole_s)

        made = work(chunk, replace(ctx, report=report))
        done_s[chunk.index] = chunk.duration_s
        return made

    with ThreadPoolExecutor(max(1, ctx.threads)) as pool:
        running = [pool.submit(one, chunk) for chunk in chunks]
        try:
            for future in as_completed(running):
                future.result()
        finally:
            stopped.set()
            pool.shutdown(wait=True, cancel_futures=True)
    on_progress(Stage.ANALYSE, whole_s, whole_s)
    return [future.result() for future in running]


def _reporting(
    ctx: StageContext, stage: Stage, on_progress: OnProgress, before_s: float, whole_s: float | None
) -> StageContext:
    """The context of one part of a stage: its seconds count on from those before it."""

    def report(done_s: float, total_s: float) -> None:
        ctx.report(done_s, total_s)
        on_progress(stage, before_s + done_s, total_s if whole_s is None else whole_s)

    return replace(ctx, report=report)
