"""Stage render: one clip, made, checked and published."""

from topclip.model.clip import ClipSpec, RenderResult
from topclip.model.request import ClipRequest
from topclip.model.source import SourceInfo
from topclip.pipeline.context import StageContext


def render_clip(request: ClipRequest, info: SourceInfo, spec: ClipSpec, ctx: StageContext) -> RenderResult:
    """Make one clip; one that cannot be made comes back as FailedClip."""
    raise NotImplementedError
