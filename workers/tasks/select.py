"""Task of stage select: choose the clips, and who looks for their subjects or renders them."""

from typing import NoReturn

from topclip.errors import ArtifactMissing
from topclip.model.base import JsonDict
from topclip.model.job import Stage
from topclip.pipeline.analyse import is_analysed
from topclip.pipeline.chunk import plan_chunks
from topclip.pipeline.plan import make_plan
from topclip.pipeline.told import is_told
from workers import names, runtime
from workers.app import app
from workers.base import ClipTask, PartFailed
from workers.planned import hand_on_clips, hand_on_outlooks


@app.task(base=ClipTask, bind=True, name=names.SELECT, stage=Stage.SELECT)
def select(self: ClipTask, parts: list[JsonDict], *, job_id: str) -> NoReturn:
    """Make the plan, then hand on to a task for each outlook or clip. Raises: the error of a chunk that failed."""
    for part in parts:
        if part["outcome"] == "failed":
            raise PartFailed(part)
    request, info = runtime.request_of(job_id), runtime.info_of(job_id)
    try:
        plan = make_plan(request, info, self.context(job_id))
    except ArtifactMissing:
        is_whole = all(is_analysed(info, chunk, runtime.store()) for chunk in plan_chunks(info))
        if is_whole and is_told(self.context(job_id)):
            raise
        self.begin_anew("a part of the source's analysis, or what is said in it, is gone")  # damaged; or an upgrade
    if plan.outlooks:
        hand_on_outlooks(self, plan)
    hand_on_clips(self, plan)
