"""Prometheus metrics of one web process, in a registry of their own."""

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.registry import Collector

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)


class Metrics:
    """Counters that views add to. gauges: what is asked for when somebody scrapes."""

    def __init__(self, gauges: Collector) -> None:
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
        ProcessCollector(registry=self.registry)
        self.registry.register(gauges)

    def exposition(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self.registry)
