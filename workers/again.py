"""Start an ended job again by its client's wish: for what it lacks (retry), or with other options or ranges (change)."""

import logging
from collections.abc import Callable

from topclip.errors import JobConflict
from topclip.model.job import JobId, JobState, Stage
from topclip.model.request import Change, ClipRequest
from topclip.storage.base import ArtifactStore, cancelled_key, change_key, record_key
from workers.backend import result_meta
from workers.changes import change_of, make_change
from workers.drive import publish
from workers.reach import PUBLISH_FAULTS, Reach

log = logging.getLogger(__name__)

TRIES = 5
"""So often a change that is in the store is tried, should the job move on meanwhile; then the reconciler makes it."""


class Again:
    """What a JobClient does to jobs that have ended."""

    def __init__(self, reach: Reach, store: ArtifactStore) -> None:
        self._reach, self._store = reach, store

    def retry(self, job_id: JobId) -> None:
        """See JobClient.retry. A change that was begun and not made is made instead: it starts the job again as well."""
        _, epoch, n, text = self._standing(job_id)
        if epoch and (change := change_of(self._store, job_id, n + 1)):
            self._make(job_id, n, text, change)
            return
        self._refuse_lost_files(job_id, epoch)
        meta = result_meta(job_id, epoch + 1, JobState.QUEUED, {})
        with self._reach.reaching():
            verdict = self._reach.scripts("retry", job_id, epoch, meta, Stage.PROBE, *self._reach.bounds)
        if verdict == "BUSY":
            raise _busy(job_id)
        if verdict == "DONE":
            raise JobConflict(f"job {job_id} has all its clips; there is nothing to retry")
        self._reach.refuse_full(verdict)
        self._reach.known(job_id, verdict)
        self._begin(job_id, epoch + 1)

    def alter(self, job_id: JobId, make: Callable[[ClipRequest], Change]) -> None:
        """See JobClient.alter."""
        state, epoch, n, text = self._standing(job_id)
        if not epoch:
            with self._reach.reaching():
                self._reach.known(job_id, self._reach.scripts("read", job_id))
            raise _busy(job_id)  # it has just come back
        request = ClipRequest.model_validate_json(text)
        wanted = make(request)
        is_same = request.changed(wanted) == request
        if is_same and state.can_retry:
            self.retry(job_id)
        if is_same:
            return
        if not state.is_terminal:
            raise _busy(job_id)
        self._refuse_lost_files(job_id, epoch)
        with self._reach.reaching():
            owner = self._reach.redis.hget(f"{self._reach.prefix}job:{job_id}", "owner") or ""
            room = self._reach.scripts("room", "", owner, "", *self._reach.bounds)
        self._reach.refuse_full(room)
        if not self._store.put_bytes(change_key(job_id, n + 1), wanted.model_dump_json().encode()):
            first = change_of(self._store, job_id, n + 1)
            if first and first != wanted:
                self._make(job_id, n, text, first)
                raise JobConflict(f"another change of job {job_id} came first", {"hint": "Wait for its end."})
        self._make(job_id, n, text, wanted)

    def _standing(self, job_id: JobId) -> tuple[JobState, int, int, str]:
        """State, epoch (0: no such job), number of the newest change, and request as JSON."""
        with self._reach.reaching():
            state, epoch, n, text = self._reach.redis.hmget(
                f"{self._reach.prefix}job:{job_id}", "state", "epoch", "change", "request"
            )
        return JobState(state or JobState.EXPIRED), int(epoch or 0), int(n or 0), text or ""

    def _make(self, job_id: JobId, n: int, text: str, change: Change) -> None:
        """Make a change that is in the store. Raises: UnknownJob, JobExpired, QueueUnavailable: it is made later then."""
        self._store.delete(
            cancelled_key(job_id)
        )  # should this die next, the reconciler's attempt must not be cancelled
        for _ in range(TRIES):
            epoch = self._standing(job_id)[1]
            with self._reach.reaching():
                verdict, new = make_change(self._reach.scripts, job_id, (epoch, n), text, change)
            if verdict == "OK":
                self._begin(job_id, new)
            if verdict != "MOVED":
                break
        self._reach.known(job_id, verdict)

    def _begin(self, job_id: JobId, epoch: int) -> None:
        """Publish the first task of a new attempt."""
        self._store.delete(cancelled_key(job_id))
        try:
            with self._reach.asking():
                publish(self._reach.app, job_id, epoch)
        except PUBLISH_FAULTS as err:  # it waits in Redis: the reconciler publishes it
            log.warning("job %s is to be started again, its task could not be published yet: %s", job_id, err)

    def _refuse_lost_files(self, job_id: JobId, epoch: int) -> None:
        if epoch and not self._store.exists(record_key(job_id)):
            raise JobConflict(f"the files of job {job_id} are gone from the store", {"hint": "Submit it again."})


def _busy(job_id: JobId) -> JobConflict:
    return JobConflict(f"job {job_id} has not ended", {"hint": "Wait for its end, or cancel it first."})
