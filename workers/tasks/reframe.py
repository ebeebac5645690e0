"""Task of stage reframe: one clip's subject."""

from typing import Any

from topclip.errors import StorageError, TopClipError
from topclip.model.base import JsonDict
from topclip.model.framing import Outlook, Unseen
from topclip.model.job import Stage
from topclip.pipeline.reframe import look_for_subject
from workers import names, runtime
from workers.app import app
from workers.base import ClipTask


class ReframeTask(ClipTask):
    """A part: a subject that cannot be looked for is a value, and its clip is shown whole. So is a store that fails, which says
    nothing of the subject: `frame_plan` turns it into the job's failure.
    """

    abstract = True
    stage = Stage.REFRAME
    is_part = True

    def failed_part(self, error: TopClipError, **kwargs: Any) -> JsonDict:
        """The clip and why its subject could not be looked for."""
        if isinstance(error, StorageError):
            return {"outcome": "stopped", **error.to_dict()}
        return Unseen(n=kwargs["outlook"]["n"], message=error.message).to_dict()


@app.task(base=ReframeTask, bind=True, name=names.REFRAME)
def reframe(self: ReframeTask, *, job_id: str, outlook: JsonDict) -> JsonDict:
    """Look for the subject of one clip."""
    request, info = runtime.request_of(job_id), runtime.info_of(job_id)
    return look_for_subject(request, info, Outlook.from_dict(outlook), self.context(job_id)).to_dict()
