"""Our kind of kombu's Redis channel: its deliveries are leased, and parts are held until it is their job's turn.

A long source has hundreds of parts, and a queue is first come, first served: published at once, they would keep every job that
comes later waiting for hours. So a part's message goes to a list of its job, and the scripts let parts into the queue, one of
each job in turn, as processes become free. What kombu puts back (a lease that ended, a hand-back) and what a task publishes to
try again goes to the queue itself.
"""

import logging
import time
from datetime import datetime
from functools import cached_property
from json import JSONDecodeError
from queue import Empty
from time import monotonic
from typing import Any, Final

import kombu.transport.redis as kombu_redis
from kombu.utils.json import dumps
from redis import Redis

from workers import names
from workers.lease import LeasedQoS
from workers.links import redis_now
from workers.message import Message, Unreadable
from workers.patience import hurry_sentinels
from workers.scripts import Scripts

log = logging.getLogger(__name__)

CLOCK_KEPT_S: Final = 60.0
"""How long it is taken for known how far two clocks are apart."""


class Channel(kombu_redis.Channel):  # type: ignore[misc]
    """A channel to one Redis server."""

    QoS = LeasedQoS
    Message = Message
    _ahead_s, _ask_at = 0.0, 0.0

    def _brpop_read(self, **options: Any) -> Any:
        """Take a message. One that cannot be read is gone, and told of: it would end each worker that takes it."""
        try:
            return super()._brpop_read(**options)
        except (JSONDecodeError, RecursionError, UnicodeDecodeError, Unreadable) as err:
            log.error("what was taken from a queue is no message, and was dropped: %s", err)
            raise Empty from None

    def _receive_one(self, c: Any) -> Any:
        """Take what was told to all workers; what cannot be read is dropped too."""
        try:
            return super()._receive_one(c)
        except (RecursionError, Unreadable) as err:
            log.error("what was published is no message, and was dropped: %s", err)
            return False

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        """Publish a message, or hold it."""
        headers = message.get("headers") or {}
        if queue in names.QUEUES:
            headers[names.WAIT_S] = _wait_s(headers.get("eta"))
            headers[names.READY_AT] = self._ready_in(headers[names.WAIT_S])
        header = headers.get(names.HEADER)
        if not header or queue not in names.TURN_QUEUES or headers.get("retries"):
            super()._put(queue, message, **kwargs)
            return
        verdict = self._scripts("hold", header["job"], header["epoch"], queue, dumps(message))
        if verdict != b"OK":
            log.info("%s of job %s is not published: %s", header["part"], header["job"], verdict.decode())

    def _do_restore_message(self, payload: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        """Put back what was delivered: it waits anew."""
        headers = payload["headers"]
        if names.READY_AT in headers:
            headers[names.READY_AT] = max(self._ready_in(0.0), headers[names.READY_AT] if headers.get("eta") else 0.0)
        super()._do_restore_message(payload, *args, **kwargs)

    def _ready_in(self, wait_s: float) -> float:
        """When a task may begin that may so many seconds from now, by Redis' clock."""
        return round(time.time() + wait_s + self.redis_ahead_s, 3)

    @property
    def redis_ahead_s(self) -> float:
        """How much this machine's clock is behind Redis'; asked now and then, since clocks are set."""
        if monotonic() >= self._ask_at:
            self._ahead_s, self._ask_at = redis_now(self._plain) - time.time(), monotonic() + CLOCK_KEPT_S
        return self._ahead_s

    @cached_property
    def _scripts(self) -> Scripts:
        """The scripts over this channel's connections."""
        return Scripts(self._plain, self.global_keyprefix)

    @cached_property
    def _plain(self) -> Redis:
        """A client over this channel's connections that does not prefix what it takes for keys."""
        return Redis(connection_pool=self.pool)


def _wait_s(eta: str | None) -> float:
    """Seconds until a task that is to be tried again later may begin, `eta` by our clock; 0 for any other."""
    return round(max(0.0, datetime.fromisoformat(eta).timestamp() - time.time()), 3) if eta else 0.0


class SentinelChannel(Channel, kombu_redis.SentinelChannel):  # type: ignore[misc]
    """A channel to a Redis master that Sentinel names; the sentinels too are waited for on the budget."""

    def _sentinel_managed_pool(self, asynchronous: bool = False) -> Any:
        pool = super()._sentinel_managed_pool(asynchronous)
        hurry_sentinels(pool.sentinel_manager)
        return pool


def install() -> None:
    """Have kombu's Redis transports open our channels; `Channel` is the attribute that kombu offers for it."""
    kombu_redis.Transport.Channel = Channel
    kombu_redis.SentinelTransport.Channel = SentinelChannel
