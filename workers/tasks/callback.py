"""The task that tells a job's end: one try."""

import logging

from celery import Task
from redis.exceptions import RedisError

from workers import names, runtime
from workers.app import app
from workers.base import PUBLISH_FAULTS, hand_back
from workers.callbacks import publish_due

log = logging.getLogger(__name__)


@app.task(bind=True, name=names.CALLBACK, ignore_result=True, Request="workers.request:TimedRequest")
def callback(self: Task, *, job_id: str, epoch: int, n: int) -> None:
    """Make try `n` (from 0), then have the next ones published that are due.

    A try that Redis was away for, or refused, goes back to its queue: given up, its receiver would wait for ten minutes.
    """
    try:
        runtime.courier().tell(job_id, epoch, n)
    except RedisError as err:
        log.warning("callback of job %s goes back to its queue: %s", job_id, err)
        hand_back(str(err))
    try:
        publish_due(self.app, runtime.scripts())
    except PUBLISH_FAULTS as err:
        log.warning("callbacks that are due are left to the next look: %s", err)
