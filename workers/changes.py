"""Changes of what a job's client asks for: other options (a replan), other ranges of clips (a recut).

A job's record in the store never changes, so each change is an object of its own beside it, numbered from 1. Its being there
is what decides: of two that come at once one takes the number, and whatever dies afterwards, the change is made, if not by
the web process that wrote it then by the reconciler, also where Redis has lost it again.
"""

import logging

from celery import Celery
from pydantic import ValidationError
from redis import Redis

from topclip.errors import ArtifactMissing
from topclip.model.job import JobRecord, JobState, Stage
from topclip.model.request import Change, ClipRequest
from topclip.storage.base import (
    CHANGES,
    ArtifactStore,
    cancelled_key,
    change_folder,
    change_key,
    job_folder,
    record_key,
)
from workers.backend import result_meta
from workers.drive import publish
from workers.each import of_each
from workers.scripts import Scripts

log = logging.getLogger(__name__)


def change_of(store: ArtifactStore, job_id: str, n: int) -> Change | None:
    """A job's n-th change, None if there is none that can be read. Raises: StorageError."""
    try:
        return Change.model_validate_json(store.get_bytes(change_key(job_id, n)))
    except ArtifactMissing:
        return None
    except ValidationError as err:
        log.warning("change %d of job %s cannot be read: %s", n, job_id, err)
        return None


def changed(store: ArtifactStore, record: JobRecord) -> JobRecord:
    """A record as it is after all changes that are in the store. Raises: StorageError."""
    while change := change_of(store, record.id, record.change + 1):
        record = record.model_copy(update={"request": record.request.changed(change), "change": record.change + 1})
    return record


def make_change(scripts: Scripts, job_id: str, seen: tuple[int, int], text: str, change: Change) -> tuple[str, int]:
    """Start a job again with a change that is in the store. Raises: RedisError.

    seen: the job's epoch, and the number of its newest change so far. text: its request so far, as JSON.
    Returns: what the script `change` says, and the new epoch.
    """
    epoch, n = seen
    request = ClipRequest.model_validate_json(text).changed(change).model_dump_json()
    meta = result_meta(job_id, epoch + 1, JobState.QUEUED, {})
    return str(scripts("change", job_id, epoch, meta, Stage.PROBE, n + 1, request)), epoch + 1


def find_left(redis: Redis, prefix: str, store: ArtifactStore) -> list[str]:
    """Ended jobs that have a change in the store which was not made. What is left of jobs that are gone is removed.

    Raises: RedisError, StorageError.
    """
    numbers: dict[str, list[int]] = {}
    for name in store.folders(CHANGES):
        job, _, number = name.rpartition(".")
        if number.isdecimal():  # what somebody else put there is left alone
            numbers.setdefault(job, []).append(int(number))
    with redis.pipeline(transaction=False) as pipe:
        for job in numbers:
            pipe.hmget(f"{prefix}job:{job}", "state", "change")
        found = pipe.execute() if numbers else []
    known = {job: (state, int(n or 0)) for job, (state, n) in zip(numbers, found, strict=True) if state is not None}
    of_each(numbers.keys() - known.keys(), lambda job: _is_cleared(store, job, numbers[job]))
    return [job for job, (state, n) in known.items() if JobState(state).is_terminal and n < max(numbers[job])]


def _is_cleared(store: ArtifactStore, job_id: str, numbers: list[int]) -> bool:
    """Whether the job is gone, and by now its changes too."""
    if store.exists(record_key(job_id)):
        return False
    for n in numbers:
        store.delete(change_folder(job_id, n))
    return True


def make_left(app: Celery, redis: Redis, prefix: str, store: ArtifactStore, jobs: list[str]) -> list[str]:
    """Make the next change of each job that has one which was not made; the jobs that were started again.

    Raises: RedisError, OperationalError, StorageError.
    """
    scripts = Scripts(redis, prefix)

    def make(job: str) -> bool:
        epoch, n, text = redis.hmget(f"{prefix}job:{job}", "epoch", "change", "request")
        change = change_of(store, job, int(n or 0) + 1)
        if change is None or text is None:
            return False
        store.delete(cancelled_key(job))  # before: a task that finds it cancels the job
        verdict, new = make_change(scripts, job, (int(epoch), int(n or 0)), text, change)
        if verdict != "OK":
            return False
        log.warning("a change of job %s was begun and not made; it is made now, attempt %d", job, new)
        publish(app, job, new)
        return True

    return of_each(jobs, make)


def delete_job(store: ArtifactStore, job_id: str) -> None:
    """Remove all files of a job, the newest change first: what is left when this dies is whole. Raises: StorageError."""
    n = 0
    while store.exists(change_key(job_id, n + 1)):
        n += 1
    for k in range(n, 0, -1):
        store.delete(change_folder(job_id, k))
    store.delete(job_folder(job_id))
