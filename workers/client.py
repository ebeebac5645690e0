"""The one door from HTTP and command line to jobs: submit, read, list, cancel, delete, and the health of Redis.

Every method is bounded in time (`workers.links.WEB`): with Redis dead or frozen it raises QueueUnavailable in well under a
second. Must not load media code or a task.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from topclip.config import Settings
from topclip.errors import (
    InvalidRequest,
    JobConflict,
    JobExpired,
    QueueFull,
    QueueUnavailable,
    TopClipError,
    UnknownJob,
)
from topclip.model.callback import CallbackLog
from topclip.model.job import JobEvent, JobId, JobRecord, JobState, JobStatus, Stage
from topclip.model.request import ClipRequest
from topclip.storage.base import ArtifactStore, cancelled_key, job_folder, record_key
from workers import health, keys
from workers.backend import result_meta, revoked_meta
from workers.callbacks import read_log
from workers.drive import publish, tell_revoked
from workers.links import WEB, make_app, redis_client, redis_now
from workers.restore import record_of
from workers.scripts import Scripts
from workers.status import read_status, status_of
from workers.watch import Watch

RETRY_AFTER_S = 2


@dataclass(frozen=True)
class JobPage:
    """One page of the job list, newest first; `next_cursor` is None on the last."""

    jobs: tuple[JobStatus, ...]
    next_cursor: str | None
    total: int


class JobClient:
    """Jobs, as the web and the command see them. Safe to use from many threads."""

    def __init__(self, settings: Settings, store: ArtifactStore, app: Celery | None = None) -> None:
        self._settings, self._store, self._prefix = settings, store, settings.key_prefix
        self._app = app or make_app(settings, WEB, "topclip-client")
        self._redis = redis_client(settings, WEB)
        self._scripts = Scripts(self._redis, settings.key_prefix)

    def close(self) -> None:
        """Close the connections to Redis."""
        self._app.close()
        self._app.backend.client.close()
        self._redis.close()

    def watch(self, on_event: Callable[[JobEvent], None], on_gap: Callable[[], None]) -> Watch:
        """A Watch, not yet started."""
        return Watch(self._settings, on_event, on_gap)

    def submit(self, job_id: JobId, request: ClipRequest, *, owner: str = "") -> JobStatus:
        """Write the job's record, then publish its first task.

        Raises: QueueFull if as many jobs as may wait do so, QueueUnavailable, StorageError; with nothing left behind: where
        Redis went away in between, the reconciler clears the record of a job whose file is not in the store.
        """
        with self._reaching():
            now = redis_now(self._redis)
        record = self._record(job_id, request, owner, now)
        if not self._store.put_bytes(record_key(job_id), record.model_dump_json().encode()):
            raise JobConflict(f"job {job_id} exists already")
        try:
            self._write_and_publish(record, now)
        except TopClipError:
            self._store.delete(record_key(job_id))
            raise
        return queued_status(record, revision=1)

    def read(self, job_id: JobId) -> JobStatus:
        """The job's status from Redis. Raises: UnknownJob, JobExpired, QueueUnavailable."""
        with self._reaching():
            reply = self._scripts("read", job_id)
        if reply == "UNKNOWN" and (record := record_of(self._store, job_id)):
            self._report_lost(job_id)
            return queued_status(record, revision=0)
        return self._status(job_id, reply)

    def list(self, *, limit: int = 50, cursor: str | None = None, state: JobState | None = None) -> JobPage:
        """A page of jobs, newest first. Raises: QueueUnavailable, InvalidRequest for a bad cursor."""
        key = self._prefix + (f"state:{state}" if state else "jobs")
        with self._reaching():
            found = self._redis.zrange(
                key, f"({_cursor(cursor)}" if cursor else "+inf", "-inf",
                desc=True, byscore=True, withscores=True, offset=0, num=limit + 1,
            )  # fmt: skip
            total = self._redis.zcard(key)
            with self._redis.pipeline(transaction=False) as pipe:
                for job, _ in found[:limit]:
                    self._scripts("read", job, client=pipe)
                replies = pipe.execute() if found else []
        jobs = [
            self._status(job, reply)
            for (job, _), reply in zip(found[:limit], replies, strict=True)
            if not isinstance(reply, str)  # it expired between the two questions
        ]
        more = len(found) > limit
        return JobPage(tuple(jobs), f"{found[limit - 1][1]:.6f}" if more else None, int(total))

    def cancel(self, job_id: JobId) -> JobStatus:
        """Set the job's cancel flag; CANCELLED at once if it was queued, else CANCELLING.

        Raises: UnknownJob, JobExpired, JobConflict if it is finished, QueueUnavailable.
        """
        with self._reaching():
            verdict = self._scripts("cancel", job_id, revoked_meta(job_id, 0))
        if verdict == "TERMINAL":
            raise JobConflict(f"job {job_id} has ended; there is nothing to cancel")
        self._known(job_id, verdict)
        self._store.put_bytes(cancelled_key(job_id), b"")
        status = self.read(job_id)
        if status.state is JobState.CANCELLED:  # no task is left to say so
            with contextlib.suppress(OperationalError, RedisError, OSError):
                tell_revoked(self._app, job_id)
        return status

    def delete(self, job_id: JobId) -> None:
        """Forget a finished job: results, index and files go, a tombstone stays.

        Raises: UnknownJob, JobExpired, JobConflict if it is not finished, QueueUnavailable, StorageError.
        """
        with self._reaching():
            verdict = self._scripts("forget", job_id, self._settings.retention_s, "0")
        if verdict == "BUSY":
            raise JobConflict(f"job {job_id} has not ended", {"hint": "Cancel it first."})
        self._known(job_id, verdict)
        self._store.delete(job_folder(job_id))

    def callbacks(self, job_id: JobId) -> CallbackLog:
        """Who was told of the job's end, and what came of each try. Raises: UnknownJob, JobExpired, QueueUnavailable."""
        with self._reaching():
            reply = self._scripts("read_callbacks", job_id)
        self._known(job_id, reply)
        return read_log(reply)

    def health(self) -> dict[str, Any]:
        """What Redis says of itself, jobs by state, the queues' depth and the workers seen. Raises: QueueUnavailable."""
        with self._reaching():
            return health.report(self._redis, self._prefix)

    def _record(self, job_id: JobId, request: ClipRequest, owner: str, now: float) -> JobRecord:
        created_at = datetime.fromtimestamp(now, UTC)
        expires_at = datetime.fromtimestamp(int(now) + self._settings.retention_s, UTC)
        return JobRecord(id=job_id, request=request, owner=owner, created_at=created_at, expires_at=expires_at)

    def _write_and_publish(self, record: JobRecord, now: float) -> None:
        """The record before the message, so that nobody who knows the id is told that there is no such job."""
        meta = result_meta(record.id, 1, JobState.QUEUED, {})
        with self._reaching():
            verdict = self._scripts(
                "submit", record.id, record.request.model_dump_json(), f"{now:.6f}", int(record.expires_at.timestamp()),
                record.request.source.name, meta, Stage.PROBE, self._settings.max_queued_jobs, 1, record.owner,
            )  # fmt: skip
        if verdict == "FULL":
            bound = self._settings.max_queued_jobs
            raise QueueFull(f"{bound} jobs wait already", {"retry_after_s": 30, "hint": "Try again later."})
        if verdict == "EXISTS":
            raise JobConflict(f"job {record.id} exists already")
        try:
            publish(self._app, record.id, 1)
        except (OperationalError, RedisError, OSError) as err:
            with self._reaching():
                self._scripts("withdraw", record.id, "1")
            raise unavailable(err) from err

    def _status(self, job_id: JobId, reply: Any) -> JobStatus:
        self._missing(job_id, reply)
        return read_status(job_id, reply)

    def _known(self, job_id: JobId, verdict: Any) -> None:
        """Raises: UnknownJob, JobExpired, QueueUnavailable while a job that Redis has lost is brought back."""
        if verdict == "UNKNOWN" and record_of(self._store, job_id):
            self._report_lost(job_id)
            raise QueueUnavailable(f"Redis had lost job {job_id}; it is being brought back", {"retry_after_s": 10})
        self._missing(job_id, verdict)

    def _report_lost(self, job_id: JobId) -> None:
        """Tell the reconciler of a job that is in the store and not in Redis."""
        with self._reaching():
            self._redis.sadd(self._prefix + keys.LOST, job_id)

    @staticmethod
    def _missing(job_id: JobId, verdict: Any) -> None:
        if verdict == "UNKNOWN":
            raise UnknownJob(f"no job {job_id}", {"hint": "Check the id; it is the one that the submission answered."})
        if verdict == "EXPIRED":
            raise JobExpired(f"job {job_id} has expired or was deleted")

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError) as err:
            raise unavailable(err) from err


def queued_status(record: JobRecord, *, revision: int) -> JobStatus:
    """The status of a job of which only the record is known."""
    request = record.request
    fields = {
        "request": request.model_dump_json(),
        "name": request.source.name,
        "epoch": "1",
        "revision": str(revision),
    }
    times = {"created_at": str(record.created_at.timestamp()), "expires_at": str(record.expires_at.timestamp())}
    return status_of(record.id, {**fields, **times, "state": JobState.QUEUED}, None, [], -1)


def unavailable(err: Exception) -> QueueUnavailable:
    """The error that stands for Redis being away."""
    return QueueUnavailable(
        f"Redis does not answer ({type(err).__name__})",
        {"retry_after_s": RETRY_AFTER_S, "hint": "Nothing is lost; try again in a moment."},
    )


def _cursor(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise InvalidRequest(f"cursor {text!r} is not one of ours", {"field": "cursor"})
    return found


__all__ = ["JobClient", "JobPage", "Watch", "unavailable"]
