"""How often somebody may ask, by the `limits` library: counters of a window that begins with the first request.

Submits are counted in Redis, for all web servers together; while Redis does not answer they are not counted, nor taken.
All else is counted in this process: a cached status must not cost a trip to Redis.
"""

import math
import time
from collections.abc import Sequence

from flask import Flask, request
from limits import RateLimitItem, parse, parse_many
from limits.errors import StorageError
from limits.storage import RedisStorage
from limits.strategies import FixedWindowRateLimiter

from topclip.config import Settings
from topclip.errors import RateLimited
from web import caller
from web.counters import Counters
from web.services import services
from workers.links import Profile, redis_client

SUBMITS, READS = "60/minute", "30000/minute"
"""Where keys are needed and nothing else is set."""
PATIENCE = Profile(connect_timeout_s=0.15, timeout_s=0.2, patient=False)
"""Less than the web's own: a submit that finds Redis frozen waits for it once more, and is answered within a second."""
WRONG_KEYS = "20/minute"
UNKNOWN_KEYS = "300/minute"
"""While the store does not say which keys there are: an honest one is refused as well then."""
FREE_BLUEPRINTS = ("health",)
FREE_ENDPOINTS = ("static", "sign_in", "sign_out")
CHEAP_POSTS = ("jobs.cancel",)
"""What makes no work: it is always possible to stop what one has begun."""


class Rates:
    """The bounds for each key, or for each address where there are none."""

    def __init__(self, settings: Settings) -> None:
        self._submits = _Window(settings.submit_rate, SUBMITS, _shared(settings))
        self._reads = _Window(settings.read_rate, READS, FixedWindowRateLimiter(Counters()))

    def register(self, app: Flask) -> None:
        """Have every request counted."""
        app.before_request(self.count)

    def count(self) -> None:
        """Count the current request. Raises: RateLimited."""
        if request.endpoint in FREE_ENDPOINTS or request.blueprint in FREE_BLUEPRINTS:
            return
        if request.method not in ("POST", "PATCH") or request.endpoint in CHEAP_POSTS:
            self._reads.count("read", caller.is_closed())
        elif services().watch.is_up:
            self._submits.count("submit", caller.is_closed())


class Guesses:
    """How often an address may show a wrong key. Counted in this process, so that nobody gains by a dead Redis."""

    def __init__(self, rate: str) -> None:
        self._limiter, self._item = FixedWindowRateLimiter(Counters()), parse(rate)

    def refuse_too_many(self, address: str) -> None:
        """Raises: RateLimited if it was wrong too often."""
        if not self._limiter.test(self._item, address):
            raise _limited(self._limiter, self._item, (address,), "too many wrong keys")

    def count(self, address: str) -> None:
        """It was wrong."""
        self._limiter.hit(self._item, address)


class _Window:
    """One bound: what is set, else what holds where keys are needed."""

    def __init__(self, rate: str, default: str, limiter: FixedWindowRateLimiter) -> None:
        self._set = None if not rate else [] if rate == "off" else parse_many(rate)
        self._default = [parse(default)]
        self._limiter = limiter

    def count(self, what: str, is_closed: bool) -> None:
        items = self._set if self._set is not None else self._default if is_closed else ()
        try:
            for item in items:
                self._spend(item, (what, caller.counted_as()))
        except StorageError:
            return  # Redis is away: open

    def _spend(self, item: RateLimitItem, names: tuple[str, str]) -> None:
        if not self._limiter.hit(item, *names):
            raise _limited(self._limiter, item, names, f"more than {item} by one key or address")


def _shared(settings: Settings) -> FixedWindowRateLimiter:
    pool = redis_client(settings, PATIENCE).connection_pool
    prefix = f"{settings.key_prefix}rate"
    return FixedWindowRateLimiter(
        RedisStorage("redis://", connection_pool=pool, key_prefix=prefix, wrap_exceptions=True)
    )


def _limited(limiter: FixedWindowRateLimiter, item: RateLimitItem, names: Sequence[str], message: str) -> RateLimited:
    reset_at = limiter.storage.get_expiry(item.key_for(*names))
    wait_s = max(1, min(item.get_expiry(), math.ceil(reset_at - time.time())))
    return RateLimited(message, {"retry_after_s": wait_s, "hint": f"try again in {wait_s} s"})
