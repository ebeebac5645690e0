"""The whole flow in one process, without broker or server: probe, chunk, analyse, merge, select, reframe, render, finalise.

The oracle for the distributed flow: the same stages, the same plan byte for byte.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from threading import Event
from typing import TypeVar

from topclip.errors import JobStopped, MediaError
from topclip.model.clip import ClipSpec, RenderResult
from topclip.model.framing import Outlook, Sighting, Unseen
from topclip.model.job import Stage
from topclip.model.manifest import Manifest
from topclip.model.request import ClipRequest
from topclip.model.source import SourceInfo
from topclip.pipeline.analyse import analyse_chunk
from topclip.pipeline.audience import take_audience
from topclip.pipeline.chunk import plan_chunks
from topclip.pipeline.context import StageContext, clip_threads
from topclip.pipeline.finalise import finalise
from topclip.pipeline.plan import PlanResult, frame_plan, make_plan
from topclip.pipeline.probe import probe_source
from topclip.pipeline.reframe import look_for_subject
from topclip.pipeline.render import render_clip
from topclip.pipeline.transcribe import transcribe

ORDER = (Stage.PROBE, Stage.ANALYSE, Stage.SELECT, Stage.REFRAME, Stage.RENDER, Stage.FINALISE)

T = TypeVar("T")

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
    plan = make_whole_plan(request, info, ctx, on_progress)
    results = render(request, info, plan.specs, ctx, on_progress)
    final = finalise(request, info, plan.plan_key, results, ctx)
    on_progress(Stage.FINALISE, 1.0, 1.0)
    return LocalResult(final.manifest, final.manifest_key, plan.plan_key)


def make_whole_plan(
    request: ClipRequest, info: SourceInfo, ctx: StageContext, on_progress: OnProgress = no_progress
) -> PlanResult:
    """Choose the clips of an analysed source and look for their subjects, where they are cut out. Raises: TopClipError."""
    plan = make_plan(request, info, ctx)
    on_progress(Stage.SELECT, 1.0, 1.0)
    outlooks = plan.outlooks
    if not outlooks:
        return plan

    def one(place: int, part: StageContext) -> Sighting | Unseen:
        threads = clip_threads(place, len(outlooks), cores=ctx.threads, slots=ctx.threads)
        return _look(request, info, outlooks[place], replace(part, threads=threads))

    lengths_s = [outlook.end_s - outlook.start_s for outlook in outlooks]
    return frame_plan(request, info, plan, side_by_side(Stage.REFRAME, lengths_s, one, ctx, on_progress), ctx)


def _look(request: ClipRequest, info: SourceInfo, outlook: Outlook, ctx: StageContext) -> Sighting | Unseen:
    try:
        return look_for_subject(request, info, outlook, ctx)
    except MediaError as err:
        return Unseen(n=outlook.n, message=err.message)


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


def render(
    request: ClipRequest,
    info: SourceInfo,
    specs: tuple[ClipSpec, ...],
    ctx: StageContext,
    on_progress: OnProgress = no_progress,
) -> list[RenderResult]:
    """Make all clips, as many at once as the context has threads. Raises: JobStopped, StorageError, SourceNotFound."""

    def one(place: int, part: StageContext) -> RenderResult:
        threads = clip_threads(place, len(specs), cores=ctx.threads, slots=ctx.threads)
        return render_clip(request, info, specs[place], replace(part, threads=threads))

    return side_by_side(Stage.RENDER, [spec.end_s - spec.start_s for spec in specs], one, ctx, on_progress)


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
