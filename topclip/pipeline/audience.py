"""The audience curve of a job: taken from its file when the source is probed, read when clips are chosen."""

import hashlib

from topclip.errors import ArtifactMissing, BadAudience
from topclip.model.audience import AudienceCurve, AudienceRef
from topclip.model.request import ClipRequest
from topclip.model.source import SourceInfo
from topclip.pipeline.attached import attached_content
from topclip.pipeline.audience_file import read_curve
from topclip.pipeline.context import StageContext
from topclip.pipeline.kept import kept, must_be_kept
from topclip.storage.base import audience_curve_key, audience_ref_key

AUDIENCE_VERSION = "2"


def take_audience(request: ClipRequest, info: SourceInfo, ctx: StageContext) -> None:
    """Read the job's curve, if one came with it; it is kept by content, where it lies under the job's key.

    Raises: BadAudience, SourceNotFound, StorageError.
    """
    ref_key = audience_ref_key(ctx.job_id)
    if request.audience is None:
        return
    known = kept(ref_key, AudienceRef.model_validate_json, ctx.store)
    if known is not None:
        if ctx.store.exists(known.key):
            return
        ctx.store.delete(ref_key)  # what it names is gone; another release may name it otherwise
    name, content = request.audience.name, attached_content(request.audience, "audience", ctx)
    key = audience_curve_key(info.sha256, hashlib.sha256(AUDIENCE_VERSION.encode() + content).hexdigest()[:16])
    if kept(key, AudienceCurve.model_validate_json, ctx.store) is None:
        curve = read_curve(content, name).moved(-info.lead_s)  # the file counts as players do
        if not any(0 <= at_s < info.duration_s for at_s in curve.times_s):
            what = f"{name}: no value lies within the source's {info.duration_s:.1f} s"
            hint = "is it the file for another video? Times are seconds from the video's start"
            raise BadAudience(what, {"field": "audience", "hint": hint})
        ctx.store.put_bytes(key, curve.model_dump_json().encode())
    ctx.store.put_bytes(ref_key, AudienceRef(key=key).model_dump_json().encode())


def audience_ref(ctx: StageContext) -> AudienceRef | None:
    """Where the job's curve lies, if it has one. Raises: StorageError."""
    try:
        return AudienceRef.model_validate_json(ctx.store.get_bytes(audience_ref_key(ctx.job_id)))
    except ArtifactMissing:
        return None


def load_curve(ctx: StageContext) -> AudienceCurve | None:
    """The job's curve, if it has one. Raises: ArtifactMissing, StorageError."""
    ref = audience_ref(ctx)
    return None if ref is None else must_be_kept(ref.key, AudienceCurve.model_validate_json, ctx.store)
