"""Last known statuses of jobs, in one process, over Celery's result backend.

Owns when a status is read again: a live one after a second, a finished one every few seconds, any of them as soon as
an event says that it changed; `web.refresher` reads what changed also where nobody asks. While Redis is away the last
known status is given, marked stale. Knows no HTTP.
"""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from time import monotonic
from typing import Literal

from cachetools import LRUCache

from topclip.errors import JobExpired, QueueUnavailable, StorageError, TopClipError, UnknownJob
from topclip.model.job import JobEvent, JobId, JobStatus
from workers.patience import waiting

LIVE_S = 1.0
"""A live status is never older than this while Redis answers."""
TERMINAL_S = 5.0
"""A finished job changes only by delete, retry or loss of data, mostly told by an event."""
MAX_ENTRIES = 10_000

Version = tuple[int, int]


def version_of(status: JobStatus | JobEvent) -> Version:
    """What orders the states of one job: its epoch, then its revision."""
    return status.epoch, status.revision


@dataclass(frozen=True)
class Reading:
    """A status, where it came from and how good it is."""

    status: JobStatus
    source: Literal["cache", "redis"]
    stale: bool
    as_of: datetime
    views: dict[str, bytes] = field(default_factory=dict, compare=False, repr=False)
    """What was made of it, so that a thousand readers of one cached status cost one rendering."""


@dataclass(frozen=True)
class Clock:
    """Time, monotonic in seconds and of the calendar."""

    monotonic: Callable[[], float] = monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


@dataclass(frozen=True)
class _Entry:
    status: JobStatus
    read_s: float
    as_of: datetime
    fresh: Reading
    dirty: bool = False
    doubted: bool = False
    """Redis was away since: it may have come back with less than it knew (a backup, a lost tail), and is right then."""


@dataclass
class _Flight:
    """One read of Redis under way. `superseded`: an event came after it began, so its answer may already be old."""

    done: "Future[Reading]" = field(default_factory=Future)
    superseded: bool = False
    deleted: bool = False


class StatusCache:
    """Bounded cache of statuses. All methods may be called from any thread."""

    def __init__(
        self,
        read: Callable[[JobId], JobStatus],
        is_up: Callable[[], bool],
        *,
        clock: Clock | None = None,
        max_entries: int = MAX_ENTRIES,
    ) -> None:
        self._read = read
        self._is_up = is_up
        self._clock = clock or Clock()
        self._entries: LRUCache[JobId, _Entry] = LRUCache(max_entries)
        self._flights: dict[JobId, _Flight] = {}
        self._changed: dict[JobId, float] = {}
        """Jobs to be read again that live, or may do so again, and since when (monotonic), oldest first; some were read."""
        self._lock = threading.Lock()

    def get(self, job_id: JobId) -> Reading:
        """The job's status.

        Raises: UnknownJob and JobExpired on Redis's word. If nothing is known, QueueUnavailable where Redis is away, and
        StorageError where Redis does not know the job and the store does not say whether it was lost.
        """
        while True:
            with self._lock:
                entry = self._entries.get(job_id)
                if entry and self._is_good(entry):
                    return self._from_cache(entry)
                flight, is_mine = self._board(job_id)
                joined_late = flight.superseded
            if is_mine:
                self._fly(job_id, flight)
            try:
                with waiting():  # for Redis, if not in this thread
                    reading = flight.done.result()
            except (QueueUnavailable, StorageError) as err:
                return self._last_known(job_id, err)
            if is_mine or not joined_late:
                return reading

    def owner(self, job_id: JobId) -> str | None:
        """Whose the job is, which never changes; None if this process does not know the job."""
        with self._lock:
            entry = self._entries.get(job_id)
        return entry.status.owner if entry else None

    def remember(self, status: JobStatus) -> None:
        """Keep a status that Redis has just given by another way, such as a submit."""
        with self._lock:
            old = self._entries.get(status.id)
            self._store(status, dirty=bool(old and old.dirty))  # an event may be newer than what was given
            if old is None and not status.state.is_terminal:
                self._changed[status.id] = self._clock.monotonic()  # events that came before are not known

    def forget(self, job_id: JobId) -> None:
        """Drop a job that was deleted."""
        with self._lock:
            self._drop(job_id)

    def on_event(self, event: JobEvent) -> None:
        """A job changed: what is cached, or being read, of an older version has to be read again."""
        with self._lock:
            if event.deleted:
                self._drop(event.id)
                return
            if flight := self._flights.get(event.id):
                flight.superseded = True
            entry = self._entries.get(event.id)
            if entry and version_of(event) > version_of(entry.status):
                self._mark(entry)
                if event.epoch > entry.status.epoch:  # it was started again, so that it may live again
                    self._changed.setdefault(event.id, self._clock.monotonic())

    def on_gap(self) -> None:
        """Events may have been missed: everything has to be read again."""
        with self._lock:
            for flight in self._flights.values():
                flight.superseded = True
            for entry in list(self._entries.values()):
                self._mark(replace(entry, doubted=True))

    @property
    def has_changed(self) -> bool:
        """Whether live jobs wait to be read again."""
        return bool(self._changed)

    def changed(self, n: int) -> list[JobId]:
        """At most n live jobs that changed since they were read, which was a second ago or longer."""
        due: list[JobId] = []
        with self._lock:
            for job_id, since_s in list(self._changed.items()):
                if len(due) == n:
                    break
                entry = self._entries.get(job_id)
                if entry is None or (not entry.dirty and entry.read_s > since_s):
                    del self._changed[job_id]
                elif self._clock.monotonic() - entry.read_s >= LIVE_S:
                    due.append(job_id)
                    self._changed[job_id] = self._changed.pop(job_id)  # to the end: a failed read holds up no other
        return due

    def known(self) -> Iterable[Reading]:
        """All that is cached, newest job first, for when Redis cannot be asked."""
        with self._lock:
            readings = [self._from_cache(entry) for entry in self._entries.values() if not self._is_expired(entry)]
        return sorted(readings, key=lambda r: r.status.created_at, reverse=True)

    def __len__(self) -> int:
        return len(self._entries)

    # --- below, the lock is held by the caller unless said otherwise ---

    def _mark(self, entry: _Entry) -> None:
        """The entry has to be read again."""
        self._entries[entry.status.id] = replace(entry, dirty=True)
        if not entry.status.state.is_terminal:
            self._changed.setdefault(entry.status.id, self._clock.monotonic())

    def _is_good(self, entry: _Entry) -> bool:
        if self._is_expired(entry):
            return False
        if not self._is_up():
            return True
        age_s = self._clock.monotonic() - entry.read_s
        return not entry.dirty and age_s < (TERMINAL_S if entry.status.state.is_terminal else LIVE_S)

    def _is_expired(self, entry: _Entry) -> bool:
        return self._clock.now() >= entry.status.expires_at

    def _from_cache(self, entry: _Entry) -> Reading:
        return entry.fresh if self._is_up() else Reading(entry.status, "cache", stale=True, as_of=entry.as_of)

    def _board(self, job_id: JobId) -> tuple[_Flight, bool]:
        if flight := self._flights.get(job_id):
            return flight, False
        flight = self._flights[job_id] = _Flight()
        return flight, True

    def _fly(self, job_id: JobId, flight: _Flight) -> None:
        """Read Redis for all who wait. Called without the lock."""
        try:
            status = self._read(job_id)
        except TopClipError as err:
            with self._lock:
                self._flights.pop(job_id, None)
                if isinstance(err, UnknownJob | JobExpired):
                    self._entries.pop(job_id, None)
            flight.done.set_exception(err)
        else:
            as_of = self._clock.now()
            with self._lock:
                self._flights.pop(job_id, None)
                if not flight.deleted:
                    self._store(status, dirty=flight.superseded)
                    status, as_of = self._entries[job_id].status, self._entries[job_id].as_of
            flight.done.set_result(Reading(status, "redis", stale=False, as_of=as_of))
        finally:
            if not flight.done.done():  # a bug: whoever waits must not wait for ever
                self._flights.pop(job_id, None)
                flight.done.set_exception(TopClipError(f"job {job_id} could not be read"))

    def _store(self, status: JobStatus, *, dirty: bool) -> None:
        old = self._entries.get(status.id)
        is_believed = old is None or (old.doubted and not dirty)
        if old and not is_believed and version_of(old.status) > version_of(status):
            status = old.status
        now = self._clock.now()
        fresh = Reading(status, "cache", stale=False, as_of=now)
        self._entries[status.id] = _Entry(
            status, self._clock.monotonic(), now, fresh, dirty, doubted=dirty and not is_believed
        )
        if dirty and not status.state.is_terminal:
            self._changed.setdefault(status.id, self._clock.monotonic())

    def _drop(self, job_id: JobId) -> None:
        self._entries.pop(job_id, None)
        if flight := self._flights.get(job_id):
            flight.superseded = flight.deleted = True

    def _last_known(self, job_id: JobId, err: TopClipError) -> Reading:
        """Called without the lock, after nobody could say."""
        with self._lock:
            entry = self._entries.get(job_id)
            if entry is None and isinstance(err, QueueUnavailable):
                raise QueueUnavailable("Redis does not answer, and this server knows nothing of the job yet") from err
            if entry is None:
                raise err
            if self._is_expired(entry):
                raise JobExpired("the job's retention has passed")
            return Reading(entry.status, "cache", stale=True, as_of=entry.as_of)
