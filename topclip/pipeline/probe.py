"""Stage probe: locate a source and find what it holds."""

from topclip.model.request import ClipRequest
from topclip.model.source import SourceInfo
from topclip.pipeline.context import StageContext


def probe_source(request: ClipRequest, ctx: StageContext) -> SourceInfo:
    """Find out what a source holds; the answer is kept under the job's info key."""
    raise NotImplementedError
