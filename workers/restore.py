"""Jobs whose record Redis has lost (FLUSHALL, a new disk, an old backup, a lost tail) but whose record is in the store.

Such a job is written to Redis anew and started again: what was made is found in the store, so that a finished job is finished
anew within moments. One that was cancelled stays so. Its new epoch is the time, so that it is newer than whatever anybody
remembers of it.
"""

import logging

from celery import Celery
from pydantic import ValidationError
from redis import Redis

from topclip.config import Settings
from topclip.errors import ArtifactMissing
from topclip.model.job import JobRecord, JobState, Stage
from topclip.storage.base import ArtifactStore, cancelled_key, record_key
from workers import figures, keys
from workers.backend import result_meta, revoked_meta
from workers.changes import changed, delete_job
from workers.drive import publish
from workers.each import of_each
from workers.figures import FIGURES
from workers.links import redis_now
from workers.scripts import Scripts

log = logging.getLogger(__name__)

NO_BOUND = 10**9
JUST_MADE_S = 5.0
DEAD_AFTER_S = 30.0
"""A submission takes a second from its first file to its record in Redis; one that is so old has died."""


def find_lost(redis: Redis, prefix: str, store: ArtifactStore) -> list[str]:
    """Jobs of the store that Redis does not know. Raises: RedisError, StorageError."""
    jobs = store.folders("jobs")
    with redis.pipeline(transaction=False) as pipe:
        for job in jobs:
            pipe.exists(f"{prefix}job:{job}", f"{prefix}gone:{job}")
        known = pipe.execute() if jobs else []
    return [job for job, n in zip(jobs, known, strict=True) if not n]


def bring_back(app: Celery, redis: Redis, settings: Settings, store: ArtifactStore, jobs: list[str]) -> list[str]:
    """Write lost jobs to Redis and start them again; those that were. Raises: RedisError, OperationalError, StorageError."""
    now, scripts = redis_now(redis), Scripts(redis, settings.key_prefix)
    prefix = settings.key_prefix
    brought = of_each(jobs, lambda job: _is_lost(redis, prefix, job) and _bring_back(app, scripts, store, job, now))
    if jobs:
        redis.srem(prefix + keys.LOST, *jobs)
    return brought


def record_of(store: ArtifactStore, job_id: str) -> JobRecord | None:
    """A job's record in the store with its newest change, None if there is none that can be read. Raises: StorageError."""
    try:
        return changed(store, JobRecord.model_validate_json(store.get_bytes(record_key(job_id))))
    except ArtifactMissing:
        return None
    except ValidationError as err:
        log.warning("record of job %s cannot be read: %s", job_id, err)
        return None


def _write(scripts: Scripts, record: JobRecord, epoch: int) -> bool:
    """Write the record anew; False if it is there by now. A key that was used again since is left to the newer job."""
    key = [record.key.digest, record.key.body] if record.key else ["", ""]
    for digest, body in (key, ["", ""]):
        verdict = scripts(
            "submit", record.id, record.request.model_dump_json(), f"{record.created_at.timestamp():.6f}",
            int(record.expires_at.timestamp()), record.request.source.name,
            result_meta(record.id, epoch, JobState.QUEUED, {}), Stage.PROBE, NO_BOUND, epoch, record.owner,
            NO_BOUND, digest, body, 0, record.change,
        )  # fmt: skip
        if verdict in ("OK", "EXISTS"):
            return bool(verdict == "OK")
    return False


def _is_no_job(scripts: Scripts, store: ArtifactStore, job_id: str, record: JobRecord | None) -> bool:
    """Whether the files are those of a submission that has not, or not yet, become a job; of one that died they are removed.

    So are files that a late writer put back after its job was deleted.
    """
    digest = record.key.digest if record and record.key else ""
    has_record = record is not None or store.exists(record_key(job_id))
    verdict = scripts("drop", job_id, DEAD_AFTER_S, int(has_record), digest)
    if verdict == "DROPPED":
        log.info("files of job %s are cleared away: its submission died", job_id)
        delete_job(store, job_id)
    return bool(verdict != "NONE")


def _is_lost(redis: Redis, prefix: str, job_id: str) -> bool:
    return not redis.exists(f"{prefix}job:{job_id}") and not redis.exists(f"{prefix}gone:{job_id}")


def _bring_back(app: Celery, scripts: Scripts, store: ArtifactStore, job_id: str, now: float) -> bool:
    record = record_of(store, job_id)
    if _is_no_job(scripts, store, job_id, record) or record is None:
        return False
    if record.expires_at.timestamp() <= now:
        log.info("files of job %s are cleared away: it has expired", job_id)
        delete_job(store, job_id)
        return False
    # A submission that is under way has its file before its record.
    epoch = int(now)
    if now - record.created_at.timestamp() < JUST_MADE_S or not _write(scripts, record, epoch):
        return False
    FIGURES.count(figures.REPAIRS, "restored")
    if store.exists(cancelled_key(job_id)):
        scripts("cancel", job_id, revoked_meta(job_id, epoch))
        return True
    log.warning("Redis had lost job %s; it is started again", job_id)
    publish(app, job_id, epoch)
    return True
