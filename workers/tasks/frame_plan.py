"""Task that ends stage reframe: the plan made whole, and who renders which clip."""

from typing import NoReturn

from topclip.model.base import JsonDict
from topclip.model.framing import Sighting, Unseen
from topclip.model.job import Stage
from topclip.pipeline.plan import PlanResult
from topclip.pipeline.plan import frame_plan as make_whole
from workers import names, runtime
from workers.app import app
from workers.base import ClipTask, PartFailed
from workers.planned import hand_on_clips


@app.task(base=ClipTask, bind=True, name=names.FRAME_PLAN, stage=Stage.REFRAME)
def frame_plan(self: ClipTask, parts: list[JsonDict], *, job_id: str, chosen: JsonDict) -> NoReturn:
    """Give each highlight its framing, then hand on to a task for each clip. Raises: the error of a store that failed."""
    for part in parts:
        if part["outcome"] == "stopped":
            raise PartFailed(part)
    seen = [(Sighting if part["outcome"] == "ok" else Unseen).from_dict(part) for part in parts]
    request, info = runtime.request_of(job_id), runtime.info_of(job_id)
    plan = make_whole(request, info, PlanResult.from_dict(chosen), seen, self.context(job_id))
    hand_on_clips(self, plan)
