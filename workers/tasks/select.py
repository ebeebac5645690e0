"""Task of stage select: choose the clips, and who renders which."""

from typing import NoReturn

from topclip.errors import from_dict
from topclip.model.base import JsonDict
from topclip.model.job import Stage
from topclip.pipeline.plan import make_plan
from workers import canvas, names, runtime
from workers.app import app
from workers.base import ClipTask


@app.task(base=ClipTask, bind=True, name=names.SELECT, stage=Stage.SELECT)
def select(self: ClipTask, parts: list[JsonDict], *, job_id: str) -> NoReturn:
    """Make the plan, then hand on to a task for each clip. Raises: the error of a chunk that failed."""
    for part in parts:
        if part["outcome"] == "failed":
            raise from_dict(part)
    plan = make_plan(runtime.request_of(job_id), runtime.info_of(job_id), self.context(job_id))
    names_of_parts = canvas.render_parts(plan.specs)
    run = self.pulse.run
    progress = {
        "plan": plan.plan_key,
        "tasks": [names.task_id(run.job, run.epoch, part) for part in names_of_parts],
        "sizes_s": [spec.end_s - spec.start_s for spec in plan.specs],
        "clips": [{"n": spec.n, "start_s": spec.start_s, "end_s": spec.end_s} for spec in plan.specs],
    }
    after = canvas.render_then_finalise(app, run, plan.specs, plan.plan_key)
    self.hand_on(Stage.RENDER, progress, names_of_parts, after)
