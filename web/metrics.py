"""Prometheus metrics of one web process, in a registry of their own."""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from web.vitals import Vitals

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)


class Metrics:
    """Counters that views add to; jobs, queue and workers are asked for when somebody scrapes."""

    def __init__(self, vitals: Vitals) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self.requests = Counter("topclip_http_requests", "Requests answered.", labels, registry=self.registry)
        self.seconds = Histogram(
            "topclip_http_request_seconds",
            "Seconds to the first byte of the answer.",
            ("route",),
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self.statuses = Counter(
            "topclip_status_reads", "Statuses given, by where they came from.", ("source",), registry=self.registry
        )
        self.registry.register(_Vitals(vitals))

    def exposition(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self.registry)


class _Vitals(Collector):
    """What `/health` says, as gauges."""

    def __init__(self, vitals: Vitals) -> None:
        self._vitals = vitals

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not ask Redis."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """One gauge for each figure that is known."""
        doc = self._vitals.look().document
        yield GaugeMetricFamily("topclip_redis_up", "Whether Redis answers.", float(doc["redis"]["status"] != "down"))
        jobs = GaugeMetricFamily("topclip_jobs", "Jobs by state.", labels=("state",))
        for state, n in doc["jobs"].items():
            jobs.add_metric((state,), n)
        yield jobs
        yield GaugeMetricFamily("topclip_workers", "Workers seen.", len(doc["workers"]))
        if doc["queue_depth"] is not None:
            yield GaugeMetricFamily("topclip_queue_depth", "Messages that wait.", doc["queue_depth"])
        if doc["redis"].get("used_memory") is not None:
            yield GaugeMetricFamily("topclip_redis_used_bytes", "Redis's memory.", doc["redis"]["used_memory"])
        if doc["store"]["free_bytes"] is not None:
            yield GaugeMetricFamily("topclip_store_free_bytes", "Room left in the store.", doc["store"]["free_bytes"])
        for name, words in (("budget", "Room that the store may take."), ("used", "What the store holds.")):
            if (figure := doc["store"].get(f"{name}_bytes")) is not None:
                yield GaugeMetricFamily(f"topclip_store_{name}_bytes", words, figure)
