"""Doubles with behaviour of their own: a job client that keeps its jobs in memory, a clock that stands still."""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from topclip.errors import InvalidRequest, JobConflict, JobExpired, QueueFull, QueueUnavailable
from topclip.model.callback import CallbackLog
from topclip.model.job import ClipStatus, JobEvent, JobState, JobStatus, SubmissionKey
from topclip.model.request import Change, ClipRequest
from web.status_cache import Clock
from workers.budget import StoreUse
from workers.client import JobClient, JobPage, Watch, unknown
from workers.figures import Counted
from workers.names import QUEUES

START = datetime(2026, 1, 1, tzinfo=UTC)


class ManualClock:
    """Time that passes only when told."""

    def __init__(self) -> None:
        self.s = 0.0
        self.clock = Clock(lambda: self.s, lambda: START + timedelta(seconds=self.s))

    def pass_(self, s: float) -> None:
        self.s += s


def make_status(job_id: str, **changes: Any) -> JobStatus:
    """A running job of the first epoch, but for what is said otherwise."""
    values: dict[str, Any] = {
        "id": job_id,
        "state": JobState.RUNNING,
        "stage": None,
        "progress": 0.0,
        "clips": (),
        "error": None,
        "name": "talk.mp4",
        "options": {},
        "created_at": START,
        "started_at": None,
        "finished_at": None,
        "expires_at": datetime.now(UTC) + timedelta(days=7),
        "epoch": 1,
        "revision": 1,
    }
    return JobStatus(**(values | changes))


class FakeWatch(Watch):
    """A watch that is told what to hear."""

    def __init__(self, on_event: Callable[[JobEvent], None], on_gap: Callable[[], None]) -> None:
        self.on_event, self.on_gap = on_event, on_gap
        self.up = True

    def start(self) -> None:
        self.on_gap()

    def stop(self) -> None:
        self.up = False

    @property
    def is_up(self) -> bool:
        return self.up

    @property
    def last_word_age_s(self) -> float:
        return 0.0 if self.up else float("inf")


class FakeClient(JobClient):
    """Jobs in memory, by the same rules. `is_away`: Redis does not answer."""

    def __init__(self) -> None:
        self.jobs: dict[str, JobStatus] = {}
        self.requests: dict[str, ClipRequest] = {}
        self.logs: dict[str, CallbackLog] = {}
        self.keys: dict[str, tuple[str, str]] = {}
        self.gone: dict[str, str] = {}
        self.is_full = False
        self.is_away = False
        self.use: StoreUse | None = None
        self.is_asked_for_room = False
        self.reads = 0
        self.watches: list[FakeWatch] = []
        self._seconds = itertools.count()

    def name_store(self) -> None:
        """There is no other."""

    def watch(self, on_event: Callable[[JobEvent], None], on_gap: Callable[[], None]) -> FakeWatch:
        self.watches.append(FakeWatch(on_event, on_gap))
        return self.watches[-1]

    def go_away(self) -> None:
        self.is_away = True
        for watch in self.watches:
            watch.up = False

    def come_back(self) -> None:
        self.is_away = False
        self.use: StoreUse | None = None
        for watch in self.watches:
            watch.up = True
            watch.on_gap()

    def change(self, job_id: str, **changes: Any) -> JobStatus:
        """Change a job as a worker would, and tell whoever watches."""
        old = self.jobs[job_id]
        new = self.jobs[job_id] = old.model_copy(update={"revision": old.revision + 1, **changes})
        self._tell(JobEvent(id=job_id, epoch=new.epoch, revision=new.revision))
        return new

    def finish(self, job_id: str, **changes: Any) -> JobStatus:
        return self.change(job_id, **{"state": JobState.SUCCEEDED, "progress": 1.0, **changes})

    def has_room(self, *, owner: str = "", digest: str = "") -> bool:
        self._ask()
        if digest in self.keys:
            return False
        if self.is_full:
            raise QueueFull("full", {"retry_after_s": 30})
        return True

    def submit(
        self, job_id: str, request: ClipRequest, *, owner: str = "", key: SubmissionKey | None = None
    ) -> JobStatus:
        self._ask()
        if key:
            first, body = self.keys.setdefault(key.digest, (job_id, key.body))
            if body != key.body:
                raise InvalidRequest("another body", {"field": "Idempotency-Key"})
            if first != job_id:
                return self.jobs[first]
        created_at = START + timedelta(seconds=next(self._seconds))
        options = request.options.to_dict()
        status = make_status(
            job_id,
            state=JobState.QUEUED,
            name=request.source.name,
            options=options,
            created_at=created_at,
            owner=owner,
        )
        self.jobs[job_id], self.requests[job_id] = status, request
        return status

    def read(self, job_id: str) -> JobStatus:
        self.reads += 1
        self._ask()
        if job_id in self.gone:
            raise JobExpired("the job was deleted", {"state": "EXPIRED"})
        if job_id not in self.jobs:
            raise unknown(job_id)
        return self.jobs[job_id]

    def owner(self, job_id: str) -> str | None:
        self._ask()
        if job_id in self.gone:
            return self.gone[job_id]
        return self.jobs[job_id].owner if job_id in self.jobs else None

    def list(
        self, *, limit: int = 50, cursor: str | None = None, state: JobState | None = None, owner: str | None = None
    ) -> JobPage:
        self._ask()
        jobs = [j for j in self.jobs.values() if state in (None, j.state) and owner in (None, j.owner)]
        jobs.sort(key=lambda j: j.created_at, reverse=True)
        start = int(cursor or 0)
        more = start + limit < len(jobs)
        return JobPage(tuple(jobs[start : start + limit]), str(start + limit) if more else None, len(jobs))

    def cancel(self, job_id: str) -> JobStatus:
        status = self.read(job_id)
        if status.state.is_terminal:
            raise JobConflict(f"the job is {status.state}")
        is_queued = status.state is JobState.QUEUED
        return self.change(job_id, state=JobState.CANCELLED if is_queued else JobState.CANCELLING)

    def retry(self, job_id: str) -> JobStatus:
        status = self.read(job_id)
        if not status.state.can_retry:
            raise JobConflict(f"the job is {status.state}")
        self.jobs[job_id] = status.model_copy(update={"epoch": status.epoch + 1})
        return self.change(job_id, state=JobState.QUEUED, stage=None, error=None, clips=())

    def alter(self, job_id: str, make: Callable[[ClipRequest], Change]) -> JobStatus:
        status = self.read(job_id)
        if not status.state.is_terminal:
            raise JobConflict(f"the job is {status.state}")
        request = self.requests[job_id]
        self.requests[job_id] = request.changed(make(request))
        self.jobs[job_id] = status.model_copy(update={"epoch": status.epoch + 1})
        return self.change(job_id, state=JobState.QUEUED, options=self.requests[job_id].options.to_dict())

    def delete(self, job_id: str) -> None:
        status = self.read(job_id)
        if not status.state.is_terminal:
            raise JobConflict("cancel it first")
        del self.jobs[job_id]
        self.gone[job_id] = status.owner
        self._tell(JobEvent(id=job_id, epoch=status.epoch, revision=status.revision + 1, deleted=True))

    def callbacks(self, job_id: str) -> CallbackLog:
        self.read(job_id)
        return self.logs.get(job_id, CallbackLog(url=None, state=None, next_try_at=None, tries=()))

    def store_use(self) -> StoreUse | None:
        self._ask()
        return self.use

    def store_grew(self, n_bytes: int) -> None:
        self._ask()

    def ask_for_room(self) -> None:
        self._ask()
        self.is_asked_for_room = True

    def health(self) -> dict[str, Any]:
        self._ask()
        counts: dict[str, int] = {}
        for job in self.jobs.values():
            counts[job.state] = counts.get(job.state, 0) + 1
        redis = {"latency_ms": 0.1, "version": "7.0.0", "used_memory": 1000, "maxmemory": 0, "writes": True}
        redis |= {"warnings": [], "clients": 3, "commands": 99, "evicted_keys": 0}
        redis |= {"aof": {"enabled": True, "last_write_ok": True, "rewrite_in_progress": False}}
        worker = {"name": "w1", "concurrency": 2, "active": 0, "queues": list(QUEUES), "leaving": False}
        nothing = dict.fromkeys(QUEUES, 0)
        report = {"jobs": counts, "oldest_s": {}, "queue_depth": 0, "queues": nothing, "waits_s": nothing, "unacked": 0}
        report |= {"lease_age_s": 0.0, "figures": Counted({}), "workers": [worker], "store_use": self.use}
        return {"redis": redis, **report}

    def _ask(self) -> None:
        if self.is_away:
            raise QueueUnavailable("Redis does not answer", {"retry_after_s": 2})

    def _tell(self, event: JobEvent) -> None:
        for watch in self.watches:
            watch.on_event(event)


def clip_status(n: int, state: str = "SUCCEEDED") -> ClipStatus:
    return ClipStatus.model_validate(
        {"n": n, "state": state, "start_s": 10.0 * n, "end_s": 10.0 * n + 5, "progress": 1}
    )
