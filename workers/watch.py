"""One thread of a process that knows whether Redis answers, and hears of every change of a job."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError
from redis import Redis
from redis.client import PubSub
from redis.exceptions import RedisError

from topclip.config import Settings
from topclip.model.job import JobEvent
from workers import keys
from workers.breaker import Breaker
from workers.links import FAULTS, WEB, redis_client
from workers.patience import ask_sentinel

log = logging.getLogger(__name__)

PING_EVERY_S = 0.5
LOOK_EVERY_S = 2.0
"""Sentinel is asked who is master."""
MOST_REASONS = 5
"""That are said of one outage, each once: the first one may not be what keeps Redis away."""
SILENT_AFTER_S = 1.0
"""Without a word for so long, what is known of a job is called stale."""


class Watch:
    """One subscription of a process, and the pulse of Redis.

    on_event(event) is called for each JobEvent; on_gap() whenever events may have been missed (first connection and each
    reconnection): whoever caches must then read again. Both are called on the watch's own thread and must be quick.
    The breaker is told of every ping.
    """

    def __init__(
        self,
        settings: Settings,
        on_event: Callable[[JobEvent], None],
        on_gap: Callable[[], None],
        breaker: Breaker | None = None,
    ) -> None:
        self._settings, self._on_event, self._on_gap = settings, on_event, on_gap
        self._breaker = breaker or Breaker()
        self._channel = settings.key_prefix + keys.EVENTS
        self._heard_at = float("-inf")
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="redis-watch", daemon=True)
        self._is_connected: bool | None = None  # until the first try
        self._said = set[str]()

    def start(self) -> None:
        """Begin to watch. Call it after a fork, never before."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2)

    @property
    def is_up(self) -> bool:
        """Whether Redis answered within the last second."""
        return self.last_word_age_s <= SILENT_AFTER_S

    @property
    def last_word_age_s(self) -> float:
        """Seconds since Redis last answered; infinity if it never did."""
        return time.monotonic() - self._heard_at

    def _run(self) -> None:
        redis = redis_client(self._settings, WEB)
        while not self._stopped.is_set():
            try:
                with redis.pubsub() as pubsub:
                    self._follow(redis, pubsub)
            except (RedisError, OSError) as err:
                self._breaker.failed(time.monotonic(), err)
                self._lost(err)
            except FAULTS:  # of those who were told: they are told anew that events may have been missed
                log.exception("the watch begins anew")
            self._stopped.wait(0.2)
        redis.close()

    def _follow(self, redis: Redis, pubsub: PubSub) -> None:
        pubsub.subscribe(self._channel)
        self._ping(redis)
        self._found()
        next_ping_at = next_look_at = 0.0
        while not self._stopped.is_set():
            if time.monotonic() >= next_ping_at:
                self._ping(redis)
                next_ping_at = self._heard_at + PING_EVERY_S
            if time.monotonic() >= next_look_at:
                next_look_at = time.monotonic() + LOOK_EVERY_S
                with contextlib.suppress(RedisError):  # the master may be well where no sentinel is
                    ask_sentinel(redis)  # the subscription ends where it names another one
            wait_s = max(0.0, next_ping_at - time.monotonic())
            self._hear(pubsub.get_message(timeout=wait_s))

    def _ping(self, redis: Redis) -> None:
        redis.ping()
        self._heard_at = time.monotonic()
        self._breaker.succeeded()

    def _hear(self, message: dict[str, Any] | None) -> None:
        if message is None or message["type"] not in ("message", "subscribe"):
            return
        self._heard_at = time.monotonic()
        if message["type"] == "subscribe":
            self._on_gap()
            return
        try:
            event = JobEvent.model_validate_json(message["data"])
        except ValidationError as err:
            log.warning("not an event of a job: %s", err)
            return
        self._on_event(event)

    def _found(self) -> None:
        if not self._is_connected:
            log.info("[OK] Redis connected: %s", self._settings.masked_redis_url)
        self._is_connected = True
        self._said.clear()

    def _lost(self, err: Exception) -> None:
        self._is_connected = False
        if str(err) not in self._said and len(self._said) < MOST_REASONS:
            self._said.add(str(err))
            log.warning("[WARN] Redis is not reachable at %s: %s; going on", self._settings.masked_redis_url, err)
