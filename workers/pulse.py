"""One run of a task as Redis knows it: may it start, may it go on, how far is it, how did it end."""

import json
import logging
import time
from dataclasses import dataclass
from typing import Any, Self

from redis.exceptions import RedisError

from topclip.errors import JobCancelled, JobStopped, JobSuperseded, Killed, QueueUnavailable
from topclip.model.job import Stage
from workers.backend import PROGRESS, fence, result_meta, revoked_meta
from workers.scripts import Scripts

log = logging.getLogger(__name__)

INTERVAL_S = 0.9
"""Least time between two questions to Redis; a stop is seen within this and the timeout of the connection."""
STARTS_ALLOWED = 4
"""Times that a part is begun whose run then dies without a word. One more than the deaths of its own process that are allowed
(workers/request.py): a worker runs other tasks too, and dies of other things."""
REPLACED = ("GONE", "OLD", "LOST")
"""Verdicts on a run whose place another has taken, or nobody needs."""
PAUSE_S = 1.5
"""Time without questions after Redis did not answer, so that an outage hardly slows the work down; and yet a run that lost its
lease meanwhile stops within 2 s of being able to ask."""


@dataclass(frozen=True)
class Run:
    """Which attempt of which part of which job a delivery is, and the lease that it came under."""

    job: str
    epoch: int
    part: str
    task_id: str
    tag: str
    lease: str

    @classmethod
    def of(cls, header: dict[str, Any], task_id: str) -> Self:
        """The run that a message's header tells of."""
        epoch, tag, lease = fence(header)
        return cls(header["job"], epoch, header["part"], task_id, tag, lease)

    @property
    def is_own(self) -> bool:
        """Whether the task bears the job's id, that is, carries the job forward."""
        return self.task_id == self.job


class Pulse:
    """Reports of a run. Calling it is a stage's `report`."""

    def __init__(self, scripts: Scripts, run: Run) -> None:
        self._scripts = scripts
        self.run = run
        self._next_at = 0.0
        self._told = -1.0

    def start(self, stage: Stage | None) -> None:
        """Take the part.

        Raises: JobStopped if it is not to be run, Killed if its workers died of it, QueueUnavailable if Redis does not say.
        """
        run = self.run
        try:
            verdict = self._scripts(
                "start", run.job, run.epoch, run.tag, run.lease, run.part, stage or "", revoked_meta(run.job, run.epoch),
                STARTS_ALLOWED,
            )  # fmt: skip
        except RedisError as err:
            raise QueueUnavailable(f"Redis does not say whether {run.part} may start: {err}") from err
        if verdict == "POISON":
            raise Killed(
                f"{run.part} was begun {STARTS_ALLOWED} times, and its process or its worker died each time",
                {"hint": "Most often memory ran out: give the worker more, or lower its concurrency."},
            )
        check(verdict, run)

    def __call__(self, done_s: float, total_s: float) -> None:
        """Say how far the run is, at most once in INTERVAL_S. Raises: JobStopped."""
        if not self._is_due():
            return
        done_s = max(done_s, self._told)  # a clip that is repaired begins anew; what was told is not taken back
        run, progress = self.run, {"done_s": round(done_s, 2), "total_s": round(total_s, 2)}
        news = "" if run.is_own or done_s == self._told else result_meta(run.task_id, run.epoch, PROGRESS, progress)
        if self._tell(news):
            self._told = done_s

    def download(self, done_bytes: int, total_bytes: int | None) -> None:
        """Say how much of the job's source has come, at most once in INTERVAL_S. Raises: JobStopped."""
        if not self._is_due():
            return
        news = {"done_bytes": done_bytes, "total_bytes": total_bytes}
        self._tell("", json.dumps(news) if done_bytes != self._told else "")
        self._told = done_bytes

    def _is_due(self) -> bool:
        if time.monotonic() < self._next_at:
            return False
        self._next_at = time.monotonic() + INTERVAL_S
        return True

    def _tell(self, meta: str, download: str = "") -> bool:
        """Ask whether to go on, and tell what is news; False if Redis did not hear it. Raises: JobStopped."""
        run = self.run
        try:
            verdict = self._scripts(
                "pulse", run.job, run.epoch, run.tag, run.lease, run.task_id, meta, run.part, download
            )
        except RedisError as err:
            log.debug("no word from Redis, going on: %s", err)
            self._next_at = time.monotonic() + PAUSE_S
            return False
        check(verdict, run)
        return True

    def advance(self, stage: Stage, result: dict[str, Any], parts: list[str]) -> None:
        """Write down the parts of the next stage before they are published. Raises: JobStopped."""
        run = self.run
        meta = result_meta(run.job, run.epoch, "RUNNING", result)
        check(self._ask("advance", run.epoch, run.tag, run.lease, stage, meta, *parts), run)

    def finish(self, state: str = "done") -> None:
        """Write down that the part ended, or (`published`) that it is queued again.

        Raises: JobStopped if that is for another run to say, so that this one hands on and publishes nothing.
        """
        run = self.run
        revoked = revoked_meta(run.job, run.epoch)
        try:
            verdict = self._scripts("finish", run.job, run.epoch, run.tag, run.lease, run.part, state, revoked)
        except RedisError as err:
            log.warning("could not write down that %s of %s is %s: %s", run.part, run.job, state, err)
            return
        if verdict in REPLACED:
            check(verdict, run)

    def _ask(self, script: str, *args: Any) -> Any:
        try:
            return self._scripts(script, self.run.job, *args)
        except RedisError as err:
            raise QueueUnavailable(f"Redis is away: {err}") from err


def check(verdict: str, run: Run) -> None:
    """Raise what a verdict means: JobCancelled or JobSuperseded."""
    if verdict == "OK":
        return
    stopped: type[JobStopped] = JobCancelled if verdict == "CANCELLED" else JobSuperseded
    raise stopped(f"{run.part} of job {run.job} stops: {verdict}", {"verdict": verdict})
