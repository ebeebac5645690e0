"""The one door from HTTP and command line to jobs: submit, read, list, cancel, delete, and the health of Redis.

Every method is bounded in time (`workers.links.WEB`, `workers.patience`): with Redis dead or frozen it raises QueueUnavailable
in well under a second, and at once while the breaker is open. Must not load media code or a task.
"""

import contextlib
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from celery import Celery
from redis.exceptions import RedisError

from topclip.config import Settings
from topclip.errors import InvalidRequest, JobConflict, QueueUnavailable, StorageError, TopClipError
from topclip.model.callback import CallbackLog
from topclip.model.job import JobEvent, JobId, JobRecord, JobState, JobStatus, Stage, SubmissionKey
from topclip.model.request import Change, ClipRequest
from topclip.storage.base import ArtifactStore, cancelled_key, job_folder, record_key
from topclip.storage.mark import mark_of
from workers import cancelled, health
from workers.again import Again
from workers.backend import result_meta, revoked_meta
from workers.budget import StoreUse, ask_for_room, store_grew, store_use
from workers.callbacks import read_log
from workers.changes import delete_job
from workers.drive import publish, tell_revoked
from workers.one_store import name_store
from workers.reach import PUBLISH_FAULTS, RETRY_AFTER_S, Reach, unavailable, unknown
from workers.restore import record_of
from workers.status import read_status, status_of
from workers.watch import Watch

log = logging.getLogger(__name__)


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
        self._reach = Reach(settings, store, app)
        self._app, self._redis, self._scripts = self._reach.app, self._reach.redis, self._reach.scripts
        self._again = Again(self._reach, store)
        self._mark = ""

    def close(self) -> None:
        """Close the connections to Redis."""
        self._reach.close()

    def watch(self, on_event: Callable[[JobEvent], None], on_gap: Callable[[], None]) -> Watch:
        """A Watch, not yet started."""
        return Watch(self._settings, on_event, on_gap, self._reach.breaker)

    def name_store(self) -> None:
        """Say in Redis which store this is, for workers that start with another; where one is away, another time."""
        with contextlib.suppress(StorageError, RedisError):
            self._mark = self._mark or mark_of(self._store)
            name_store(self._redis, self._prefix, self._mark)

    def has_room(self, *, owner: str = "", digest: str = "") -> bool:
        """Ask before a source is sent: True for a new submission, False if there is a job of that key already.

        Raises: QueueFull, QueueUnavailable.
        """
        with self._reach.reaching():
            verdict = self._scripts("room", "", owner, digest, *self._reach.bounds)
        self._reach.refuse_full(verdict)
        return bool(verdict == "OK")

    def submit(
        self, job_id: JobId, request: ClipRequest, *, owner: str = "", key: SubmissionKey | None = None
    ) -> JobStatus:
        """Write the job's record, then publish its first task. A job that was submitted with the same key and body stands
        for this one: its status comes back, and nothing is written.

        Raises: QueueFull if as many jobs as may wait do so, InvalidRequest if the key came with another body before,
        QueueUnavailable, StorageError; with nothing left behind: where Redis went away in between, the reconciler clears the
        record of a job whose file is not in the store. But where `is_undecided(err)`, files must stay: a repeated submission
        may have been told of the job. The reconciler starts it, or clears it away if it is none.
        """
        digest, body = (key.digest, key.body) if key else ("", "")
        with self._reach.reaching():
            verdict, now = self._scripts("intend", job_id, owner, digest, body, *self._reach.bounds)
        if repeated := self._repeated(verdict):
            return repeated
        record = self._record(job_id, request, owner, float(now)).model_copy(update={"key": key})
        try:
            if not self._store.put_bytes(record_key(job_id), record.model_dump_json().encode()):
                raise JobConflict(f"job {job_id} exists already")
        except StorageError:  # the record may be there all the same
            with contextlib.suppress(QueueUnavailable), self._reach.reaching():
                self._scripts("renounce", job_id)
            raise
        try:
            repeated = self._write_and_publish(record)
        except TopClipError as err:
            if not is_undecided(err):
                self._store.delete(record_key(job_id))
            raise
        return repeated or queued_status(record, revision=1)

    def read(self, job_id: JobId) -> JobStatus:
        """The job's status from Redis. Raises: UnknownJob, JobExpired, QueueUnavailable."""
        with self._reach.reaching():
            reply = self._scripts("read", job_id)
        if reply == "UNKNOWN" and (record := record_of(self._store, job_id)):
            self._reach.report_lost(job_id)
            return queued_status(record, revision=0)
        return self._status(job_id, reply)

    def owner(self, job_id: JobId) -> str | None:
        """Whose the job is, also of one that is gone but has left a tombstone; empty if nobody's, None if there is no such job.

        Raises: QueueUnavailable, StorageError.
        """
        with self._reach.reaching():
            owner: str | None = self._scripts("owner", job_id)
        if owner is None and (record := record_of(self._store, job_id)):
            return record.owner
        return owner

    def list(
        self, *, limit: int = 50, cursor: str | None = None, state: JobState | None = None, owner: str | None = None
    ) -> JobPage:
        """A page of jobs, newest first, of one owner or of all. Raises: QueueUnavailable, InvalidRequest for a bad cursor."""
        key = self._prefix + (f"state:{state}" if state else "jobs") + (f":{owner}" if owner else "")
        with self._reach.reaching():
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
        with self._reach.reaching(), self._redis.pipeline() as pipe:  # in one step: which attempt it is
            self._scripts("cancel", job_id, revoked_meta(job_id, 0), client=pipe)
            pipe.hget(f"{self._prefix}job:{job_id}", "epoch")
            verdict, epoch = pipe.execute()
        if verdict == "TERMINAL":
            raise JobConflict(f"job {job_id} has ended; there is nothing to cancel")
        self._reach.known(job_id, verdict)
        self._remember(job_id, int(epoch))
        status = self.read(job_id)
        if status.epoch != int(epoch):  # it was started again before a slow store had heard that
            self._put_right(status)
        if status.state is JobState.CANCELLED:  # no task is left to say so
            with contextlib.suppress(*PUBLISH_FAULTS), self._reach.asking():
                tell_revoked(self._app, job_id)
        return status

    def retry(self, job_id: JobId) -> JobStatus:
        """Start a job again that failed, was cancelled or lacks clips, under its own id and expiry; what was made is kept.

        Raises: UnknownJob, JobExpired, JobConflict if it has not ended or lacks nothing, QueueFull, QueueUnavailable,
        StorageError.
        """
        self._again.retry(job_id)
        return self._begun(job_id)

    def alter(self, job_id: JobId, make: Callable[[ClipRequest], Change]) -> JobStatus:
        """Start an ended job again with other options or ranges, under its own id and expiry; what was made is kept.

        make: from what is asked for now to what is asked for from now on. The same again changes nothing.
        Raises: what `make` does, UnknownJob, JobExpired, JobConflict if it has not ended, QueueFull, QueueUnavailable,
        StorageError.
        """
        self._again.alter(job_id, make)
        return self._begun(job_id)

    def delete(self, job_id: JobId) -> None:
        """Forget a finished job: results, index and files go, a tombstone stays. Asked again it removes what is left.

        Raises: UnknownJob, JobExpired, JobConflict if it is not finished, QueueUnavailable, StorageError.
        """
        self._store.refuse_kept(job_folder(job_id))  # what stands against it is said before anything is forgotten
        with self._reach.reaching():
            verdict = self._scripts("forget", job_id, self._settings.retention_s, "0")
        if verdict == "BUSY":
            raise JobConflict(f"job {job_id} has not ended", {"hint": "Cancel it first."})
        if verdict != "EXPIRED" or not self._store.list(job_folder(job_id)):  # which the last try could not remove
            self._reach.known(job_id, verdict)
        delete_job(self._store, job_id)

    def callbacks(self, job_id: JobId) -> CallbackLog:
        """Who was told of the job's end, and what came of each try. Raises: UnknownJob, JobExpired, QueueUnavailable."""
        with self._reach.reaching():
            reply = self._scripts("read_callbacks", job_id)
        self._reach.known(job_id, reply)
        return read_log(reply)

    def store_use(self) -> StoreUse | None:
        """What the store holds, None where nobody has measured. Raises: QueueUnavailable."""
        with self._reach.reaching():
            return store_use(self._redis, self._prefix)

    def store_grew(self, n_bytes: int) -> None:
        """Tell how much was put into the store. Raises: QueueUnavailable."""
        with self._reach.reaching():
            store_grew(self._redis, self._prefix, n_bytes)

    def ask_for_room(self) -> None:
        """Tell that something was refused for want of room in the store's budget. Raises: QueueUnavailable."""
        with self._reach.reaching():
            ask_for_room(self._redis, self._prefix)

    def health(self) -> dict[str, Any]:
        """What Redis says of itself, jobs by state, the queues' depth and the workers seen. Raises: QueueUnavailable."""
        with self._reach.reaching():
            return health.report(self._redis, self._prefix)

    def _record(self, job_id: JobId, request: ClipRequest, owner: str, now: float) -> JobRecord:
        created_at = datetime.fromtimestamp(now, UTC)
        expires_at = datetime.fromtimestamp(int(now) + self._settings.retention_s, UTC)
        return JobRecord(id=job_id, request=request, owner=owner, created_at=created_at, expires_at=expires_at)

    def _write_and_publish(self, record: JobRecord) -> JobStatus | None:
        """The record before the message, so that nobody who knows the id is told that there is no such job. Returns: the
        status of the job that was submitted first, if another one with the same key was quicker."""
        bound, owner_bound = self._reach.bounds
        key = record.key or SubmissionKey(digest="", body="")
        with self._reach.reaching(undecided=record.key is not None):
            verdict = self._scripts(
                "submit", record.id, record.request.model_dump_json(), f"{record.created_at.timestamp():.6f}",
                int(record.expires_at.timestamp()), record.request.source.name,
                result_meta(record.id, 1, JobState.QUEUED, {}), Stage.PROBE, bound, 1, record.owner,
                owner_bound, key.digest, key.body, 1,
            )  # fmt: skip
        if repeated := self._repeated(verdict):
            self._store.delete(record_key(record.id))
            return repeated
        if verdict != "EXISTS":  # the reconciler took it for a lost job meanwhile, and has published it
            self._publish(record)
        return None

    def _remember(self, job_id: JobId, epoch: int) -> None:
        try:
            cancelled.remember(self._store, job_id, epoch)
        except StorageError as err:  # the job is cancelled all the same, for as long as Redis has it
            log.warning("that job %s is cancelled is not in the store: %s", job_id, err)

    def _put_right(self, status: JobStatus) -> None:
        """Have the store remember what is so by now."""
        if status.state in (JobState.CANCELLING, JobState.CANCELLED):
            self._remember(status.id, status.epoch)
        else:
            with contextlib.suppress(StorageError):  # it counts only should Redis lose its data
                self._store.delete(cancelled_key(status.id))

    def _begun(self, job_id: JobId) -> JobStatus:
        """The status of a job that was started again."""
        status = self.read(job_id)
        if status.state in (JobState.CANCELLING, JobState.CANCELLED):  # before a slow store had forgotten the last time
            self._put_right(status)
        return status

    def _publish(self, record: JobRecord) -> None:
        try:
            with self._reach.asking():
                publish(self._app, record.id, 1)
        except PUBLISH_FAULTS as err:
            with self._reach.reaching(undecided=record.key is not None):
                is_withdrawn = self._scripts("withdraw", record.id, "2" if record.key else "1")
            if is_withdrawn:
                raise unavailable(err) from err
            log.warning("job %s was told to a repeated submission; the reconciler publishes it: %s", record.id, err)

    def _repeated(self, verdict: str) -> JobStatus | None:
        """The status of the job that a key stands for. Raises: QueueFull, QueueUnavailable, InvalidRequest."""
        self._reach.refuse_full(verdict)
        if verdict == "LATE":
            raise QueueUnavailable("the submission took too long", {"retry_after_s": RETRY_AFTER_S})
        if verdict == "OTHER":
            raise InvalidRequest(
                "the key was sent before, with another source or other options",
                {"field": "Idempotency-Key", "hint": "Send a new key with each new submission."},
            )
        return self.read(verdict.removeprefix("SAME ")) if verdict.startswith("SAME ") else None

    def _status(self, job_id: JobId, reply: Any) -> JobStatus:
        self._reach.missing(job_id, reply)
        return read_status(job_id, reply)


def queued_status(record: JobRecord, *, revision: int) -> JobStatus:
    """The status of a job of which only the record is known."""
    request = record.request
    fields = {
        "request": request.model_dump_json(),
        "name": request.source.name,
        "epoch": "1",
        "revision": str(revision),
        "owner": record.owner,
    }
    times = {"created_at": str(record.created_at.timestamp()), "expires_at": str(record.expires_at.timestamp())}
    return status_of(record.id, {**fields, **times, "state": JobState.QUEUED}, None, [], -1)


def is_undecided(err: TopClipError) -> bool:
    """Whether Redis went away before it said whether it has the job that was submitted."""
    return bool(err.detail.get("undecided"))


def _cursor(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise InvalidRequest(f"cursor {text!r} is not one of ours", {"field": "cursor"})
    return found


__all__ = ["JobClient", "JobPage", "Watch", "is_undecided", "unavailable", "unknown"]
