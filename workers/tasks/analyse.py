"""Task of stage analyse: one chunk."""

from typing import Any

from topclip.errors import TopClipError
from topclip.model.analysis import Chunk
from topclip.model.base import JsonDict
from topclip.model.job import Stage
from topclip.pipeline.analyse import analyse_chunk
from workers import names, runtime
from workers.app import app
from workers.base import ClipTask


class AnalyseTask(ClipTask):
    """A part: its failure is a value, which select turns into the job's."""

    abstract = True
    stage = Stage.ANALYSE
    is_part = True

    def failed_part(self, error: TopClipError, **kwargs: Any) -> JsonDict:
        """The chunk and why it could not be analysed."""
        return {"outcome": "failed", "index": kwargs["chunk"]["index"], **error.to_dict()}


@app.task(base=AnalyseTask, bind=True, name=names.ANALYSE)
def analyse(self: AnalyseTask, *, job_id: str, chunk: JsonDict) -> JsonDict:
    """Analyse one chunk of the source into the store."""
    request, info = runtime.request_of(job_id), runtime.info_of(job_id)
    result = analyse_chunk(request, info, Chunk.from_dict(chunk), self.context(job_id))
    return {"outcome": "ok", **result.to_dict()}
