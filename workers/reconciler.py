"""The reconciler: one leader among the workers starts again what was lost, and clears away what has expired.

Redis or a worker can lose a message in the moment between taking it and writing that down, and a worker can die between a
stage and the next. So the leader looks for jobs that are not finished, have not changed for a while and have no message
anywhere, neither queued nor delivered; it starts them again under a new epoch, and the stages do only what is missing.
"""

import json
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

from celery import Celery, bootsteps
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from topclip.config import Settings
from topclip.errors import StorageError
from topclip.model.job import JobState
from topclip.storage.base import analysis_folder, job_folder, record_key
from topclip.storage.factory import store_for
from workers import keys, names
from workers.drive import redrive
from workers.links import KEEPER, redis_client
from workers.scripts import Scripts

log = logging.getLogger(__name__)

UNFINISHED = (JobState.QUEUED, JobState.RUNNING, JobState.CANCELLING)
PAGE = 500


class Reconciler(bootsteps.StartStopStep):  # type: ignore[misc]
    """The leader's thread, in each worker; all but one wait."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self._settings = Settings.from_env()

    def start(self, worker: Any) -> None:
        """Begin to look. The thread ends with the process."""
        self._name = worker.hostname
        threading.Thread(target=self._run, args=(worker.app,), name="reconciler", daemon=True).start()

    def _run(self, app: Celery) -> None:
        lease_s = self._settings.lease_s
        rounds = Rounds(app, self._settings)
        while True:
            time.sleep(min(10.0, lease_s / 2))
            try:
                if rounds.lead(self._name):
                    rounds.start_again()
                    rounds.clear_away()
            except (RedisError, OperationalError, StorageError) as err:
                log.warning("reconciler: this round failed: %s", err)


class Rounds:
    """What the leader does, one method a round. Raises: RedisError, OperationalError."""

    def __init__(self, app: Celery, settings: Settings) -> None:
        self._app, self._settings, self._prefix = app, settings, settings.key_prefix
        self._redis = redis_client(settings, KEEPER)
        self._scripts = Scripts(self._redis, self._prefix)
        self._store = store_for(settings)
        self._suspects: dict[str, str] = {}

    def lead(self, name: str) -> bool:
        """Whether this worker is the leader now; the lead lasts three rounds and is renewed by each."""
        key, ttl_s = self._prefix + keys.LEADER, int(max(6, self._settings.lease_s * 1.5))
        if self._redis.set(key, name, nx=True, ex=ttl_s):
            return True
        if self._redis.get(key) != name:
            return False
        self._redis.expire(key, ttl_s)
        return True

    def start_again(self) -> list[str]:
        """Start the jobs again that nothing works on; their ids. A job is suspect for one round before that."""
        suspects = dict(self._unchanged())
        twice = {job: at for job, at in suspects.items() if self._suspects.get(job) == at}
        self._suspects = suspects
        if not twice:
            return []
        alive = set(self._messages())
        lost = [job for job in twice if (job, self._epoch(job)) not in alive]
        return [job for job in lost if self._start_again(job)]

    def _start_again(self, job: str) -> bool:
        if not self._store.exists(record_key(job)):  # its submission was refused while Redis went away
            self._scripts("withdraw", job)
            return False
        return redrive(self._app, self._scripts, job, self._epoch(job))

    def clear_away(self) -> None:
        """Remove the files and the index entries of expired jobs, and analyses that no job uses any more."""
        for job in self._due(keys.EXPIRY):
            self._store.delete(job_folder(job))
            self._scripts("forget", job, self._settings.retention_s, "1")
            log.info("job %s expired", job)
        for sha256 in self._due(keys.ANALYSES):
            self._store.delete(analysis_folder(sha256))
            self._redis.zrem(self._prefix + keys.ANALYSES, sha256)

    def _due(self, index: str) -> list[str]:
        due: list[str] = self._redis.zrangebyscore(self._prefix + index, 0, time.time(), start=0, num=PAGE)
        return due

    def _unchanged(self) -> Iterator[tuple[str, str]]:
        """Unfinished jobs whose record did not change for two leases, and when it last did."""
        before = time.time() - max(4.0, 2 * self._settings.lease_s)
        for state in UNFINISHED:
            jobs = self._redis.zrange(f"{self._prefix}state:{state}", 0, -1)
            for start in range(0, len(jobs), PAGE):
                page = jobs[start : start + PAGE]
                with self._redis.pipeline(transaction=False) as pipe:
                    for job in page:
                        pipe.hget(f"{self._prefix}job:{job}", "changed_at")
                    times = pipe.execute()
                yield from ((job, at) for job, at in zip(page, times, strict=True) if at and float(at) < before)

    def _messages(self) -> Iterator[tuple[str, int]]:
        """Job and epoch of every message, queued or delivered."""
        for queue in names.QUEUES:
            start = 0
            while page := self._redis.lrange(self._prefix + queue, start, start + PAGE - 1):
                yield from (found for text in page if (found := _job_of(json.loads(text))))
                start += PAGE
        for _, text in self._redis.hscan_iter(self._prefix + keys.UNACKED, count=PAGE):
            if found := _job_of(json.loads(text)[0]):
                yield found

    def _epoch(self, job: str) -> int:
        return int(self._redis.hget(f"{self._prefix}job:{job}", "epoch") or 0)


def _job_of(message: dict[str, Any]) -> tuple[str, int] | None:
    header = message.get("headers", {}).get(names.HEADER)
    return (header["job"], int(header["epoch"])) if header else None
