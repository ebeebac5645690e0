"""Stage probe: locate a source and find what it holds."""

from topclip.media.keys import span_starts
from topclip.media.probe import check_limits, probe
from topclip.model.request import ClipRequest
from topclip.model.source import SourceInfo
from topclip.pipeline.chunk import n_chunks_wanted
from topclip.pipeline.context import StageContext
from topclip.pipeline.digest import source_digest
from topclip.pipeline.kept import kept
from topclip.pipeline.source import source_path
from topclip.storage.base import info_key


def probe_source(request: ClipRequest, ctx: StageContext) -> SourceInfo:
    """Find out what a source holds; the answer is kept under the job's info key.

    Raises: SourceNotFound, SourceTooLarge, UnsupportedMedia, ProbeError, MediaLimit, StorageError, JobStopped.
    """
    key = info_key(ctx.job_id)
    if known := kept(key, SourceInfo.model_validate_json, ctx.store):
        return known
    with source_path(request, ctx) as path:
        info = probe(path, name=request.source.name, max_pixels=ctx.max_pixels, tick=lambda: ctx.report(0.0, 1.0))
        check_limits(info, max_duration_s=ctx.max_duration_s, max_pixels=ctx.max_pixels)
        starts = span_starts(path, info, n_chunks_wanted(info.duration_s), ctx.max_pixels, lambda: ctx.report(0.0, 1.0))
        info = info.model_copy(update={"sha256": source_digest(request, path, info, ctx), "chunk_pts": starts})
    ctx.store.put_bytes(key, info.model_dump_json().encode())
    return info
