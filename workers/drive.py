"""Start an attempt of a job: publish its first task, at submission or again later; and tell of its end what Celery does not."""

import logging
from collections.abc import Callable

from celery import Celery

from topclip.model.job import Stage
from workers import names
from workers.backend import revoked_meta
from workers.scripts import Scripts

log = logging.getLogger(__name__)


def redrive(
    app: Celery, scripts: Scripts, job_id: str, epoch: int, why: str, *, pause_s: Callable[[int], float] = lambda _: 0.0
) -> bool:
    """Start a job again from the top under its own id and the epoch after `epoch`; False if that is not its epoch.

    pause_s(attempts): seconds until then, by how many attempts there are with this one.
    Raises: RedisError, OperationalError.
    """
    new, attempts = map(int, scripts("redrive", job_id, epoch, Stage.PROBE, revoked_meta(job_id, epoch)))
    if not new:
        return False
    log.warning("job %s is started again, attempt %d: %s", job_id, new, why)
    publish(app, job_id, new, pause_s(attempts))
    return True


def publish(app: Celery, job_id: str, epoch: int, in_s: float = 0.0) -> None:
    """Publish a job's first task, to be begun in so many seconds. Raises: OperationalError."""
    header = {names.HEADER: {"job": job_id, "epoch": epoch, "part": Stage.PROBE}}
    app.send_task(
        names.PROBE,
        kwargs={"job_id": job_id},
        task_id=job_id,
        root_id=job_id,
        queue=names.QUEUE_OF[names.PROBE],
        headers=header,
        countdown=in_s or None,
        **names.shown(job_id, epoch, Stage.PROBE),
    )


def tell_revoked(app: Celery, task_id: str) -> None:
    """Tell Flower that a task was revoked. Raises: OperationalError."""
    with app.events.default_dispatcher() as events:
        events.send("task-revoked", uuid=task_id, terminated=True, signum=None, expired=False)
