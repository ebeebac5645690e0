"""The base class of all tasks: fence, progress, and what becomes of errors. Knows nothing of media.

A task that carries the job forward bears the job's id: its failure is the job's. A part (a chunk, a clip) is one of a chord's
header, where a failure would take the whole chord down, so its outcome is always a value.
"""

import contextlib
import logging
import random
import time
from typing import Any, ClassVar, NoReturn

from celery import Task
from celery.exceptions import Ignore, Reject, Retry
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from topclip.errors import (
    JobCancelled,
    JobStopped,
    JobSuperseded,
    QueueUnavailable,
    StorageUnavailable,
    TopClipError,
    from_dict,
)
from topclip.media.limits import no_memory
from topclip.model.base import JsonDict
from topclip.model.job import Stage
from topclip.pipeline.context import StageContext
from topclip.storage.base import BROKEN_DISK, FULL, storage_error
from workers import figures, names, runtime
from workers.backend import header_of
from workers.cancelled import cancel_if_it_was
from workers.drive import redrive, tell_revoked
from workers.pulse import Pulse, Run

log = logging.getLogger(__name__)

RETRIES = 6
"""Tries of what a retry can help; with the doubling pause from 1 s they span a minute or so."""
STORE_RETRIES = 16
"""The same while the store is away, which passes as an absent Redis does: ten minutes or so."""
LONGEST_PAUSE_S = 60.0
JITTER = 0.5
"""A pause is longer or shorter by up to this share, so that tasks that failed together do not come back together."""
FEW_ATTEMPTS, ANEW_S = 4, 15.0
"""Attempts that follow each other within a second where a job is begun anew, and the longest pause before a later one."""
PUBLISH_FAULTS = (OperationalError, RedisError, OSError, AttributeError, RuntimeError)
"""What kombu raises where the connection goes away while it publishes; it sets clients to None, hence the AttributeError."""
HAND_BACK_PAUSE_S = 1.0
"""Before a delivery goes back for want of Redis, so that a Redis that refuses to write is not asked without end."""


class PartFailed(Exception):
    """A part failed, and was tried as often as is worth it: who takes its value, of which this is made, fails likewise."""

    def __init__(self, part: JsonDict) -> None:
        super().__init__(part["message"])
        self.error = from_dict(part)


class ClipTask(Task):  # type: ignore[misc]  # Celery is untyped here
    """A stage's task. `stage` is shown as the job's while the task runs; parts leave it to the task before them."""

    Request = "workers.request:CountingRequest"
    abstract = True
    max_retries = RETRIES
    throws = (TopClipError,)  # foreseen: Celery logs them in a line, without a traceback
    stage: ClassVar[Stage]
    is_part: ClassVar[bool] = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task under its fence."""
        self.pulse = Pulse(runtime.scripts(), Run.of(header_of(self.request) or {}, self.request.id))
        try:
            return self._guarded(*args, **kwargs)
        except JobStopped as stop:
            log.info("%s", stop)
            self._tell_stopped(stop)
            raise Ignore(str(stop)) from stop

    def _tell_stopped(self, stop: JobStopped) -> None:
        """Have Flower show an end: of an ignored task Celery says nothing, and it would look started for ever.

        Not of one that bears the job's id while another attempt or run of it goes on.
        """
        ids = {self.request.id, self.pulse.run.job} if isinstance(stop, JobCancelled) else {self.request.id}
        if stop.detail.get("verdict") in ("OLD", "LOST"):
            ids.discard(self.pulse.run.job)
        with contextlib.suppress(*PUBLISH_FAULTS):
            for task_id in ids:
                tell_revoked(self.app, task_id)

    def _guarded(self, *args: Any, **kwargs: Any) -> Any:
        try:
            cancel_if_it_was(runtime.scripts(), runtime.store(), self.pulse.run.job, self.pulse.run.epoch)
            self.pulse.start(None if self.is_part else self.stage)
            value = self.run(*args, **kwargs)
        except Retry:
            self.pulse.finish("published")
            raise
        except (Ignore, JobCancelled):
            self.pulse.finish()
            raise
        except JobStopped:
            raise
        except Exception as err:  # noqa: BLE001 - the one place where a task's error is recorded; it is never swallowed
            return self._failed(err, kwargs)
        self.pulse.finish()
        return value

    def _failed(self, err: Exception, kwargs: dict[str, Any]) -> Any:
        error = _as_ours(err)
        if isinstance(error, QueueUnavailable):  # a retry could not be published either: the delivery itself goes back
            log.warning("%s goes back to its queue: %s", self.name, error)
            self.pulse.finish("published")
            hand_back(str(error))
        if error.retryable and not isinstance(err, PartFailed) and self.request.retries < _tries(error):
            self.pulse.finish("published")
            runtime.count(figures.RETRIES, f"{names.short(self.name)}/{error.code}")
            log.warning("%s will be tried again: %s", self.name, error)
            self._try_again(error)
        self.tell_failed(error.code, str(error), err if type(error) is TopClipError else None)
        self.pulse.finish()
        if self.is_part:
            return self.failed_part(error, **kwargs)
        raise error from err

    def tell_failed(self, code: str, what: str, fault: Exception | None = None) -> None:
        """Count what failed for good, and say so. fault: whose traceback is shown."""
        runtime.count(figures.FAILURES, f"{names.short(self.name)}/{code}")
        log.error("%s failed: %s", self.name, what, exc_info=fault)

    def _try_again(self, error: TopClipError) -> NoReturn:
        """Raises: Retry; Reject if that could not be published, which Celery itself would store as the job's failure."""
        shown = {name: getattr(self.request, name, None) for name in ("argsrepr", "kwargsrepr")}  # Celery forgets them
        try:
            raise self.retry(exc=error, countdown=pause_s(self.request.retries), max_retries=_tries(error), **shown)
        except Reject as err:
            log.warning("%s goes back to its queue, its retry could not be published: %s", self.name, err)
            hand_back(str(err))

    def failed_part(self, error: TopClipError, **kwargs: Any) -> JsonDict:
        """The value of a part that could not be done; kwargs are the task's. Only parts have one."""
        raise NotImplementedError

    def context(self, job_id: str) -> StageContext:
        """The surroundings of this run."""
        return runtime.context(job_id, self.pulse)

    def begin_anew(self, why: str) -> NoReturn:
        """End this attempt, and start the job from the top in another one: the later, the more there were of them.

        Raises: JobSuperseded always.
        """
        job, epoch = self.pulse.run.job, self.pulse.run.epoch
        redrive(self.app, runtime.scripts(), job, epoch, why, pause_s=lambda n: min(ANEW_S, pause_s(n - FEW_ATTEMPTS)))
        raise JobSuperseded(why, {"verdict": "OLD"})

    def hand_on(self, stage: Stage, result: JsonDict, parts: list[str], canvas: Any) -> NoReturn:
        """Replace this task by the next canvas, under the job's id. Raises: Ignore always, JobStopped."""
        self.pulse.advance(stage, {"stage": stage, **result}, parts)
        try:
            self.replace(canvas)
        except PUBLISH_FAULTS as err:
            raise QueueUnavailable(f"the tasks of {stage} could not be published: {err!r}") from err
        raise AssertionError("replace always raises")


def hand_back(why: str) -> NoReturn:
    """Give the delivery itself back to its queue, slowly enough for an outage."""
    time.sleep(HAND_BACK_PAUSE_S)
    raise Reject(why, requeue=True)


def pause_s(n_retries: int) -> float:
    """Seconds until the next try."""
    return float(min(LONGEST_PAUSE_S, 2**n_retries) * random.uniform(1 - JITTER, 1 + JITTER))


def _tries(error: TopClipError) -> int:
    return STORE_RETRIES if isinstance(error, StorageUnavailable) else RETRIES


def _as_ours(err: Exception) -> TopClipError:
    """The error in our own tree; what none of our code foresaw is INTERNAL."""
    if isinstance(err, TopClipError):
        return err
    if isinstance(err, PartFailed):
        return err.error
    if isinstance(err, RedisError | OperationalError):
        return QueueUnavailable(f"Redis does not answer: {err}")
    if isinstance(err, OSError) and err.errno in (*FULL, *BROKEN_DISK):
        return storage_error(err.filename or "a file", err)
    if isinstance(err, MemoryError):
        return no_memory("the task")
    return TopClipError(f"{type(err).__name__}: {err}")
