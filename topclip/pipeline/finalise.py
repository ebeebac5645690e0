"""Stage finalise: the manifest of what was made, written last."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from topclip.errors import TopClipError, from_dict
from topclip.model.clip import FailedClip, RenderedClip, RenderResult
from topclip.model.manifest import Manifest, ManifestClip, ManifestFailure
from topclip.model.request import ClipRequest
from topclip.model.source import SourceInfo
from topclip.pipeline.context import StageContext
from topclip.pipeline.kept import publish
from topclip.storage.base import job_folder, manifest_key

MANIFEST_VERSION = "1"


@dataclass(frozen=True)
class FinalResult:
    """The manifest and where it lies."""

    manifest_key: str
    manifest: Manifest


def finalise(
    request: ClipRequest, info: SourceInfo, plan_key: str, results: Sequence[RenderResult], ctx: StageContext
) -> FinalResult:
    """Write the manifest. In mode `plan` there are no results, and a manifest without clips.

    Raises: the first clip's failure if every clip failed; StorageError.
    """
    made = sorted((r for r in results if isinstance(r, RenderedClip)), key=lambda r: r.n)
    failed = sorted((r for r in results if isinstance(r, FailedClip)), key=lambda r: r.n)
    if failed and not made:
        raise _as_error(failed[0], len(failed))
    manifest = Manifest(
        version=MANIFEST_VERSION,
        source=info.to_dict(),
        options=request.options.to_dict(),
        plan=_relative(plan_key, ctx.job_id),
        clips=tuple(_clip(r, ctx.job_id) for r in made),
        failed=tuple(ManifestFailure(**r.model_dump(exclude={"outcome"})) for r in failed),
    )
    content = manifest.model_dump_json(indent=1).encode() + b"\n"
    key = manifest_key(ctx.job_id, hashlib.sha256(content).hexdigest()[:16])
    publish(key, content, ctx.store)
    return FinalResult(key, manifest)


def _clip(rendered: RenderedClip, job_id: str) -> ManifestClip:
    shared = rendered.model_dump(exclude={"outcome", "key", "thumbnail_key", "captions"})
    file, thumbnail = _relative(rendered.key, job_id), _relative(rendered.thumbnail_key, job_id)
    captions = rendered.captions
    if captions:
        files = {"srt": _relative(captions.srt, job_id), "vtt": _relative(captions.vtt, job_id)}
        captions = captions.model_copy(update=files)
    return ManifestClip(**shared, file=file, thumbnail=thumbnail, captions=captions)


def _relative(key: str, job_id: str) -> str:
    """A key as a path from the manifest's folder."""
    return key.removeprefix(job_folder(job_id) + "/")


def _as_error(failure: FailedClip, n_failed: int) -> TopClipError:
    what = f"all {n_failed} clips failed; the first: {failure.message}" if n_failed > 1 else failure.message
    return from_dict({"code": failure.code, "message": what, "hint": failure.hint})
