"""What leases cost, and what they are for.

Empty tasks a second through a worker with leases against the same worker with stock kombu, in pairs; and a task of five leases,
fifty times on two workers, which must start once each time.
"""

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from celery import Celery

from bench import record
from tests.nodes import RedisContainer, WorkerContainer
from tests.waiting import until
from topclip.config import Settings
from workers.links import WEB, make_app

N_TASKS = 1500
LEASE_S = 4.0
LONG_S = 20
N_LONG = 50
QUEUE = "control"


class BenchWorker(WorkerContainer):
    """A worker of the bench's own tasks."""

    def __init__(self, folder: Path, name: str, settings: Settings, module: str, concurrency: int) -> None:
        self._module = module
        super().__init__(folder, name, settings.to_env(), concurrency)

    def argv(self) -> list[str]:
        """That of a worker, of another application."""
        return [self._module if word == "workers.app" else word for word in super().argv()]


def measure() -> None:
    """Run the bench."""
    leased, stock = record.pairs(lambda: rate("bench.leased_app"), lambda: rate("bench.stock_app"))
    figures = {
        "empty tasks a second, leased": record.spread(leased),
        "empty tasks a second, stock": record.spread(stock),
        "leased to stock": record.spread([a / b for a, b in zip(leased, stock, strict=True)]),
        f"{N_LONG} tasks of {LONG_S} s at a lease of {LEASE_S:g} s, by how often they started": starts_of_long_tasks(),
    }
    record.write("lease", "make bench ARGS=lease", figures)


@contextmanager
def redis_and_app() -> Iterator[tuple[Path, RedisContainer, Settings, Celery]]:
    """A Redis of its own, and a client."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        redis = RedisContainer(folder)
        assert redis.ready()
        settings = Settings(redis_url=redis.url, data_dir=folder, lease_s=LEASE_S)
        app = make_app(settings, WEB)
        try:
            yield folder, redis, settings, app
        finally:
            app.close()
            redis.teardown()


def rate(module: str) -> float:
    """Empty tasks a second, from when the worker has begun."""
    with redis_and_app() as (folder, redis, settings, app):
        for _ in range(N_TASKS):
            app.send_task("bench.empty", queue=QUEUE)
        worker = BenchWorker(folder, "bench", settings, module, concurrency=1)
        try:
            depth = settings.key_prefix + QUEUE
            first = until(lambda: N_TASKS - int(redis.client.llen(depth)), 60, step_s=0.001)
            started = time.perf_counter()
            until(lambda: not redis.client.exists(depth, settings.key_prefix + "unacked"), 300, step_s=0.002)
            return (N_TASKS - first) / (time.perf_counter() - started)
        finally:
            worker.teardown()


def starts_of_long_tasks() -> dict[int, int]:
    """How many of the long tasks started once, twice, ..."""
    with redis_and_app() as (folder, redis, settings, app):
        workers = [
            BenchWorker(folder, f"w{i}", settings, "bench.leased_app", concurrency=N_LONG // 4) for i in range(2)
        ]
        try:
            for n in range(N_LONG):
                app.send_task("bench.long", args=(n, LONG_S), queue=QUEUE)
            until(lambda: redis.client.hlen("bench-ends") == N_LONG, 20 * LONG_S)
            return dict(Counter(int(n) for n in redis.client.hvals("bench-starts")))
        finally:
            for worker in workers:
                worker.teardown()
