"""The worker's keeper: a thread that renews leases, delivers late acknowledgements and what could not be taken, and says that
the worker lives.

A thread, since the main loop stands still while it drains or reconnects; with a connection of its own, since the loop's may be
gone; on the worker itself and a daemon, so that it goes on until the process ends, through drains and outages.
"""

import contextlib
import logging
import os
import signal
import threading
import time
from typing import Any

from celery import bootsteps
from celery.worker import state as worker_state

from topclip.config import Settings
from workers import figures, keys
from workers.backend import fence, header_of
from workers.figures import FIGURES
from workers.footprint import Footprint
from workers.lease import BEAT, LEASES, PUT_BACK, RENEW, run_script, tag_and_value
from workers.links import FAULTS, KEEPER, redis_client, redis_now
from workers.scripts import Scripts

log = logging.getLogger(__name__)

TICKS_PER_LEASE = 6
"""Renewals in one lease: five may fail before it ends."""
HEARTBEAT_TTL_S = 10
LISTEN_EVERY_S = 1.0
DEAF_AFTER_S = 3.0
"""A task that is told to stop does so within a second or two, or never."""
SILENT_AFTER_S = 600.0
"""Longest time without a word from a task: more than any single call of a decoder, a hash or a plan takes."""


class Keeper(bootsteps.StartStopStep):  # type: ignore[misc]
    """The thread's place in the worker."""

    requires = ("celery.worker.components:Pool", Footprint)

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        settings = Settings.from_env()
        self._lease_s = settings.lease_s
        self._tick_s = min(1.0, settings.lease_s / TICKS_PER_LEASE)
        self._prefix = settings.key_prefix
        self._redis = redis_client(settings, KEEPER)
        self._scripts = Scripts(self._redis, self._prefix)
        self._renewed_at = self._listened_at = 0.0
        self._deaf: dict[str, float] = {}
        self._heard_at = self._in_touch_since = time.monotonic()

    def start(self, worker: Any) -> None:
        """Begin to tick. There is no stop: the thread ends with the process."""
        self._worker = worker
        LEASES.is_kept = True
        threading.Thread(target=self._keep, name="keeper", daemon=True).start()

    def _keep(self) -> None:
        while True:
            time.sleep(self._tick_s)
            try:
                self.tick()
            except FAULTS as err:  # whatever it was, leases must be renewed
                log.warning("keeper: this round failed: %s: %s", type(err).__name__, err)

    def tick(self) -> None:
        """One round. Raises: RedisError."""
        self._say_alive()
        if self._lease_script(BEAT, self._lease_s):
            log.warning("no worker was heard of for a while; no lease is ended for %g s", self._lease_s)
        now = time.monotonic()
        if now - self._heard_at > max(2.0, self._lease_s / 2):  # an outage, a frozen Redis, or this worker was paused
            self._in_touch_since = now  # nobody could say anything meanwhile
        self._heard_at = now
        if now - self._renewed_at >= self._lease_s / TICKS_PER_LEASE:
            self._renew()
            self._renewed_at = now
        self._deliver_late()
        if now - self._listened_at >= LISTEN_EVERY_S:
            self._end_the_deaf(now)
            self._listened_at = now
            FIGURES.write(self._redis, self._prefix)

    def _renew(self) -> None:
        held = [x for request in self._held() for x in tag_and_value(request.message.delivery_tag)]
        if not held:
            return
        for tag in self._lease_script(RENEW, *held):
            log.warning("lease of delivery %s is lost; its task publishes nothing", tag)
            FIGURES.count(figures.LEASES, "lost")

    def _held(self) -> list[Any]:
        """The requests that this worker runs, has reserved, or keeps until their time comes.

        One whose process is gone is no longer held: the main loop hears of a death and drops the request, but should that have
        failed, its lease would be renewed for ever. The main loop is asked to hand it back.
        """
        pool = self._worker.pool._pool  # None once it was stopped: its processes are gone
        living = {process.pid for process in list(pool._pool)} if pool else set()
        held: list[Any] = []
        for request in _unacknowledged():
            if request.worker_pid and request.worker_pid not in living:
                self._worker.consumer.call_soon(_hand_back, request)
            else:
                held.append(request)
        return held

    def _deliver_late(self) -> None:
        for delivery_tag, (script, job) in list(LEASES.late.items()):
            self._lease_script(script, *tag_and_value(delivery_tag), keys.starts(self._prefix, job))
            LEASES.late.pop(delivery_tag, None)
            FIGURES.count(figures.LEASES, "late")
        while LEASES.untaken:
            self._lease_script(PUT_BACK, *LEASES.untaken[0])
            del LEASES.untaken[0]

    def _end_the_deaf(self, now: float) -> None:
        """Kill the process of a task that must stop and does not, or that has said nothing for too long.

        The task itself asks whether to go on; this is for one that hangs in a decoder or a dead network folder. What becomes
        of the part is decided as for every killed process (workers/request.py).
        """
        current = {}
        for request in self._held():
            header = header_of(request._context)
            if not header or not request.worker_pid or request not in worker_state.active_requests:
                continue
            verdict, silent_s = self._scripts("listen", header["job"], *fence(header), header["part"])
            since = now  # of the first word that it must stop: a worker that was frozen has not been told yet
            if verdict != "OK":
                since = current[request.message.delivery_tag] = self._deaf.get(request.message.delivery_tag, now)
            if now - since > DEAF_AFTER_S or min(float(silent_s), now - self._in_touch_since) > SILENT_AFTER_S:
                log.error("%s does not stop (%s, silent for %s s); its process is killed", request, verdict, silent_s)
                FIGURES.count(figures.KILLS, "deaf")
                with contextlib.suppress(ProcessLookupError):
                    os.kill(request.worker_pid, signal.SIGKILL)
        self._deaf = current

    def _lease_script(self, script: str, *args: Any) -> Any:
        return run_script(self._redis, self._prefix, script, *args)

    def _say_alive(self) -> None:
        name, now = self._worker.hostname, redis_now(self._redis)
        LEASES.redis_ahead_s = now - time.time()
        says = {
            "pid": os.getpid(),
            "run": self._worker.leaving.run,
            "concurrency": self._worker.concurrency,
            "active": len(worker_state.active_requests),
            "clock_ahead_s": round(-LEASES.redis_ahead_s, 1),
            "lease_s": self._lease_s,
            "queues": ",".join(self._worker.app.amqp.queues.consume_from),
            **{name: n for name, n in self._worker.footprint.items() if n is not None},
        }
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.hset(f"{self._prefix}worker:{name}", mapping={k: str(v) for k, v in says.items()})
            pipe.expire(f"{self._prefix}worker:{name}", HEARTBEAT_TTL_S)
            pipe.zadd(self._prefix + keys.WORKERS, {name: now})
            pipe.zremrangebyscore(self._prefix + keys.WORKERS, 0, now - HEARTBEAT_TTL_S)
            pipe.zcard(self._prefix + keys.WORKERS)
            LEASES.n_workers = pipe.execute()[-1]


def _unacknowledged() -> list[Any]:
    sets = (worker_state.active_requests, worker_state.reserved_requests, worker_state.scheduled_requests)
    for _ in range(5):
        try:
            return list({id(r): r for s in sets for r in list(s) if not r.acknowledged}.values())
        except RuntimeError:  # a weak set changed while it was copied
            continue
    return []


def _hand_back(request: Any) -> None:
    if not request.acknowledged:
        log.error("the process of %s is gone; it goes back to its queue", request)
        worker_state.task_ready(request)
        LEASES.died(request.message.delivery_tag)
        request.reject(requeue=True)
