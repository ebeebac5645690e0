"""That a job was cancelled, as the store remembers it: Redis may come back with older data than it had, from a backup, a copy
of its disk, or a replica that was behind, and would run the job again.

Every task asks before it begins, so that such a job never ends otherwise; and after each start of Redis or fail-over the
reconciler looks through all unfinished jobs, so that they need not wait for their turn. In between nobody else asks: while
Redis goes on, its own flag is the truth. What is remembered names the attempt that was cancelled, and speaks of no newer one: a
task of the cancelled attempt may begin while a retry is being made, and a slow store may remember only after that. A retry
removes it before its first task is published.
"""

import logging

from redis import Redis

from topclip.errors import ArtifactMissing
from topclip.storage.base import ArtifactStore, cancelled_key
from workers import keys
from workers.backend import revoked_meta
from workers.each import of_each
from workers.scripts import Scripts

log = logging.getLogger(__name__)

UNFINISHED = ("QUEUED", "RUNNING")
ANY_EPOCH = 10**15
"""For what was remembered without an epoch."""


def remember(store: ArtifactStore, job_id: str, epoch: int) -> None:
    """Have the store remember that this attempt was cancelled. Raises: StorageError."""
    key, text = cancelled_key(job_id), str(epoch).encode()
    if not store.put_bytes(key, text):  # of an attempt before, whose retry could not remove it
        store.delete(key)
        store.put_bytes(key, text)


def cancel_if_it_was(scripts: Scripts, store: ArtifactStore, job_id: str, epoch: int) -> bool:
    """Cancel a job in Redis whose attempt was cancelled by what the store knows; whether it was.

    Raises: RedisError, StorageError.
    """
    if not store.exists(cancelled_key(job_id)):
        return False
    try:
        text = store.get_bytes(cancelled_key(job_id))
    except ArtifactMissing:  # a retry has just removed it
        return False
    newest = int(text) if text.isdigit() else ANY_EPOCH
    verdict = scripts("cancel", job_id, revoked_meta(job_id, epoch), newest)
    if verdict in ("QUEUED", "RUNNING"):
        log.warning("Redis had forgotten that job %s was cancelled", job_id)
    return bool(verdict != "OLD")


def cancel_after_a_start(redis: Redis, prefix: str, scripts: Scripts, store: ArtifactStore) -> list[str]:
    """Where this run of Redis was not looked at yet, look through its unfinished jobs; those that were cancelled.

    Raises: RedisError, StorageError.
    """
    run = redis.info("server")["run_id"]
    if redis.get(prefix + keys.LOOKED_AT) == run:
        return []
    jobs = [job for state in UNFINISHED for job in redis.zrange(f"{prefix}state:{state}", 0, -1)]
    cancelled = of_each(jobs, lambda job: cancel_if_it_was(scripts, store, job, 0))
    redis.set(prefix + keys.LOOKED_AT, run)
    return cancelled
