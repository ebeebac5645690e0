"""The one door from HTTP and command line to jobs: submit, read, list, cancel, delete, and the health of Redis.

Every method is bounded in time (see `workers.links.WEB`): with Redis dead or frozen it raises QueueUnavailable in well
under a second. Must not load media code or a task.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from topclip.config import Settings
from topclip.model.job import JobEvent, JobId, JobState, JobStatus
from topclip.model.request import ClipRequest


@dataclass(frozen=True)
class JobPage:
    """One page of the job list, newest first; `next_cursor` is None on the last."""

    jobs: tuple[JobStatus, ...]
    next_cursor: str | None
    total: int


class Watch:
    """One thread of a process that pings Redis each 0.5 s and hears every change of a job.

    on_event(event) is called for each JobEvent; on_gap() whenever events may have been missed (first connection and
    each reconnection): whoever caches must then read again.
    """

    def start(self) -> None: ...
    def stop(self) -> None: ...

    @property
    def is_up(self) -> bool:
        """Whether Redis answered within the last second."""
        raise NotImplementedError

    @property
    def last_word_age_s(self) -> float:
        """Seconds since Redis last answered; infinity if it never did."""
        raise NotImplementedError


class JobClient:
    """Jobs, as the web and the command see them."""

    def __init__(self, settings: Settings) -> None: ...

    def watch(self, on_event: Callable[[JobEvent], None], on_gap: Callable[[], None]) -> Watch:
        """A Watch, not yet started."""
        raise NotImplementedError

    def submit(self, job_id: JobId, request: ClipRequest) -> JobStatus:
        """Write the job's record, then publish its first task. Raises: QueueUnavailable, with nothing left behind."""
        raise NotImplementedError

    def read(self, job_id: JobId) -> JobStatus:
        """The job's status from Redis. Raises: UnknownJob, JobExpired, QueueUnavailable."""
        raise NotImplementedError

    def list(self, *, limit: int = 50, cursor: str | None = None, state: JobState | None = None) -> JobPage:
        """A page of jobs, newest first. Raises: QueueUnavailable, InvalidRequest for a bad cursor."""
        raise NotImplementedError

    def cancel(self, job_id: JobId) -> JobStatus:
        """Set the job's cancel flag; CANCELLED at once if it was queued, else CANCELLING.

        Raises: UnknownJob, JobExpired, JobConflict if it is finished, QueueUnavailable.
        """
        raise NotImplementedError

    def delete(self, job_id: JobId) -> None:
        """Forget a finished job: results, index and files go, a tombstone stays.

        Raises: UnknownJob, JobExpired, JobConflict if it is not finished (cancel it first), QueueUnavailable.
        """
        raise NotImplementedError

    def health(self) -> dict[str, Any]:
        """`redis: {latency_ms, version, used_memory, maxmemory, maxmemory_policy, aof, warnings}`, `jobs` (counts by
        state), `queue_depth`, `workers` (list of {name, concurrency, active}). Raises: QueueUnavailable.
        """
        raise NotImplementedError
