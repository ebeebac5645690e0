"""Names of queues and tasks, and of the values that ride in a message's headers. The web reaches tasks by these alone."""

PROBE = "topclip.probe"
ANALYSE = "topclip.analyse"
SELECT = "topclip.select"
REFRAME = "topclip.reframe"
FRAME_PLAN = "topclip.frame_plan"
RENDER = "topclip.render"
FINALISE = "topclip.finalise"
CALLBACK = "topclip.callback"

CONTROL_QUEUE = "control"
ANALYSE_QUEUE = "analyse"
RENDER_QUEUE = "render"
CALLBACK_QUEUE = "callback"
QUEUES = (CONTROL_QUEUE, ANALYSE_QUEUE, RENDER_QUEUE, CALLBACK_QUEUE)
TURN_QUEUES = (ANALYSE_QUEUE, RENDER_QUEUE)
"""Queues of parts, of which one job may have very many: jobs take turns in them."""

QUEUE_OF = {
    PROBE: CONTROL_QUEUE,
    ANALYSE: ANALYSE_QUEUE,
    SELECT: CONTROL_QUEUE,
    REFRAME: ANALYSE_QUEUE,
    FRAME_PLAN: CONTROL_QUEUE,
    RENDER: RENDER_QUEUE,
    FINALISE: CONTROL_QUEUE,
    CALLBACK: CALLBACK_QUEUE,
}

HEADER = "topclip"
"""Message header: {"job": id, "epoch": n, "part": name}, plus "lease": [tag, value] once delivered."""

READY_AT = "topclip-ready-at"
"""Message header: since when the message may be taken, by Redis' clock, in seconds since 1970."""

WAIT_S = "topclip-wait-s"
"""Message header: how long it was to wait for that when it was published, in seconds."""


def short(task: str) -> str:
    """A task's name without what all have in common."""
    return task.removeprefix("topclip.")


def part_name(stage: str, n: int | None = None) -> str:
    """A part of a job's work, such as `probe` or `analyse/3`: the field of the outstanding hash."""
    return stage if n is None else f"{stage}/{n}"


def shown(job_id: str, epoch: int, part: str, span: tuple[float, float] | None = None) -> dict[str, str]:
    """Celery options by which Flower and logs show in a few words what a task is about, in place of all its arguments."""
    where = f", {span[0]:.1f}-{span[1]:.1f} s" if span else ""
    return {"argsrepr": "", "kwargsrepr": f"{part} of job {job_id}, attempt {epoch}{where}"}


def task_id(job_id: str, epoch: int, part: str) -> str:
    """Celery id of a chunk's or clip's task; tasks that carry the job forward bear the job's own id."""
    return f"{job_id}.{epoch}.{part}"
