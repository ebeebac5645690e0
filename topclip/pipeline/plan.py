"""Stage select, the part with hands: load what analysis left, merge it, choose, keep the plan."""

import hashlib
import json
from dataclasses import dataclass

import numpy as np

from topclip.media.timeline import true_leaps
from topclip.model.analysis import Analysis
from topclip.model.clip import CaptionSpec, ClipSpec, Plan
from topclip.model.request import Captions, ClipOptions, ClipRequest, Edits, Mode
from topclip.model.source import SourceInfo
from topclip.pipeline.context import StageContext
from topclip.pipeline.plot import draw_plan
from topclip.pipeline.ranges import recut
from topclip.pipeline.select import PLAN_VERSION, clip_specs, select_clips
from topclip.pipeline.shares import shares_of
from topclip.pipeline.transcript import transcript_ref, with_transcript
from topclip.pipeline.whole import load_analysis
from topclip.storage.base import drawing_key, plan_key


@dataclass(frozen=True)
class PlanResult:
    """Where the plan lies, and the clips to be made (none in mode `plan`)."""

    plan_key: str
    specs: tuple[ClipSpec, ...]


def make_plan(request: ClipRequest, info: SourceInfo, ctx: StageContext) -> PlanResult:
    """Choose the clips of a job. All chunks must have been analysed.

    Raises: NoHighlights, InvalidRequest for a range outside the source, DecodeError, ArtifactMissing, StorageError.
    """
    options = request.options
    analysis = with_transcript(info, load_analysis(info, ctx), options.keywords, ctx)
    plan = _edited(request.edits, info, analysis, options, ctx) or select_clips(info, analysis, options)
    key = plan_key(ctx.job_id, plan_digest(request, info, transcript_ref(ctx).key))
    ctx.store.put_bytes(drawing_key(key), draw_plan(plan, analysis).encode())
    ctx.store.put_bytes(key, plan_document(plan))
    specs = () if options.mode is Mode.PLAN else clip_specs(plan, analysis, options)
    captions = _captions(request, ctx)
    specs = tuple(spec.model_copy(update={"captions": captions}) for spec in specs)
    return PlanResult(key, tuple(_with_facts(info, analysis, spec) for spec in specs))


def _edited(
    edits: Edits | None, info: SourceInfo, analysis: Analysis, options: ClipOptions, ctx: StageContext
) -> Plan | None:
    """The plan that a person has set clips of, if there is one."""
    if edits is None:
        return None
    return recut(Plan.model_validate_json(ctx.store.get_bytes(edits.plan)), info, analysis, options, edits)


def _captions(request: ClipRequest, ctx: StageContext) -> CaptionSpec | None:
    """What becomes of the words; None where none are wanted, or there are none."""
    ref = transcript_ref(ctx)
    wanted, style = request.options.captions, request.options.caption_style
    if ref.key is None or wanted is Captions.OFF:
        return None
    return CaptionSpec(transcript=ref.key, style=style if wanted is Captions.BURN else None)


def _with_facts(info: SourceInfo, analysis: Analysis, spec: ClipSpec) -> ClipSpec:
    """The spec with what a render and its check need to know of the range."""
    first, end = np.searchsorted(analysis.frame_pts, [spec.start_pts, spec.end_pts])
    leaps = true_leaps(info, analysis.frame_pts[first:end].tolist())
    return spec.model_copy(update={"true_leaps": leaps, "shares": shares_of(info, analysis, spec)})


def plan_document(plan: Plan) -> bytes:
    """The plan as it is kept and shown: the same plan, the same bytes."""
    return json.dumps(plan.to_dict(), ensure_ascii=False, indent=1, sort_keys=True).encode() + b"\n"


def plan_digest(request: ClipRequest, info: SourceInfo, transcript: str | None) -> str:
    """Names a plan by all that it rests on. transcript: its key, None without."""
    rests_on = [info.to_dict(), request.options.to_dict(), transcript, PLAN_VERSION]
    if request.edits:
        rests_on.append(request.edits.to_dict())
    return hashlib.sha256(json.dumps(rests_on, sort_keys=True).encode()).hexdigest()[:16]
