"""The whole flow in one process, without broker or server: probe, chunk, analyse, merge, select, reframe, render, finalise.

The oracle for the distributed flow: the same stages, the same plan byte for byte.
"""

from dataclasses import dataclass, replace

from topclip.errors import MediaError
from topclip.model.clip import ClipSpec, RenderResult
from topclip.model.framing import Outlook, Sighting, Unseen
from topclip.model.job import Stage
from topclip.model.manifest import Manifest
from topclip.model.request import ClipRequest
from topclip.model.source import SourceInfo
from topclip.pipeline.context import StageContext, clip_threads
from topclip.pipeline.finalise import finalise
from topclip.pipeline.plan import PlanResult, frame_plan, make_plan
from topclip.pipeline.reframe import look_for_subject
from topclip.pipeline.render import render_clip
from topclip.run_analysis import OnProgress, analyse, no_progress, side_by_side

ORDER = (Stage.PROBE, Stage.ANALYSE, Stage.SELECT, Stage.REFRAME, Stage.RENDER, Stage.FINALISE)


@dataclass(frozen=True)
class LocalResult:
    """What a run left in the store."""

    manifest: Manifest
    manifest_key: str
    plan_key: str


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
