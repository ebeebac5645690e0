"""The store's budget: beyond TOPCLIP_STORE_BUDGET_GB the oldest finished jobs go, and never one that waits or runs.

The leader among the workers measures the store and lets jobs go; how much is used, and how much of that could go, it writes to
Redis, where the web servers look before they take anything new. They add what they take, so that the figure is right between
two measurements and the leader hears of it when the budget is passed.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from redis import Redis

from topclip.config import Settings
from topclip.errors import NotRemoved
from topclip.model.job import JobState
from topclip.storage.base import ArtifactStore, job_folder
from workers import keys
from workers.changes import delete_job
from workers.links import redis_now
from workers.scripts import Scripts

log = logging.getLogger(__name__)

MEASURE_EVERY_S: Final = 60.0
ENDED: Final = tuple(state for state in JobState if state.is_terminal and state is not JobState.EXPIRED)
PAGE: Final = 500


@dataclass(frozen=True)
class StoreUse:
    """What the store holds, in bytes. may_go: that of finished jobs, which go first. measured_at: seconds since 1970."""

    used_bytes: int
    may_go_bytes: int
    measured_at: float

    def has_room(self, n_bytes: int, budget_bytes: int) -> bool:
        """Whether so much more can be taken, once all has gone that may go."""
        return self.used_bytes - self.may_go_bytes + n_bytes <= budget_bytes


def store_use(redis: Redis, prefix: str) -> StoreUse | None:
    """The figures in Redis, None where nobody has measured yet. Raises: RedisError."""
    return read_use(redis.hgetall(prefix + keys.STORE))


def read_use(found: dict[str, str]) -> StoreUse | None:
    """The same out of the hash itself."""
    if not found.get("at"):
        return None
    return StoreUse(int(found["used"]), int(found["may_go"]), float(found["at"]))


def store_grew(redis: Redis, prefix: str, n_bytes: int) -> None:
    """Add what was put into the store since it was measured. Raises: RedisError."""
    redis.hincrby(prefix + keys.STORE, "used", n_bytes)


def ask_for_room(redis: Redis, prefix: str) -> None:
    """Have the store measured: by what is known something was refused, and jobs may have ended since. Raises: RedisError."""
    redis.hset(prefix + keys.STORE, "refused", "1")


class Budget:
    """What the leader does about the budget. Raises: RedisError, StorageError."""

    def __init__(self, redis: Redis, settings: Settings, scripts: Scripts, store: ArtifactStore) -> None:
        self._redis, self._settings, self._scripts, self._store = redis, settings, scripts, store
        self._prefix = settings.key_prefix
        self._measure_at = 0.0

    def keep(self) -> list[str]:
        """Measure, now and then or where the budget is passed, and let the oldest finished jobs go; those that went."""
        if not (budget := self._settings.store_budget_bytes):
            return []
        figures = self._redis.hgetall(self._prefix + keys.STORE)
        known, is_enough = read_use(figures), figures.get("refused") != "1"
        if known and is_enough and known.used_bytes <= budget and time.monotonic() < self._measure_at:
            return []
        self._measure_at = time.monotonic() + MEASURE_EVERY_S
        sizes = self._store.sizes()
        for folder in self._removed([name for name in sizes if name.startswith(job_folder(""))]):
            if self._delete(folder.removeprefix(job_folder(""))):
                del sizes[folder]
        ended = [job for job in self._ended() if sizes.get(job_folder(job))]
        gone, used = self._let_go(ended, sizes, budget)
        may_go = sum(sizes[job_folder(job)] for job in ended)
        figures = {"used": str(used), "may_go": str(may_go), "at": f"{redis_now(self._redis):.3f}", "refused": "0"}
        self._redis.hset(self._prefix + keys.STORE, mapping=figures)
        if used > budget:
            log.warning("the store holds %d MiB, more than its budget, and no finished job is left to go", used >> 20)
        return gone

    def _let_go(self, ended: list[str], sizes: dict[str, int], budget: int) -> tuple[list[str], int]:
        """Jobs that went, and what the store holds then. ended: those that may go, the first ones first; loses those that were
        tried.
        """
        used, gone = sum(sizes.values()), []
        while used > budget and ended:
            job = ended.pop(0)
            if not self._can_go(job):  # it is not forgotten for nothing
                continue
            verdict = self._scripts("forget", job, self._settings.retention_s, "0")
            is_kept = verdict == "BUSY"  # it was started again; any other has gone meanwhile
            if verdict == "OK":
                is_kept = not self._delete(job)
                if not is_kept:
                    log.info("job %s is removed: the store had passed its budget", job)
                    gone.append(job)
            if not is_kept:
                used -= sizes[job_folder(job)]
        return gone, used

    def _lets(self, act: Callable[[], None], job: str) -> bool:
        """Whether the store does something to a job's files; what it keeps holds up no other."""
        try:
            act()
        except NotRemoved as err:
            log.warning("the store keeps job %s: %s", job, err)
            return False
        return True

    def _can_go(self, job: str) -> bool:
        return self._lets(lambda: self._store.refuse_kept(job_folder(job)), job)

    def _delete(self, job: str) -> bool:
        """Remove a job's files, those that somebody else removes too; whether none is left that cannot be."""
        return self._lets(lambda: delete_job(self._store, job), job)

    def _removed(self, folders: list[str]) -> list[str]:
        """Those of these folders of jobs that somebody removes, or has since they were measured: that can take minutes."""
        found: list[str] = []
        for start in range(0, len(folders), PAGE):
            page = folders[start : start + PAGE]
            with self._redis.pipeline(transaction=False) as pipe:
                for folder in page:
                    pipe.exists(f"{self._prefix}gone:{folder.removeprefix(job_folder(''))}")
                found += [folder for folder, n in zip(page, pipe.execute(), strict=True) if n]
        return found

    def _ended(self) -> list[str]:
        """Finished jobs, those first that ended first. One whose end is still to be told stays until it was."""
        found: list[tuple[float, str]] = []
        for state in ENDED:
            jobs = self._redis.zrange(f"{self._prefix}state:{state}", 0, -1)
            for start in range(0, len(jobs), PAGE):
                page = jobs[start : start + PAGE]
                with self._redis.pipeline(transaction=False) as pipe:
                    for job in page:
                        pipe.hget(f"{self._prefix}job:{job}", "finished_at")
                        pipe.zscore(f"{self._prefix}callbacks", job)
                    replies = pipe.execute(raise_on_error=False)
                for job, at, is_owed in zip(page, replies[::2], replies[1::2], strict=True):
                    if isinstance(at, str) and is_owed is None:
                        found.append((float(at), job))
        return [job for _, job in sorted(found)]
