"""That a job was cancelled, as the store remembers it: Redis may come back with older data than it had, from a backup, a copy
of its disk, or a replica that was behind, and would run the job again.

Every task asks before it begins, so that such a job never ends otherwise; and after each start of Redis or fail-over the
reconciler looks through all unfinished jobs, so that they need not wait for their turn. In between nobody else asks: while
Redis goes on, its own flag is the truth. A retry removes what is remembered here before its first task is published.
"""

import logging

from redis import Redis

from topclip.storage.base import ArtifactStore, cancelled_key
from workers import keys
from workers.backend import revoked_meta
from workers.scripts import Scripts

log = logging.getLogger(__name__)

UNFINISHED = ("QUEUED", "RUNNING")


def cancel_if_it_was(scripts: Scripts, store: ArtifactStore, job_id: str, epoch: int) -> bool:
    """Cancel a job in Redis that was cancelled by what the store knows; whether it was. Raises: RedisError, StorageError."""
    if not store.exists(cancelled_key(job_id)):
        return False
    if scripts("cancel", job_id, revoked_meta(job_id, epoch)) in ("QUEUED", "RUNNING"):
        log.warning("Redis had forgotten that job %s was cancelled", job_id)
    return True


def cancel_after_a_start(redis: Redis, prefix: str, scripts: Scripts, store: ArtifactStore) -> list[str]:
    """Where this run of Redis was not looked at yet, look through its unfinished jobs; those that were cancelled.

    Raises: RedisError, StorageError.
    """
    run = redis.info("server")["run_id"]
    if redis.get(prefix + keys.LOOKED_AT) == run:
        return []
    jobs = [job for state in UNFINISHED for job in redis.zrange(f"{prefix}state:{state}", 0, -1)]
    cancelled = [job for job in jobs if cancel_if_it_was(scripts, store, job, 0)]
    redis.set(prefix + keys.LOOKED_AT, run)
    return cancelled
