"""The service's figures as Prometheus sees them: Redis, jobs, queues, workers, leases, and what workers counted.

They are the same whichever web server is asked: Redis has them. Those of the web process itself are in web/metrics.py.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from web.vitals import Vitals
from workers import figures
from workers.figures import Counted

WORKER = {
    "processes": ("concurrency", "Tasks that the worker runs at once, at most."),
    "active_tasks": ("active", "Tasks that the worker runs."),
    "leaving": ("leaving", "Whether the worker takes no more tasks."),
    "memory_bytes": ("memory_bytes", "Memory that the worker and all its processes hold."),
    "memory_limit_bytes": ("memory_limit_bytes", "Memory of its machine or container."),
    "disk_free_bytes": ("disk_free_bytes", "Room left where the worker makes files."),
    "clock_ahead_seconds": ("clock_ahead_s", "How much its clock is ahead of Redis'."),
}
REDIS = {
    "used_bytes": ("used_memory", "Redis' memory."),
    "limit_bytes": ("maxmemory", "Its limit, 0 for none."),
    "writes": ("writes", "Whether Redis writes what it is given."),
    "clients": ("clients", "Connections to Redis."),
}


class Gauges(Collector):
    """What `/health` says and workers counted."""

    def __init__(self, vitals: Vitals, min_free_bytes: int) -> None:
        self._vitals, self._min_free_bytes = vitals, min_free_bytes

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not ask Redis."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All figures that are known; of Redis' none but `topclip_redis_up` while it is away."""
        vital = self._vitals.look()
        yield _gauge("redis_up", "Whether Redis answers.", vital.report is not None)
        yield from self._store(vital.document["store"])
        if vital.report:
            yield from _redis(vital.report["redis"])
            yield from _jobs(vital.report)
            yield from _queues(vital.report)
            yield from _workers(vital.report["workers"])
            yield from _counted(vital.report["figures"])

    def _store(self, store: dict[str, Any]) -> Iterator[Metric]:
        yield _gauge("store_up", "Whether the store answers.", store["status"] != "down")
        yield _gauge("store_min_free_bytes", "Room below which nothing new is taken.", self._min_free_bytes)
        for name, words in (
            ("free", "Room left in the store."),
            ("budget", "Room that the store may take."),
            ("used", "What the store holds, where it has a budget."),
        ):
            if (figure := store.get(f"{name}_bytes")) is not None:
                yield _gauge(f"store_{name}_bytes", words, figure)


def _redis(redis: dict[str, Any]) -> Iterator[Metric]:
    for name, (key, words) in REDIS.items():
        yield _gauge(f"redis_{name}", words, redis[key])
    yield _gauge("redis_latency_seconds", "How long Redis takes to answer PING.", redis["latency_ms"] / 1000)
    yield _gauge("redis_aof_ok", "Whether Redis keeps its append-only file.", _is_kept(redis["aof"]))
    yield CounterMetricFamily("topclip_redis_commands", "Commands that Redis has run.", redis["commands"])
    yield CounterMetricFamily("topclip_redis_evicted_keys", "Keys that Redis has dropped.", redis["evicted_keys"])


def _is_kept(aof: dict[str, bool]) -> bool:
    """Whether the append-only file is on and was written the last time."""
    return aof["enabled"] and aof["last_write_ok"]


def _jobs(report: dict[str, Any]) -> Iterator[Metric]:
    yield _labelled("jobs", "Jobs by state.", "state", report["jobs"])
    yield _labelled("job_oldest_seconds", "Age of the oldest job in the state.", "state", report["oldest_s"])


def _queues(report: dict[str, Any]) -> Iterator[Metric]:
    slots = {
        queue: sum(worker["concurrency"] for worker in report["workers"] if queue in worker["queues"])
        for queue in report["queues"]
    }
    yield _labelled(
        "queue_depth", "Messages that wait, in the queue or for their job's turn.", "queue", report["queues"]
    )
    yield _labelled("queue_oldest_wait_seconds", "How long what has waited longest waits.", "queue", report["waits_s"])
    yield _labelled("queue_processes", "Processes of workers that take from the queue.", "queue", slots)
    yield _gauge("leases", "Messages that a worker has.", report["unacked"])
    yield _gauge(
        "lease_age_seconds", "Since when the lease that was renewed first is not renewed.", report["lease_age_s"]
    )


def _workers(workers: list[dict[str, Any]]) -> Iterator[Metric]:
    yield _gauge("workers", "Workers seen.", len(workers))
    for name, (key, words) in WORKER.items():
        yield _labelled(f"worker_{name}", words, "worker", {w["name"]: w[key] for w in workers if key in w})


def _counted(counted: Counted) -> Iterator[Metric]:
    for metric, name, label, words in (
        ("jobs_ended", figures.ENDED, "state", "Jobs that ended."),
        ("repairs", figures.REPAIRS, "kind", "Jobs that were started again unasked, or brought back to Redis."),
        ("lease_events", figures.LEASES, "event", "Leases that ended, were lost by their worker, or acknowledged late."),
        ("analysis_chunks", figures.CHUNKS, "source", "Chunks whose analysis was in the store, or was to be made."),
        ("task_kills", figures.KILLS, "why", "Processes that died at a task, or were killed since they did not stop."),
    ):  # fmt: skip
        yield _labelled_counter(metric, words, (label,), {(value,): n for value, n in counted.counts(name)})
    for metric, name, words in (
        ("task_failures", figures.FAILURES, "Tasks that failed."),
        ("task_retries", figures.RETRIES, "Runs of tasks that failed and are tried again."),
    ):
        of = {tuple(value.split("/")): n for value, n in counted.counts(name)}
        yield _labelled_counter(metric, words, ("task", "code"), of)
    for metric, name, label, words in (
        ("task_run_seconds", figures.RUN, "task", "Time of a task's run."),
        ("queue_wait_seconds", figures.WAIT, "queue", "Time from when a task could begin until it did."),
    ):
        family = HistogramMetricFamily(f"topclip_{metric}", words, labels=(label,))
        for value, times in counted.times(name):
            family.add_metric((value,), list(times.buckets), times.sum_s)
        yield family


def _gauge(name: str, words: str, figure: float) -> Metric:
    return GaugeMetricFamily(f"topclip_{name}", words, float(figure))


def _labelled(name: str, words: str, label: str, of: dict[str, float]) -> Metric:
    family = GaugeMetricFamily(f"topclip_{name}", words, labels=(label,))
    for value, figure in of.items():
        family.add_metric((value,), float(figure))
    return family


def _labelled_counter(name: str, words: str, labels: tuple[str, ...], of: dict[tuple[str, ...], float]) -> Metric:
    family = CounterMetricFamily(f"topclip_{name}", words, labels=labels)
    for values, figure in of.items():
        family.add_metric(values, figure)
    return family
