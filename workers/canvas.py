"""The recipes: which signatures follow a stage. Tasks are named, never imported, and every signature bears our header."""

from typing import Any

from celery import Celery, chord, group
from celery.canvas import Signature

from topclip.model.analysis import Chunk
from topclip.model.base import JsonDict
from topclip.model.clip import ClipSpec
from topclip.model.framing import Outlook
from topclip.model.job import Stage
from workers import names
from workers.pulse import Run


def sign(
    app: Celery, task: str, run: Run, part: str, *args: Any, span: tuple[float, float] | None = None, **kwargs: Any
) -> Signature:
    """A signature of a task of this attempt of the job. span: the range of the source that it is about, in seconds."""
    header = {names.HEADER: {"job": run.job, "epoch": run.epoch, "part": part}}
    return app.signature(
        task, args=args, kwargs={"job_id": run.job, **kwargs}, headers=header, queue=names.QUEUE_OF[task]
    ).set(**names.shown(run.job, run.epoch, part, span))


def analyse_then_select(app: Celery, run: Run, chunks: tuple[Chunk, ...]) -> Signature:
    """A task for each chunk, then select; select alone if nothing is left to analyse."""
    select = sign(app, names.SELECT, run, Stage.SELECT)
    if not chunks:
        return sign(app, names.SELECT, run, Stage.SELECT, [])
    header = [
        sign(app, names.ANALYSE, run, part, span=(chunk.start_s, chunk.end_s), chunk=chunk.to_dict()).set(
            task_id=names.task_id(run.job, run.epoch, part)
        )
        for chunk, part in zip(chunks, analyse_parts(chunks), strict=True)
    ]
    return join(app, run, Stage.ANALYSE, header, select)


def reframe_then_frame(app: Celery, run: Run, outlooks: tuple[Outlook, ...], chosen: JsonDict) -> Signature:
    """A task for each clip whose subject is to be looked for, then the plan `chosen` is made whole."""
    header = [
        sign(app, names.REFRAME, run, part, span=(outlook.start_s, outlook.end_s), outlook=outlook.to_dict()).set(
            task_id=names.task_id(run.job, run.epoch, part)
        )
        for outlook, part in zip(outlooks, reframe_parts(outlooks), strict=True)
    ]
    return join(app, run, Stage.REFRAME, header, sign(app, names.FRAME_PLAN, run, Stage.REFRAME, chosen=chosen))


def render_then_finalise(app: Celery, run: Run, specs: tuple[ClipSpec, ...], plan_key: str) -> Signature:
    """A task for each clip, then finalise; finalise alone if no clip is wanted."""
    if not specs:
        return sign(app, names.FINALISE, run, Stage.FINALISE, [], plan_key=plan_key)
    header = [
        sign(
            app,
            names.RENDER,
            run,
            part,
            span=(spec.start_s, spec.end_s),
            spec=spec.to_dict(),
            place=place,
            of=len(specs),
        ).set(task_id=names.task_id(run.job, run.epoch, part))
        for place, (spec, part) in enumerate(zip(specs, render_parts(specs), strict=True))
    ]
    return join(app, run, Stage.RENDER, header, sign(app, names.FINALISE, run, Stage.FINALISE, plan_key=plan_key))


def join(app: Celery, run: Run, stage: Stage, header: list[Signature], body: Signature) -> Signature:
    """A chord whose id is that of the attempt and stage: published twice (a worker died before it could acknowledge),
    its parts count into the same join, and the body runs once."""
    joined = chord(header, body, app=app)
    # chord() unwraps a group that it is given and drops its id with it, so the group is put in place afterwards.
    joined.tasks = group(header, app=app, task_id=names.task_id(run.job, run.epoch, f"{stage}-join"))
    return joined


def analyse_parts(chunks: tuple[Chunk, ...]) -> list[str]:
    """Names of the chunks' parts."""
    return [names.part_name(Stage.ANALYSE, chunk.index) for chunk in chunks]


def reframe_parts(outlooks: tuple[Outlook, ...]) -> list[str]:
    """Names of the parts that look for subjects."""
    return [names.part_name(Stage.REFRAME, outlook.n) for outlook in outlooks]


def render_parts(specs: tuple[ClipSpec, ...]) -> list[str]:
    """Names of the clips' parts."""
    return [names.part_name(Stage.RENDER, spec.n) for spec in specs]
