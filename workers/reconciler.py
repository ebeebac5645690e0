"""The reconciler: one leader among the workers starts again what was lost, and clears away what has expired.

Redis or a worker can lose a message in the moment between taking it and writing that down, and a worker can die between a
stage and the next. So the leader looks for jobs that are not finished, have not changed for a while and have no message
anywhere, neither queued nor delivered nor held for their turn; it starts them again under a new epoch, and the stages do only
what is missing.
"""

import json
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from celery import Celery, bootsteps, states

from topclip.config import Settings
from topclip.errors import ArtifactMissing, TopClipError
from topclip.model.job import JobState
from topclip.storage.base import analysis_folder, record_key
from topclip.storage.factory import store_for
from workers import keys, names
from workers.backend import result_meta
from workers.budget import Budget
from workers.cancelled import cancel_after_a_start, cancel_if_it_was
from workers.changes import delete_job, find_left, make_left
from workers.cluster import refuse_cluster
from workers.drive import redrive
from workers.each import of_each
from workers.health import UNFINISHED
from workers.links import FAULTS, KEEPER, redis_client, redis_now
from workers.message import UNREADABLE
from workers.one_store import refuse_another, refuse_unmounted
from workers.restore import bring_back, find_lost
from workers.scripts import Scripts

log = logging.getLogger(__name__)

T = TypeVar("T")
PAGE = 500
LOOK_EVERY_S = 60.0
"""Between two looks through the store for jobs that Redis does not know."""
OWNER = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?=-)")
"""The job at the head of the name of a file in staging."""
KEPT_S = 600.0
"""Between two tries to remove what has expired and could not be removed."""
STAGING_KEPT_S = 6 * 3600
"""A file in staging that was not written for so long belongs to nobody any more."""


class Reconciler(bootsteps.StartStopStep):  # type: ignore[misc]
    """The leader's thread, in each worker; all but one wait."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self._settings = Settings.from_env()
        self._rounds: Rounds | None = None

    def start(self, worker: Any) -> None:
        """Begin to look. The thread ends with the process. What no worker can work with ends it, in words."""
        try:
            refuse_cluster(self._settings)
            refuse_unmounted(self._settings)
            store = store_for(self._settings)
            store.check()
            refuse_another(self._settings, store)
        except TopClipError as err:
            log.critical("%s%s", err.message, f": {err.hint}" if err.hint else "")
            sys.exit(1)  # Celery would show a traceback
        self._name = worker.hostname
        threading.Thread(target=self._run, args=(worker.app,), name="reconciler", daemon=True).start()

    def _run(self, app: Celery) -> None:
        while True:
            time.sleep(min(10.0, self._settings.lease_s / 2))
            for step in self._attempt(lambda: self._steps(app)) or ():
                self._attempt(step)

    def _steps(self, app: Celery) -> tuple[Callable[[], object], ...]:
        """What this worker does in a round."""
        rounds = self._rounds = self._rounds or Rounds(app, self._settings)
        if not rounds.lead(self._name):
            return (rounds.clear_staging,)
        as_leader = (rounds.cancel_again, rounds.bring_back, rounds.start_again, rounds.clear_away, rounds.keep_budget)
        return (*as_leader, rounds.clear_staging)

    @staticmethod
    def _attempt(step: Callable[[], T]) -> T | None:
        """Take a step; one that fails holds up no other."""
        try:
            return step()
        except FAULTS as err:
            log.warning("reconciler: this round failed: %s: %s", type(err).__name__, err)
            return None


class Rounds:
    """What the leader does, one method a round. Raises: RedisError, OperationalError."""

    def __init__(self, app: Celery, settings: Settings) -> None:
        self._app, self._settings, self._prefix = app, settings, settings.key_prefix
        self._redis = redis_client(settings, KEEPER)
        self._scripts = Scripts(self._redis, self._prefix)
        self._store = store_for(settings, is_made=False)
        self._budget = Budget(self._redis, settings, self._scripts, self._store)
        self._suspects: dict[str, tuple[str, int]] = {}
        self._look_at = 0.0

    def lead(self, name: str) -> bool:
        """Whether this worker is the leader now; the lead lasts three rounds and is renewed by each."""
        key, ttl_s = self._prefix + keys.LEADER, int(max(6, self._settings.lease_s * 1.5))
        if self._redis.set(key, name, nx=True, ex=ttl_s):
            return True
        if self._redis.get(key) != name:
            return False
        self._redis.expire(key, ttl_s)
        return True

    def cancel_again(self) -> list[str]:
        """Cancel the jobs of which Redis has forgotten that they were."""
        return cancel_after_a_start(self._redis, self._prefix, self._scripts, self._store)

    def bring_back(self) -> list[str]:
        """Bring back the jobs that Redis has lost: those that were reported, and now and then all that the store knows."""
        lost = list(self._redis.smembers(self._prefix + keys.LOST))
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_EVERY_S
            lost += find_lost(self._redis, self._prefix, self._store)
            make_left(
                self._app, self._redis, self._prefix, self._store, find_left(self._redis, self._prefix, self._store)
            )
            self._keep_analyses()
        return bring_back(self._app, self._redis, self._settings, self._store, lost)

    def _keep_analyses(self) -> None:
        """An analysis that the index has lost is kept as long as one that was made now."""
        until = redis_now(self._redis) + self._settings.retention_s
        for sha256 in self._store.folders("analysis"):
            self._redis.zadd(self._prefix + keys.ANALYSES, {sha256: until}, nx=True)

    def start_again(self) -> list[str]:
        """Start the jobs again that nothing works on; their ids. A job is suspect for one round before that.

        A search can miss a message: of two lists it moves between as they are read, or that a worker has just taken and not
        written down yet. Two searches, a round apart, do not.
        """
        unchanged = dict(self._unchanged())
        # Before the search: an attempt that another leader begins meanwhile is not ended.
        epochs = {job: self._epoch(job) for job in unchanged}
        alive = set(self._messages()) if unchanged else set()
        suspects = {job: (at, epochs[job]) for job, at in unchanged.items() if (job, epochs[job]) not in alive}
        silent = [job for job, seen in suspects.items() if self._suspects.get(job) == seen]
        self._suspects = suspects
        return of_each(silent, lambda job: not self._scripts("waits", job) and self._start_again(job, epochs[job]))

    def _start_again(self, job: str, epoch: int) -> bool:
        if not self._store.exists(record_key(job)):
            if not self._scripts(
                "withdraw", job, "0"
            ):  # a submission that was refused while Redis went away is taken back
                self._scripts("fail", job, lost_files_meta(job))
            return False
        # Now, since a new attempt is not the one that was cancelled.
        cancel_if_it_was(self._scripts, self._store, job, epoch)
        return redrive(self._app, self._scripts, job, epoch, "nothing works on it")

    def clear_away(self) -> None:
        """Remove the files and the index entries of expired jobs, and analyses that no job uses any more."""
        self._clear(keys.EXPIRY, self._clear_away)
        self._clear(keys.ANALYSES, self._clear_analysis)

    def _clear(self, index: str, remove: Callable[[str], bool]) -> None:
        """Remove what is due, oldest first. What cannot be removed is tried again later: no other waits behind it."""
        due = self._due(index)
        kept = set(due) - set(of_each(due, remove))
        if kept:
            again_at = redis_now(self._redis) + KEPT_S
            self._redis.zadd(self._prefix + index, dict.fromkeys(kept, again_at), xx=True)

    def _clear_away(self, job: str) -> bool:
        delete_job(self._store, job)
        self._scripts("forget", job, self._settings.retention_s, "1")
        log.info("job %s expired", job)
        return True

    def _clear_analysis(self, sha256: str) -> bool:
        self._store.delete(analysis_folder(sha256))
        self._redis.zrem(self._prefix + keys.ANALYSES, sha256)
        return True

    def keep_budget(self) -> list[str]:
        """Let the oldest finished jobs go where the store passes its budget."""
        return self._budget.keep()

    def clear_staging(self) -> None:
        """Remove what killed processes left in the making; each worker does, since staging may be on a disk of its own."""
        self._store.sweep(STAGING_KEPT_S)
        for name in self._store.staged():
            if (owner := OWNER.match(name)) and self._is_over(owner[0]):
                of_each([name], self._unstage)

    def _unstage(self, name: str) -> bool:
        self._store.unstage(name)
        return True

    def _is_over(self, job: str) -> bool:
        """Whether nobody works on the job any more."""
        state = self._redis.hget(f"{self._prefix}job:{job}", "state")
        return state is None or JobState(state).is_terminal

    def _due(self, index: str) -> list[str]:
        due: list[str] = self._redis.zrangebyscore(self._prefix + index, 0, redis_now(self._redis), start=0, num=PAGE)
        return due

    def _unchanged(self) -> Iterator[tuple[str, str]]:
        """Unfinished jobs whose record did not change for two leases, and when it last did; a change that lies ahead was made
        before Redis' clock was set back.
        """
        now, quiet_s = redis_now(self._redis), max(4.0, 2 * self._settings.lease_s)
        for state in UNFINISHED:
            jobs = self._redis.zrange(f"{self._prefix}state:{state}", 0, -1)
            for start in range(0, len(jobs), PAGE):
                page = jobs[start : start + PAGE]
                with self._redis.pipeline(transaction=False) as pipe:
                    for job in page:
                        pipe.hget(f"{self._prefix}job:{job}", "changed_at")
                    times = pipe.execute(raise_on_error=False)
                for job, at in zip(page, times, strict=True):
                    if isinstance(at, Exception):
                        log.warning("reconciler: job %s is left out: %s", job, at)
                    elif at and abs(now - float(at)) > quiet_s:
                        yield job, at

    def _messages(self) -> Iterator[tuple[str, int]]:
        """Job and epoch of every message of ours, queued or delivered."""
        for queue in names.QUEUES:
            start = 0
            while page := self._redis.lrange(self._prefix + queue, start, start + PAGE - 1):
                yield from (found for text in page if (found := _job_of(text)))
                start += PAGE
        for _, text in self._redis.hscan_iter(self._prefix + keys.UNACKED, count=PAGE):
            if found := _job_of(text):
                yield found

    def _epoch(self, job: str) -> int:
        return int(self._redis.hget(f"{self._prefix}job:{job}", "epoch") or 0)


def _job_of(text: str) -> tuple[str, int] | None:
    """Job and epoch of a message as kombu keeps it, queued or (in a list with its route) delivered; None if it is not ours."""
    try:
        found = json.loads(text)
        header = (found[0] if isinstance(found, list) else found)["headers"][names.HEADER]
        return str(header["job"]), int(header["epoch"])
    except UNREADABLE:
        return None


def lost_files_meta(job_id: str) -> str:
    """The Celery result of a job whose files are gone from the store."""
    error = ArtifactMissing(
        "the job's files are gone from the store", {"hint": "Look at TOPCLIP_STORE, and submit it again."}
    )
    failure = {"exc_type": type(error).__name__, "exc_message": list(error.args), "exc_module": type(error).__module__}
    return result_meta(job_id, 0, states.FAILURE, failure)
