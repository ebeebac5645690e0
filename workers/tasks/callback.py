"""The task that tells a job's end: one try."""

from celery import Task

from workers import names, runtime
from workers.app import app
from workers.callbacks import publish_due


@app.task(bind=True, name=names.CALLBACK, ignore_result=True)
def callback(self: Task, *, job_id: str, epoch: int, n: int) -> None:
    """Make try `n` (from 0), then have the next ones published that are due."""
    runtime.courier().tell(job_id, epoch, n)
    publish_due(self.app, runtime.scripts())
