"""The worker's keeper: a thread that renews leases, delivers late acknowledgements, and says that the worker lives.

A thread, since the main loop stands still while it drains or reconnects; with a connection of its own, since the loop's may be
gone; on the worker itself and a daemon, so that it goes on until the process ends, through drains and outages.
"""

import logging
import os
import threading
import time
from typing import Any

from celery import bootsteps
from celery.worker import state as worker_state
from redis.exceptions import RedisError

from topclip.config import Settings
from workers.lease import LEASES, RENEW, lease_keys
from workers.links import KEEPER, redis_client

log = logging.getLogger(__name__)

TICKS_PER_LEASE = 6
"""Renewals in one lease: five may fail before it ends."""
HEARTBEAT_TTL_S = 10


class Keeper(bootsteps.StartStopStep):  # type: ignore[misc]
    """The thread's place in the worker."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        settings = Settings.from_env()
        self._lease_s = settings.lease_s
        self._tick_s = min(1.0, settings.lease_s / TICKS_PER_LEASE)
        self._prefix = settings.key_prefix
        self._redis = redis_client(settings, KEEPER)
        self._renewed_at = 0.0
        self._heard_at = time.monotonic()

    def start(self, worker: Any) -> None:
        """Begin to tick. There is no stop: the thread ends with the process."""
        self._worker = worker
        threading.Thread(target=self._keep, name="keeper", daemon=True).start()

    def _keep(self) -> None:
        self._wait_for_owners()
        while True:
            time.sleep(self._tick_s)
            try:
                self.tick()
            except RedisError as err:
                log.debug("keeper: no word from Redis: %s", err)

    def tick(self) -> None:
        """One round. Raises: RedisError."""
        self._say_alive()
        now = time.monotonic()
        if now - self._heard_at > max(2.0, self._lease_s / 2):  # an outage, a frozen Redis, or this worker was paused
            self._give_owners_time(now)
        self._heard_at = now
        self._deliver_late()
        if now - self._renewed_at >= self._lease_s / TICKS_PER_LEASE:
            self._renew()
            self._renewed_at = now

    def _wait_for_owners(self) -> None:
        """After a restart of Redis itself, owners renew before anybody sweeps."""
        try:
            up_s = float(self._redis.info("server")["uptime_in_seconds"])
        except RedisError:
            up_s = 0.0
        LEASES.sweep_from = time.monotonic() + max(0.0, self._lease_s - up_s)

    def _give_owners_time(self, now: float) -> None:
        log.warning("Redis was out of reach; no lease is ended by this worker for %.0f s", self._lease_s)
        LEASES.sweep_from = now + self._lease_s

    def _renew(self) -> None:
        held = [x for tag in self._tags() if (value := LEASES.held.get(tag)) for x in (tag, value)]
        if not held:
            return
        for tag in self._redis.eval(RENEW, 3, *lease_keys(self._prefix), *held):
            log.warning("lease of delivery %s is lost; its task publishes nothing", tag)
            LEASES.drop(tag)

    @staticmethod
    def _tags() -> list[str]:
        """Delivery tags of the requests that this worker runs, has reserved, or keeps until their time comes."""
        sets = (worker_state.active_requests, worker_state.reserved_requests, worker_state.scheduled_requests)
        for _ in range(5):
            try:
                return [r.message.delivery_tag for s in sets for r in list(s) if not r.acknowledged]
            except RuntimeError:  # a weak set changed while it was copied
                continue
        return []

    def _deliver_late(self) -> None:
        for tag, (script, value) in list(LEASES.late.items()):
            self._redis.eval(script, 3, *lease_keys(self._prefix), tag, value)
            with LEASES.lock:
                LEASES.late.pop(tag, None)
                LEASES.held.pop(tag, None)

    def _say_alive(self) -> None:
        name, now = self._worker.hostname, time.time()
        says = {
            "pid": os.getpid(),
            "concurrency": self._worker.concurrency,
            "active": len(worker_state.active_requests),
            "seen_at": now,
        }
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.hset(f"{self._prefix}worker:{name}", mapping={k: str(v) for k, v in says.items()})
            pipe.expire(f"{self._prefix}worker:{name}", HEARTBEAT_TTL_S)
            pipe.zadd(self._prefix + "workers", {name: now})
            pipe.zremrangebyscore(self._prefix + "workers", 0, now - HEARTBEAT_TTL_S)
            pipe.execute()
