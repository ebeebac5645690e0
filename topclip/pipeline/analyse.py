"""Stage analyse: one chunk of a source to arrays."""

from topclip.model.analysis import Chunk, ChunkResult
from topclip.model.request import ClipRequest
from topclip.model.source import SourceInfo
from topclip.pipeline.context import StageContext


def analyse_chunk(request: ClipRequest, info: SourceInfo, chunk: Chunk, ctx: StageContext) -> ChunkResult:
    """Analyse one chunk; the result is kept under its content and shared by all jobs."""
    raise NotImplementedError
