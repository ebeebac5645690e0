"""Counters in this process, for the `limits` library. Its own ones start a thread now and again, which takes longer than a
cached status, and they have no bound.
"""

import threading
import time

from cachetools import LRUCache
from limits.storage import Storage

MAX_COUNTERS = 100_000


class Counters(Storage):
    """A counter for each key, until its window is over. See limits.storage.Storage."""

    STORAGE_SCHEME = None

    def __init__(self) -> None:
        super().__init__()
        self._found: LRUCache[str, tuple[int, float]] = LRUCache(MAX_COUNTERS)
        """By key: how many, and when the window ends, seconds since 1970."""
        self._lock = threading.Lock()

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        """Nothing can go wrong."""
        return ()

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count; a new window begins where none is."""
        now = time.time()
        with self._lock:
            n, end = self._found.get(key, (0, 0.0))
            if end <= now:
                n, end = 0, now + expiry
            self._found[key] = (n + amount, end)
        return n + amount

    def get(self, key: str) -> int:
        """How many there were in the window."""
        with self._lock:
            n, end = self._found.get(key, (0, 0.0))
        return n if end > time.time() else 0

    def get_expiry(self, key: str) -> float:
        """When the window ends, seconds since 1970."""
        with self._lock:
            return self._found.get(key, (0, time.time()))[1]

    def check(self) -> bool:
        """It is always there."""
        return True

    def reset(self) -> int | None:
        """Forget all."""
        with self._lock:
            n = len(self._found)
            self._found.clear()
        return n

    def clear(self, key: str) -> None:
        """Forget one."""
        with self._lock:
            self._found.pop(key, None)
