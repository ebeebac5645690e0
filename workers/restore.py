"""Jobs whose record Redis has lost (FLUSHALL, a new disk, an old backup) but whose record is in the store.

Such a job is written to Redis again and started again: what was made is found in the store, so that a finished job is finished
anew within moments. One that was cancelled stays so. Redis' marker tells whether it lost its data: who does not find it looks
through the store once.
"""

import logging

from celery import Celery
from pydantic import ValidationError
from redis import Redis

from topclip.config import Settings
from topclip.model.job import JobRecord, JobState, Stage
from topclip.storage.base import ArtifactStore, cancelled_key, job_folder, record_key
from workers import keys
from workers.backend import result_meta, revoked_meta
from workers.drive import publish
from workers.links import redis_now
from workers.scripts import Scripts

log = logging.getLogger(__name__)

NO_BOUND = 10**9


def restore_lost(app: Celery, redis: Redis, settings: Settings, store: ArtifactStore) -> list[str]:
    """If Redis has lost its marker, bring back the jobs of the store that it does not know; their ids.

    Raises: RedisError, OperationalError, StorageError.
    """
    marker, now = settings.key_prefix + keys.MARKER, redis_now(redis)
    if redis.exists(marker):
        return []
    found = [job for job in store.folders("jobs") if _is_lost(redis, settings.key_prefix, job)]
    scripts = Scripts(redis, settings.key_prefix)
    brought = [job for job in found if _bring_back(app, scripts, store, job, now)]
    redis.set(marker, int(now))
    return brought


def record_of(store: ArtifactStore, job_id: str) -> JobRecord | None:
    """A job's record in the store, None if there is none that can be read. Raises: StorageError."""
    if not store.exists(record_key(job_id)):
        return None
    try:
        return JobRecord.model_validate_json(store.get_bytes(record_key(job_id)))
    except ValidationError as err:
        log.warning("record of job %s cannot be read: %s", job_id, err)
        return None


def _is_lost(redis: Redis, prefix: str, job_id: str) -> bool:
    return not redis.exists(f"{prefix}job:{job_id}") and not redis.exists(f"{prefix}gone:{job_id}")


def _bring_back(app: Celery, scripts: Scripts, store: ArtifactStore, job_id: str, now: float) -> bool:
    record = record_of(store, job_id)
    if record is None or record.expires_at.timestamp() <= now:
        log.info("files of job %s are cleared away: it has %s", job_id, "no record" if record is None else "expired")
        store.delete(job_folder(job_id))
        return False
    meta = result_meta(job_id, 1, JobState.QUEUED, {})
    scripts(
        "submit", job_id, record.request.model_dump_json(), f"{record.created_at.timestamp():.6f}",
        int(record.expires_at.timestamp()), record.request.source.name, meta, Stage.PROBE, NO_BOUND,
    )  # fmt: skip
    if store.exists(cancelled_key(job_id)):
        scripts("cancel", job_id, revoked_meta(job_id, 1))
        return True
    log.warning("Redis had lost job %s; it is started again", job_id)
    publish(app, job_id, 1)
    return True
