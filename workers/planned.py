"""From a plan to the tasks that carry it out."""

from typing import NoReturn

from topclip.model.job import Stage
from topclip.pipeline.plan import PlanResult
from workers import canvas, names
from workers.base import ClipTask


def hand_on_outlooks(task: ClipTask, plan: PlanResult) -> NoReturn:
    """Replace a task by one for each clip whose subject is to be looked for, and what makes the plan whole."""
    run, parts = task.pulse.run, canvas.reframe_parts(plan.outlooks)
    progress = {
        "plan": plan.plan_key,
        "tasks": [names.task_id(run.job, run.epoch, part) for part in parts],
        "sizes_s": [outlook.end_s - outlook.start_s for outlook in plan.outlooks],
    }
    after = canvas.reframe_then_frame(task.app, run, plan.outlooks, plan.to_dict())
    task.hand_on(Stage.REFRAME, progress, parts, after)


def hand_on_clips(task: ClipTask, plan: PlanResult) -> NoReturn:
    """Replace a task by one for each clip, and the manifest."""
    run, parts = task.pulse.run, canvas.render_parts(plan.specs)
    progress = {
        "plan": plan.plan_key,
        "tasks": [names.task_id(run.job, run.epoch, part) for part in parts],
        "sizes_s": [spec.end_s - spec.start_s for spec in plan.specs],
        "clips": [{"n": spec.n, "start_s": spec.start_s, "end_s": spec.end_s} for spec in plan.specs],
    }
    after = canvas.render_then_finalise(task.app, run, plan.specs, plan.plan_key)
    task.hand_on(Stage.RENDER, progress, parts, after)
