"""What workers count for `/metrics`: they have no port, so their counters lie in Redis, in one hash.

A field is a counter's name and its label's value, and of a histogram the bound of a bucket, as in `run_s|render|60`. All three
come from the code alone (tasks, queues, states, error codes), so that the hash stays small whatever runs. A worker's main
process adds up what it sees, and its keeper writes the sums once a second; a killed worker takes its last second along.
"""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from redis import Redis
from redis.exceptions import RedisError

from topclip.model.job import JobState
from workers import keys

BOUNDS_S: Final = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0)
"""Upper bounds of the buckets of times, in seconds; what took longer is in one without."""
SUM: Final = "sum"
NO_BOUND: Final = "+Inf"

RUN: Final = "run_s"
"""Histogram by task: seconds from a run's begin to its outcome."""
WAIT: Final = "wait_s"
"""Histogram by queue: seconds from being ready to the begin."""
FAILURES: Final = "failures"
"""Counter by task and error code, a slash between them."""
RETRIES: Final = "retries"
"""Counter by task and error code of runs that will be tried again."""
CHUNKS: Final = "chunks"
"""Counter of chunks by whether their analysis was in the store (`cache`) or is to be `made`."""
REPAIRS: Final = "repairs"
"""Counter by kind: jobs that the reconciler started again (`redriven`; workers/scripts.py) or brought back (`restored`)."""
ENDED: Final = "jobs_ended"
"""Counter by state (workers/scripts.py)."""
LEASES: Final = "leases"
"""Counter by what became of leases: `ended`, `lost`, acknowledged `late`."""
KILLS: Final = "kills"
"""Counter by why a task's process is gone: it `died`, or was `deaf` and killed."""


KNOWN: Final = {
    CHUNKS: ("cache", "made"),
    REPAIRS: ("redriven", "restored"),
    ENDED: tuple(str(state) for state in JobState if state.is_terminal and state is not JobState.EXPIRED),
    LEASES: ("ended", "lost", "late"),
    KILLS: ("died", "deaf"),
}
"""Labels of counters that are told from 0 on: of one that appears with its first count, Prometheus sees no increase."""


def add(redis: Redis, prefix: str, counts: Mapping[str, float]) -> None:
    """Add to the counters. Raises: RedisError."""
    with redis.pipeline() as pipe:
        for field, n in counts.items():
            pipe.hincrbyfloat(prefix + keys.FIGURES, field, n)
        pipe.execute()


def field_of(name: str, *labels: str) -> str:
    """The field of a counter."""
    return "|".join((name, *labels))


class Figures:
    """The sums of one process, until they are written. Safe to use from many threads."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def count(self, name: str, label: str, n: float = 1) -> None:
        """Count something."""
        with self._lock:
            self._counts[field_of(name, label)] += n  # type: ignore[assignment]  # typeshed knows Counter of int alone

    def took(self, name: str, label: str, seconds: float) -> None:
        """Count something that took so long."""
        place = bisect_left(BOUNDS_S, seconds)
        bound = f"{BOUNDS_S[place]:g}" if place < len(BOUNDS_S) else NO_BOUND
        with self._lock:
            self._counts[field_of(name, label, bound)] += 1
            self._counts[field_of(name, label, SUM)] += seconds  # type: ignore[assignment]

    def write(self, redis: Redis, prefix: str) -> None:
        """Add the sums to those in Redis, and begin anew; what could not be written is kept. Raises: RedisError."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        if not counts:
            return
        try:
            add(redis, prefix, counts)
        except RedisError:
            with self._lock:
                self._counts.update(counts)
            raise


FIGURES = Figures()
"""Those of a worker's main process. The processes of its tasks, which are forked from it, write what they count at once."""


@dataclass(frozen=True)
class Times:
    """A histogram: how many took no longer than each bound, and the sum of all in seconds."""

    buckets: tuple[tuple[str, float], ...]
    sum_s: float


@dataclass(frozen=True)
class Counted:
    """The figures as they were read."""

    fields: Mapping[str, float]

    def counts(self, name: str) -> Iterator[tuple[str, float]]:
        """Label and number of each counter of that name."""
        found = {f.split("|")[1]: n for f, n in self.fields.items() if f.count("|") == 1 and f.startswith(name + "|")}
        yield from (dict.fromkeys(KNOWN.get(name, ()), 0.0) | dict(sorted(found.items()))).items()

    def times(self, name: str) -> Iterator[tuple[str, Times]]:
        """Label and histogram. Bounds of another version count into the next of ours."""
        found = [field.split("|") for field in self.fields if field.startswith(name + "|") and field.count("|") == 2]
        for label in sorted({label for _, label, _ in found}):
            n_of = {float(b): self.fields[field_of(name, label, b)] for _, of, b in found if of == label and b != SUM}
            bounds = (*BOUNDS_S, float(NO_BOUND))
            buckets = tuple((_text(bound), sum(n for at, n in n_of.items() if at <= bound)) for bound in bounds)
            yield label, Times(buckets, self.fields.get(field_of(name, label, SUM), 0.0))


def _text(bound: float) -> str:
    return NO_BOUND if bound == float(NO_BOUND) else str(bound)
