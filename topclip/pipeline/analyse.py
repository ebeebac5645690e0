"""Stage analyse: one chunk of a source to numbers. Decides nothing: that is left to merge, which sees no seams."""

import math
from pathlib import Path

import numpy as np

from topclip.analysers.frames import FrameNumbers
from topclip.analysers.gradual import suspected
from topclip.analysers.tracks import ANALYSIS_VERSION, SOUND_HOP_S, SoundNumbers, Tracks
from topclip.media.decode import Faults, Picture, Span, decode_span
from topclip.media.limits import timed, work_s
from topclip.media.skim import Effort, Unsound
from topclip.model.analysis import Chunk, ChunkResult
from topclip.model.request import ClipRequest
from topclip.model.source import SourceInfo
from topclip.pipeline.context import StageContext
from topclip.pipeline.kept import kept
from topclip.pipeline.source import source_path
from topclip.storage.base import ArtifactStore, chunk_key


def analyse_chunk(request: ClipRequest, info: SourceInfo, chunk: Chunk, ctx: StageContext) -> ChunkResult:
    """Analyse one chunk; the numbers are kept under the source's content and shared by all jobs on it.

    Raises: MediaError if the source cannot be opened or takes too much, StorageError, JobStopped.
    """
    key = chunk_key(info.sha256, ANALYSIS_VERSION, chunk.index)
    tracks = kept(key, Tracks.from_bytes, ctx.store)
    if tracks is None:
        with source_path(request, ctx, info) as path:
            tracks = measure_chunk(path, info, chunk, ctx)
        ctx.store.put_bytes(key, tracks.to_bytes())
    return ChunkResult(index=chunk.index, key=key, n_frames=len(tracks.pts))


def is_analysed(info: SourceInfo, chunk: Chunk, store: ArtifactStore) -> bool:
    """Whether the chunk's numbers are in the store, by this job or an earlier one. Raises: StorageError."""
    return store.exists(chunk_key(info.sha256, ANALYSIS_VERSION, chunk.index))


def measure_chunk(
    path: Path, info: SourceInfo, chunk: Chunk, ctx: StageContext, effort: Effort = Effort.TELLING
) -> Tracks:
    """Decode the chunk and reduce it to numbers. The first chunk owns all before it, the last all to the end."""
    # A group of pictures is judged as one: none may lie across a seam.
    if not info.chunk_pts and (chunk.start_pts, chunk.end_pts) != (None, None):
        effort = Effort.WHOLE
    try:
        return _measured(path, info, chunk, ctx, effort)
    except Unsound:
        return _measured(path, info, chunk, ctx, Effort.WHOLE)


def _measured(path: Path, info: SourceInfo, chunk: Chunk, ctx: StageContext, effort: Effort) -> Tracks:
    span = Span(chunk.start_pts, chunk.end_pts, chunk.is_at_key)
    frames = FrameNumbers()
    end_s = chunk.end_s if span.end_pts is not None else math.ceil(info.duration_s / SOUND_HOP_S) * SOUND_HOP_S
    sound = SoundNumbers(chunk.start_s, end_s if info.audio is not None else chunk.start_s)
    origin_s = float(info.video.start_pts * info.video.tick)
    at_s = 0.0
    tick = timed(lambda: ctx.report(at_s, chunk.duration_s), _limit_s(info, chunk), f"analysing chunk {chunk.index}")
    faults = Faults(tick=tick)
    for item in decode_span(path, info, span, faults, max_pixels=ctx.max_pixels, effort=effort, suspected=suspected):
        if isinstance(item, Picture):
            frames.add(item.pts, item.thumb, is_owned=item.is_owned, is_key=item.is_key, is_drawn=item.is_drawn)
            source_s = float((item.pts - info.video.start_pts) * info.video.tick)
            at_s = min(max(0.0, source_s - chunk.start_s), chunk.duration_s)
        else:
            sound.add(item.start_s - origin_s, item.momentary_lufs, item.levels_db, item.spectra)
    return Tracks(**frames.arrays(), **sound.arrays(), n_corrupt=np.array([faults.n_corrupt], np.int64))


def _limit_s(info: SourceInfo, chunk: Chunk) -> float:
    """Seconds that a chunk may take: at worst all before it is decoded too."""
    pixels_per_s = info.video.width * info.video.height * float(info.video.rate)
    return work_s(chunk.end_s, chunk.end_s * pixels_per_s)
