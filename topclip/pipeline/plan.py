"""Stage select, the part with hands: load what analysis left, merge it, choose, keep the plan.

Where clips are cut out of the picture, the plan is whole only when reframe has looked for their subjects.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence

import numpy as np

from topclip.analysers.evidence import Evidence
from topclip.errors import ArtifactMissing
from topclip.media.timeline import true_leaps
from topclip.model.analysis import Analysis
from topclip.model.base import Model
from topclip.model.clip import CaptionSpec, ClipSpec, Plan
from topclip.model.framing import Framing, Outlook, Sighting, Unseen
from topclip.model.geometry import cut_out
from topclip.model.request import Captions, ClipOptions, ClipRequest, Edits, Mode, Range
from topclip.model.source import SourceInfo
from topclip.pipeline.audience import audience_ref
from topclip.pipeline.context import StageContext
from topclip.pipeline.framing import FRAMING_VERSION, frame_clip
from topclip.pipeline.holes import told_of
from topclip.pipeline.kept import must_be_kept, publish
from topclip.pipeline.plot import draw_plan
from topclip.pipeline.ranges import recut
from topclip.pipeline.select import PLAN_VERSION, clip_specs, select_clips
from topclip.pipeline.shares import shares_of
from topclip.pipeline.told import with_all_told
from topclip.pipeline.transcript import transcript_ref
from topclip.pipeline.whole import load_analysis
from topclip.storage.base import drawing_key, plan_key


class PlanResult(Model):
    """Where the plan lies, and the clips to be made (none in mode `plan`).

    outlooks: where subjects are to be looked for before the plan is whole; none: it is.
    """

    plan_key: str
    specs: tuple[ClipSpec, ...]
    outlooks: tuple[Outlook, ...] = ()


def make_plan(request: ClipRequest, info: SourceInfo, ctx: StageContext) -> PlanResult:
    """Choose the clips of a job. All chunks must have been analysed.

    Raises: NoHighlights, InvalidRequest for a range outside the source, DecodeError, ArtifactMissing, StorageError.
    """
    options = request.options
    analysis = with_all_told(info, load_analysis(info, ctx), options.keywords, ctx)
    is_cut_out = cut_out(info.video, options.aspect, options.fit) is not None
    framings = _asked_framings(request.edits) if is_cut_out else {}
    edited = _edited(request.edits, info, analysis, options, ctx)
    plan = _with_framings(edited or select_clips(info, analysis, options), framings)
    asked_s = {h.n: h.asked_s for h in plan.highlights}
    captions = _captions(request, ctx)
    chosen = (spec.model_copy(update={"captions": captions}) for spec in clip_specs(plan, analysis, options))
    specs = tuple(_with_facts(info, analysis, _framed(spec, framings), asked_s[spec.n]) for spec in chosen)
    outlooks = tuple(_outlook(analysis, spec) for spec in specs if is_cut_out and spec.n not in framings)
    key = plan_key(ctx.job_id, plan_digest(request, info, _told(ctx)))
    publish(drawing_key(key), draw_plan(plan, analysis).encode(), ctx.store)
    publish(key, plan_document(plan), ctx.store)
    return PlanResult(plan_key=key, specs=_wanted(request, specs), outlooks=outlooks)


def frame_plan(
    request: ClipRequest, info: SourceInfo, chosen: PlanResult, seen: Sequence[Sighting | Unseen], ctx: StageContext
) -> PlanResult:
    """Make the plan whole: each highlight with its framing. seen: the outcome of every outlook, in any order. A framing that
    a person has set stays.

    Raises: ArtifactMissing, StorageError.
    """
    plan = Plan.model_validate_json(ctx.store.get_bytes(chosen.plan_key))
    outlooks = {outlook.n: outlook for outlook in chosen.outlooks}
    framings = {part.n: _framing(request, info, outlooks[part.n], part, ctx) for part in seen}
    framed = _with_framings(plan, framings)
    content = plan_document(framed.model_copy(update={"version": f"{plan.version}, {FRAMING_VERSION}"}))
    key = plan_key(ctx.job_id, hashlib.sha256(content).hexdigest()[:16])
    publish(drawing_key(key), ctx.store.get_bytes(drawing_key(chosen.plan_key)), ctx.store)
    publish(key, content, ctx.store)
    return PlanResult(plan_key=key, specs=_all_framed(info, chosen.specs, framings, ctx))


def _asked_framings(edits: Edits | None) -> dict[int, Framing]:
    """The framings that a person has set, by clip."""
    reason = "a person has set it"
    return {
        edit.n: Framing(method="asked", reason=reason, evidence=0.0, keyframes=edit.keyframes)
        for edit in (edits.clips if edits else ())
        if edit.keyframes
    }


def _with_framings(plan: Plan, framings: Mapping[int, Framing]) -> Plan:
    """A plan with the framings of some of its clips."""
    found = (h.model_copy(update={"framing": framings.get(h.n, h.framing)}) for h in plan.highlights)
    return plan.model_copy(update={"highlights": tuple(found)})


def _unframed(plan: Plan) -> Plan:
    """A plan that was framed for another shape or other ranges, as it was chosen."""
    highlights = tuple(h.model_copy(update={"framing": None}) for h in plan.highlights)
    version = plan.version.partition(", evidence ")[0]  # as FRAMING_VERSION begins, in older releases too
    return plan.model_copy(update={"version": version, "highlights": highlights})


def _outlook(analysis: Analysis, spec: ClipSpec) -> Outlook:
    starts = analysis.frame_pts[[shot.start_frame for shot in analysis.shots]].tolist()
    cuts = tuple(pts for pts in starts if spec.start_pts < pts < spec.end_pts)
    return Outlook(cut_pts=cuts, **{name: getattr(spec, name) for name in Outlook.model_fields if name != "cut_pts"})


def _framing(
    request: ClipRequest, info: SourceInfo, outlook: Outlook, part: Sighting | Unseen, ctx: StageContext
) -> Framing:
    if isinstance(part, Unseen):
        return Framing(method="blur", reason=f"its subject could not be looked for: {part.message}", evidence=0.0)
    window = cut_out(info.video, request.options.aspect, request.options.fit)
    assert window is not None  # else nothing is looked for
    evidence = must_be_kept(part.key, Evidence.from_bytes, ctx.store)
    ctx.report(0.0, 1.0)
    return frame_clip(info.video, outlook, evidence, window)


def _framed(spec: ClipSpec, framings: Mapping[int, Framing]) -> ClipSpec:
    """A clip with its framing, if it has one. One that is shown whole is as large as those beside it, that are cut out."""
    framing = framings.get(spec.n)
    return (
        spec
        if framing is None
        else spec.model_copy(update={"is_whole": framing.method == "blur", "keyframes": framing.keyframes})
    )


def _all_framed(
    info: SourceInfo, specs: tuple[ClipSpec, ...], framings: Mapping[int, Framing], ctx: StageContext
) -> tuple[ClipSpec, ...]:
    """Clips with their framings, and what they are checked by for the part of the picture that they show."""
    if not specs:
        return ()
    framed = tuple(_framed(spec, framings) for spec in specs)
    try:
        analysis = load_analysis(info, ctx)
    except ArtifactMissing:  # an older version has analysed it, or it was cleared away: there is nothing to judge by
        return tuple(spec.model_copy(update={"shares": None}) for spec in framed)
    return tuple(spec.model_copy(update={"shares": shares_of(info, analysis, spec)}) for spec in framed)


def _wanted(request: ClipRequest, specs: tuple[ClipSpec, ...]) -> tuple[ClipSpec, ...]:
    return () if request.options.mode is Mode.PLAN else specs


def _edited(
    edits: Edits | None, info: SourceInfo, analysis: Analysis, options: ClipOptions, ctx: StageContext
) -> Plan | None:
    """The plan that a person has set clips of, if there is one, with these ranges."""
    if edits is None:
        return None
    plan = _unframed(Plan.model_validate_json(ctx.store.get_bytes(edits.plan)))
    return recut(plan, info, analysis, options, edits)


def _captions(request: ClipRequest, ctx: StageContext) -> CaptionSpec | None:
    """What becomes of the words; None where none are wanted, or there are none."""
    ref = transcript_ref(ctx)
    wanted, style = request.options.captions, request.options.caption_style
    if ref.key is None or wanted is Captions.OFF:
        return None
    return CaptionSpec(transcript=ref.key, style=style if wanted is Captions.BURN else None)


def _with_facts(info: SourceInfo, analysis: Analysis, spec: ClipSpec, asked_s: Range | None) -> ClipSpec:
    """The spec with what a render, its check and a person need to know of the range."""
    first, end = np.searchsorted(analysis.frame_pts, [spec.first_pts, spec.end_pts])
    leaps = true_leaps(info, analysis.frame_pts[first:end].tolist())
    facts = {"shares": shares_of(info, analysis, spec), "warnings": told_of(info, analysis, spec, asked_s)}
    return spec.model_copy(update={"true_leaps": leaps, **facts})


def plan_document(plan: Plan) -> bytes:
    """The plan as it is kept and shown: the same plan, the same bytes."""
    return json.dumps(plan.to_dict(), ensure_ascii=False, indent=1, sort_keys=True).encode() + b"\n"


def _told(ctx: StageContext) -> tuple[str | None, str | None]:
    """Keys of what is told of the source: transcript and audience curve; None without."""
    curve = audience_ref(ctx)
    return transcript_ref(ctx).key, None if curve is None else curve.key


def plan_digest(request: ClipRequest, info: SourceInfo, told: tuple[str | None, str | None]) -> str:
    """Names a plan by all that it rests on. told: keys of transcript and audience curve."""
    rests_on = [info.to_dict(), request.options.to_dict(), *told, PLAN_VERSION]
    if request.edits:
        rests_on.append(request.edits.to_dict())
    return hashlib.sha256(json.dumps(rests_on, sort_keys=True).encode()).hexdigest()[:16]
