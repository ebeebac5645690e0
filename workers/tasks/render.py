"""Task of stage render: one clip."""

from dataclasses import replace
from typing import Any

from topclip.errors import TopClipError
from topclip.model.base import JsonDict
from topclip.model.clip import ClipSpec, FailedClip
from topclip.model.job import Stage
from topclip.pipeline.render import render_clip
from workers import names, runtime
from workers.app import app
from workers.base import ClipTask


class RenderTask(ClipTask):
    """A part: a clip that cannot be made is a value, and the job ends PARTIAL."""

    abstract = True
    stage = Stage.RENDER
    is_part = True

    def failed_part(self, error: TopClipError, **kwargs: Any) -> JsonDict:
        """The clip and why it could not be made."""
        spec = ClipSpec.from_dict(kwargs["spec"])
        return FailedClip(
            n=spec.n,
            start_s=spec.start_s,
            end_s=spec.end_s,
            code=error.code,
            message=error.message,
            hint=error.hint,
        ).to_dict()


@app.task(base=RenderTask, bind=True, name=names.RENDER)
def render(self: RenderTask, *, job_id: str, spec: JsonDict, place: int, of: int) -> JsonDict:
    """Render, check and publish one clip. place: among the `of` clips that were asked for together, from 0."""
    request, info = runtime.request_of(job_id), runtime.info_of(job_id)
    ctx = replace(self.context(job_id), threads=runtime.render_threads(place, of))
    made = render_clip(request, info, ClipSpec.from_dict(spec), ctx)
    if isinstance(made, FailedClip):
        self.tell_failed(made.code, made.message)
    return made.to_dict()
