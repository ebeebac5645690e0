"""Who waits for a job's next change, and how many may: the bound that keeps long answers from starving short ones."""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from topclip.errors import ServerBusy
from topclip.model.job import JobId


class Follower:
    """One who waits. Any number of changes between two waits is one: whoever wakes reads the newest status."""

    def __init__(self) -> None:
        self._changed = threading.Event()
        self.is_over = False

    def wait(self, timeout_s: float) -> bool:
        """Wait for a change; whether one came. It counts as seen from here on."""
        changed = self._changed.wait(timeout_s)
        self._changed.clear()
        return changed

    def wake(self) -> None:
        """Something changed."""
        self._changed.set()


class Followers:
    """All who wait, by job. on_wake is called for every job that is told of, on_wake_all where all are."""

    def __init__(
        self, on_wake: Callable[[JobId], None] = lambda _: None, on_wake_all: Callable[[], None] = lambda: None
    ) -> None:
        self._on_wake, self._on_wake_all = on_wake, on_wake_all
        self._by_job: dict[JobId, set[Follower]] = defaultdict(set)
        self._lock = threading.Lock()
        self._is_closed = False

    @contextmanager
    def follow(self, job_id: JobId) -> Iterator[Follower]:
        """Be told of the job's changes for as long as the context lasts."""
        follower = Follower()
        with self._lock:
            self._by_job[job_id].add(follower)
            follower.is_over = self._is_closed
        try:
            yield follower
        finally:
            with self._lock:
                waiting = self._by_job[job_id]
                waiting.discard(follower)
                if not waiting:
                    del self._by_job[job_id]

    def count(self, job_id: JobId) -> int:
        """How many follow the job."""
        with self._lock:
            return len(self._by_job.get(job_id, ()))

    def wake(self, job_id: JobId) -> None:
        """Tell those who follow the job."""
        with self._lock:
            for follower in self._by_job.get(job_id, ()):
                follower.wake()
        self._on_wake(job_id)

    def wake_all(self) -> None:
        """Tell everybody: events may have been missed."""
        with self._lock:
            for waiting in self._by_job.values():
                for follower in waiting:
                    follower.wake()
        self._on_wake_all()

    def close(self) -> None:
        """Send everybody home: the server stops."""
        with self._lock:
            self._is_closed = True
            for waiting in self._by_job.values():
                for follower in waiting:
                    follower.is_over = True
                    follower.wake()


class Seat:
    """A place for one long-lived answer, to be left once; whoever keeps it beyond the answer leaves it himself."""

    def __init__(self, free: threading.Semaphore) -> None:
        self._free = free
        self._is_kept = self._is_left = False

    def keep(self) -> None:
        """It outlives the request."""
        self._is_kept = True

    def leave_unless_kept(self) -> None:
        """The request is over."""
        if not self._is_kept:
            self.leave()

    def leave(self) -> None:
        """Give it back."""
        if not self._is_left:
            self._is_left = True
            self._free.release()


class Seats:
    """So many long-lived answers at once and no more."""

    def __init__(self, n: int) -> None:
        self.n = n
        self._free = threading.Semaphore(n)

    def take(self) -> Seat:
        """A seat. Raises: ServerBusy if all are taken."""
        if not self._free.acquire(blocking=False):
            raise ServerBusy(
                f"all {self.n} places for long-lived answers are taken",
                {"hint": "poll the status without `wait`, or try again soon", "retry_after_s": 5},
            )
        return Seat(self._free)

    @contextmanager
    def seat(self) -> Iterator[None]:
        """A seat for as long as the context lasts. Raises: ServerBusy."""
        seat = self.take()
        try:
            yield
        finally:
            seat.leave()
