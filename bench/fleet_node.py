"""Some hundred simulated workers in one process: `python -m bench.fleet_node NAME WORKERS`, told by lines of JSON on its input.

To Redis they are workers: each has its own connection with our channel and leases its deliveries; the real tasks run through
Celery's own tracer, with everything that they ask and tell; each has a keeper, a reconciler and whoever looks for callbacks, at
the real intervals. What they are not: processes of their own (threads of this one), and busy (the stages sleep).
Every line of input says {"awake": how many work, "task_s": how long a part takes}; each is answered by a line of what was done.
"""

import contextlib
import heapq
import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from celery.worker import state as worker_state
from celery.worker.request import Request
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from bench.fleet_stages import CONTROL_WORKERS, NODE, replace_stages
from workers import names, runtime
from workers.app import app
from workers.callbacks import publish_due
from workers.keeper import Keeper
from workers.lease import LEASES
from workers.links import FAULTS, KEEPER, redis_client
from workers.reconciler import Reconciler
from workers.scripts import Scripts

HEARTBEAT_S = 2.0


class SimulatedWorker:
    """One worker of concurrency 1, as a thread."""

    concurrency = 1

    def __init__(self, node: str, n: int) -> None:
        self.app, self.hostname = app, f"{node}-{n}@fleet"
        self.leaving, self.footprint = SimpleNamespace(run=uuid4().hex), dict[str, float]()
        self.is_control = n < CONTROL_WORKERS
        self._n = n
        self.request: Request | None = None
        self.qos: Any = None
        self.keeper, self.reconciler = SimulatedKeeper(self), SimulatedReconciler(self)

    @property
    def is_awake(self) -> bool:
        """Whether it works."""
        return self.is_control or self._n < NODE.awake

    def run(self) -> None:
        """Take one message after the other."""
        queues = [names.CONTROL_QUEUE] if self.is_control else list(names.QUEUES)
        with app.connection_for_read() as connection:
            channel = connection.channel()
            channel.basic_qos(0, 1, False)
            consumer = app.amqp.TaskConsumer(
                channel, queues=[app.amqp.queues[q] for q in queues], on_message=self._take
            )
            self.qos = channel.qos
            while True:
                if self.is_awake:
                    consumer.consume()  # no more than once
                else:
                    consumer.cancel()  # what is still on its way to us goes back
                with contextlib.suppress(TimeoutError):
                    connection.drain_events(timeout=2.0)

    def _take(self, message: Any) -> None:
        task = app.tasks[message.headers["task"]]
        request = Request(
            message, app=app, task=task, hostname=self.hostname, on_ack=message.ack_log_error,
            on_reject=message.reject_log_error, connection_errors=FAULTS,
        )  # fmt: skip
        request.worker_pid = os.getpid()
        self.request = request
        worker_state.active_requests.add(request)
        _tell("task-received", uuid=request.id, name=request.name, args=request._argsrepr, kwargs=request._kwargsrepr)
        _tell("task-started", uuid=request.id)
        request.execute()
        _tell("task-succeeded", uuid=request.id, runtime=NODE.task_s)
        worker_state.active_requests.discard(request)
        self.request = None
        NODE.tasks += 1

    def sweep(self) -> None:
        """What kombu does each second in a real worker's loop."""
        if self.is_awake and self.qos is not None:
            self.qos.restore_visible()

    def heartbeat(self) -> None:
        """What Celery does in a real worker's loop."""
        if self.is_awake:
            _tell("worker-heartbeat", freq=HEARTBEAT_S, active=int(self.request is not None), processed=NODE.tasks)


class SimulatedKeeper(Keeper):
    """The keeper of one simulated worker: others tick it."""

    def __init__(self, worker: SimulatedWorker) -> None:
        super().__init__(worker)
        self._worker = worker

    def _held(self) -> list[Any]:
        request = self._worker.request
        return [request] if request and not request.acknowledged else []

    def tick(self) -> None:
        """As a real one, where its worker is awake."""
        if self._worker.is_awake:
            super().tick()


class SimulatedReconciler(Reconciler):
    """The reconciler of one simulated worker: others have it look."""

    def __init__(self, worker: SimulatedWorker) -> None:
        super().__init__(worker)
        self._worker, self._name = worker, worker.hostname

    def look(self) -> None:
        """One round."""
        if self._worker.is_awake:
            for step in self._attempt(lambda: self._steps(app)) or ():
                self._attempt(step)


class Ticker(threading.Thread):
    """Calls functions at intervals, one after the other; `n` of them so far."""

    def __init__(self, name: str, every_s: float, functions: Sequence[Callable[[], object]]) -> None:
        super().__init__(name=name, daemon=True)
        self.n = 0
        self._every_s, self._functions = every_s, functions

    def run(self) -> None:
        """For ever. What comes too late is not made up for."""
        now = time.monotonic()
        heap = [(now + random.random() * self._every_s, i) for i in range(len(self._functions))]
        heapq.heapify(heap)
        while True:
            due, i = heap[0]
            time.sleep(max(0.0, due - time.monotonic()))
            with contextlib.suppress(*FAULTS):
                self._functions[i]()
            self.n += 1
            heapq.heapreplace(heap, (max(due + self._every_s, time.monotonic()), i))


EVENTS = app.events.Dispatcher(app.connection_for_write(), hostname="fleet", enabled=True)


def _tell(kind: str, **fields: Any) -> None:
    with contextlib.suppress(OperationalError, RedisError, OSError):
        EVENTS.send(kind, **fields)


def main(node: str, n_workers: int) -> None:
    """Be so many workers until the input ends."""
    settings = runtime.settings()
    app.loader.import_default_modules()
    app.finalize()
    replace_stages()
    LEASES.is_kept = True
    workers = [SimulatedWorker(node, n) for n in range(n_workers)]
    scripts = Scripts(redis_client(settings, KEEPER), settings.key_prefix)
    look_s = min(10.0, settings.lease_s / 2)
    tickers = [
        Ticker("keepers", min(1.0, settings.lease_s / 6), [w.keeper.tick for w in workers]),
        Ticker("sweeps", 1.0, [w.sweep for w in workers]),
        Ticker(
            "callbacks",
            1.0,
            [lambda w=w: w.is_awake and LEASES.is_our_turn() and publish_due(app, scripts) for w in workers],
        ),
        Ticker("heartbeats", HEARTBEAT_S, [w.heartbeat for w in workers]),
        Ticker("reconcilers", look_s, [w.reconciler.look for w in workers]),
    ]
    threading.stack_size(512 * 1024)
    for thread in [*tickers, *(threading.Thread(target=w.run, daemon=True) for w in workers)]:
        thread.start()
    for line in sys.stdin:
        told = json.loads(line)
        NODE.awake, NODE.task_s = told["awake"], told["task_s"]
        print(json.dumps({"tasks": NODE.tasks, **{t.name: t.n for t in tickers}}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
