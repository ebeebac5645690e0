"""How web and command reach Redis: bounded waits, a breaker, and what its silence or its verdicts mean as errors of ours.

Raises QueueUnavailable in well under a second where Redis is dead or frozen (`workers.links.WEB`, `workers.patience`), and at
once while the breaker is open.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from topclip.config import Settings
from topclip.errors import JobExpired, QueueFull, QueueUnavailable, UnknownJob
from topclip.model.job import JobId
from topclip.storage.base import ArtifactStore
from workers import channel, keys
from workers.breaker import Breaker, BreakerOpen
from workers.links import WEB, make_app, redis_client
from workers.patience import waiting
from workers.refusal import reason
from workers.restore import record_of
from workers.scripts import Scripts

RETRY_AFTER_S = 2
FULL_RETRY_AFTER_S = 30
PUBLISH_FAULTS = (OperationalError, RedisError, OSError)
SILENCE = (OperationalError, RedisConnectionError, RedisTimeoutError, OSError)
"""Redis did not answer, as opposed to an answer that is an error."""


class Reach:
    """The connections of one process, and the scripts over them. Safe to use from many threads."""

    def __init__(self, settings: Settings, store: ArtifactStore, app: Celery | None = None) -> None:
        channel.install()  # which writes down since when a message waits
        self._settings, self._store = settings, store
        self.prefix = settings.key_prefix
        self.app = app or make_app(settings, WEB, "topclip-client")
        self.redis = redis_client(settings, WEB)
        self.scripts = Scripts(self.redis, self.prefix)
        self.breaker = Breaker()

    def close(self) -> None:
        """Close the connections to Redis."""
        self.app.close()
        self.app.backend.client.close()
        self.redis.close()

    @contextlib.contextmanager
    def reaching(self, *, undecided: bool = False) -> Iterator[None]:
        """Ask Redis for something that must be had. Raises: QueueUnavailable; undecided: whether it may have been done then."""
        try:
            with self.asking():
                yield
        except (RedisError, OSError) as err:
            error = unavailable(err)
            error.detail["undecided"] = undecided
            raise error from err

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """Ask Redis, within the request's patience. Raises: BreakerOpen, and what is raised inside."""
        begun_s = self.breaker.enter()
        try:
            with waiting():
                yield
        except SILENCE as err:
            self.breaker.failed(begun_s, err)
            raise
        self.breaker.succeeded()

    @property
    def bounds(self) -> tuple[int, int]:
        """How many jobs may wait or run: in all, and of one owner."""
        return self._settings.max_queued_jobs, self._settings.max_queued_jobs_per_owner

    def refuse_full(self, verdict: str) -> None:
        """Raises: QueueFull if a script found no room."""
        if verdict not in ("FULL", "OWNER_FULL"):
            return
        bound, owner_bound = self.bounds
        text = f"{bound} jobs wait already" if verdict == "FULL" else f"{owner_bound} jobs of this API key wait already"
        raise QueueFull(text, {"retry_after_s": FULL_RETRY_AFTER_S, "hint": "Try again later."})

    def known(self, job_id: JobId, verdict: Any) -> None:
        """Raises: UnknownJob, JobExpired, QueueUnavailable while a job that Redis has lost is brought back."""
        if verdict == "UNKNOWN" and record_of(self._store, job_id):
            self.report_lost(job_id)
            raise QueueUnavailable(f"Redis had lost job {job_id}; it is being brought back", {"retry_after_s": 10})
        self.missing(job_id, verdict)

    def report_lost(self, job_id: JobId) -> None:
        """Tell the reconciler of a job that is in the store and not in Redis."""
        with self.reaching():
            self.redis.sadd(self.prefix + keys.LOST, job_id)

    @staticmethod
    def missing(job_id: JobId, verdict: Any) -> None:
        """Raises: UnknownJob, JobExpired, where a script said so."""
        if verdict == "UNKNOWN":
            raise unknown(job_id)
        if verdict == "EXPIRED":
            raise JobExpired(f"job {job_id} has expired or was deleted")


def unknown(job_id: JobId) -> UnknownJob:
    """The error of a job that does not exist, or not for the one who asks."""
    return UnknownJob(f"no job {job_id}", {"hint": "Check the id; it is the one that the submission answered."})


def unavailable(err: Exception) -> QueueUnavailable:
    """The error that stands for Redis being away, or refusing to write."""
    return QueueUnavailable(
        f"Redis {err if isinstance(err, BreakerOpen) else reason(err)}",
        {"retry_after_s": RETRY_AFTER_S, "hint": "Nothing is lost; try again in a moment."},
    )
