"""A circuit breaker before Redis: while it is away nobody waits for it but one who tries, every two seconds.

A class of our own: pybreaker and circuitbreaker wrap calls and know their outcome alone, here the watch's ping, which comes
from another connection, closes it too, and what failed late must not open it again.
"""

import threading
from collections.abc import Callable
from time import monotonic
from typing import Final

from redis.exceptions import ConnectionError as RedisConnectionError

from workers.refusal import reason

FAILURES: Final = 3
"""So many in a row open it."""
OPEN_S: Final = 2.0


class BreakerOpen(RedisConnectionError):  # type: ignore[misc]  # redis-py is untyped here
    """Redis did not answer of late, and was not asked now; its text is the reason of the last who did ask."""


class Breaker:
    """Counts what came of calls. All methods may be called from any thread."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._why = ""
        self._open_until_s = float("-inf")
        self._healed_s = float("-inf")

    @property
    def is_open(self) -> bool:
        """Whether callers are refused, all but one who tries."""
        return self._failures >= FAILURES

    def enter(self) -> float:
        """Ask whether to call; the moment, to be given to `failed`. Raises: BreakerOpen."""
        with self._lock:
            now_s = self._clock()
            if self.is_open:
                if now_s < self._open_until_s:
                    raise BreakerOpen(self._why)
                self._open_until_s = now_s + OPEN_S  # this caller tries; the next one may when it was not heard of
            return now_s

    def succeeded(self) -> None:
        """Redis answered."""
        with self._lock:
            self._failures, self._healed_s = 0, self._clock()

    def failed(self, begun_s: float, err: Exception) -> None:
        """A call that began then was not answered. One from before the last answer tells nothing."""
        with self._lock:
            if begun_s < self._healed_s:
                return
            self._why = reason(err)
            self._failures += 1
            if self.is_open:
                self._open_until_s = self._clock() + OPEN_S
