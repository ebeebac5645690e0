"""How long one request waits for Redis in all, however many questions it asks.

A request has a budget of seconds, kept in a context variable; only waiting for Redis is taken off, so that an upload of an hour
has as much as a status read. Our kinds of redis-py's connections wait no longer than what is left of it, kombu's included.
Where no budget is set (a worker, a thread that belongs to no request) they are as patient as their profile says.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import partial
from threading import Thread
from time import monotonic
from typing import Any, Final, NamedTuple

import kombu.transport.redis as kombu_redis
import redis
from redis import sentinel
from redis.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError
from redis.utils import SENTINEL

REQUEST_S: Final = 0.8
"""Leaves a fifth of the second that is promised to all else."""
ASK_S: Final = 0.3
"""For all sentinels, of somebody who has else to do; those who are silent are asked last the next time."""
LEAST_S: Final = 0.001
"""A wait of nothing would turn a socket into one that does not block."""


class Budget:
    """Seconds of waiting that are left."""

    def __init__(self, s: float = REQUEST_S) -> None:
        self.left_s = s


class NoSentinel(redis.ConnectionError):  # type: ignore[misc]
    """What answers is something else. redis-py asks the next one; of this one it tells the kind of error alone."""


class _Master(NamedTuple):
    """Who is master: the epoch of Sentinel's configuration, host and port, and how often it became another one."""

    epoch: int
    address: tuple[str, int] | None
    change: int


NOBODY: Final = _Master(0, None, 0)
_silent_at: Final[dict[tuple[str, int], float]] = {}
"""Sentinels that did not answer when they were last asked, and when that was."""
_masters: Final[dict[str, _Master]] = {}
"""Those that sentinels named last, by service."""
_budget: ContextVar[Budget | None] = ContextVar("budget", default=None)
_end_s: ContextVar[float] = ContextVar("end_s", default=float("inf"))


def begin() -> None:
    """Give what follows in this thread a budget of its own."""
    _budget.set(Budget())


def end() -> None:
    """The request is over."""
    _budget.set(None)


@contextmanager
def waiting(s: float = REQUEST_S) -> Iterator[None]:
    """Wait for Redis, on the budget; a context without one gets one for this wait alone, of so many seconds."""
    budget = _budget.get() or Budget(s)
    begun_s = monotonic()
    token = _end_s.set(min(_end_s.get(), begun_s + budget.left_s))
    try:
        yield
    finally:
        _end_s.reset(token)
        budget.left_s -= monotonic() - begun_s


def within(patience_s: float | None) -> float | None:
    """How long to wait: the patience, or what is left. None: for ever."""
    left_s = _end_s.get() - monotonic()
    if left_s == float("inf"):
        return patience_s
    return max(LEAST_S, left_s if patience_s is None else min(patience_s, left_s))


def _in_time(connect: Callable[[], Any], patience_s: float | None) -> Any:
    """Connect in a thread: a look-up of a name knows no time limit, and takes ten seconds where no server answers it.

    Raises: TimeoutError, and what `connect` does.
    """
    found: Future[Any] = Future()

    def run() -> None:
        try:
            found.set_result(connect())
        except (OSError, RedisError, UnicodeError) as err:  # the latter of a host that no name can be
            found.set_exception(err)

    # Not by an executor: at its end a process would wait for all of them.
    Thread(target=copy_context().run, args=(run,), name="connect", daemon=True).start()
    try:
        return found.result(patience_s)
    except TimeoutError:
        found.add_done_callback(_close)
        raise


def _close(found: "Future[Any]") -> None:
    """Close a connection that came too late, if it came."""
    if found.exception() is None:
        found.result().close()


class Hurried(AbstractConnection):  # type: ignore[misc]  # redis-py is untyped here
    """What is added to redis-py's kinds of connections."""

    socket_connect_timeout: float | None

    def _connect(self) -> Any:
        patience_s: float | None = self.socket_connect_timeout
        self.socket_connect_timeout = within(patience_s)
        try:
            if _end_s.get() == float("inf"):
                return super()._connect()
            return _in_time(super()._connect, self.socket_connect_timeout)
        finally:
            self.socket_connect_timeout = patience_s

    def on_connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        """Greet the server. Raises: ConnectionError where what greets back is no Redis, and what redis-py does."""
        try:
            super().on_connect_check_health(*args, **kwargs)
        except (AttributeError, LookupError, TypeError, ValueError) as err:  # of an answer that is not Redis'
            raise redis.ConnectionError(f"what answers there is no Redis: {err}") from err

    def send_packed_command(self, *args: Any, **kwargs: Any) -> None:
        """Send, on the budget."""
        self._hurry()
        super().send_packed_command(*args, **kwargs)

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """Read an answer, on the budget."""
        if kwargs.get("timeout", SENTINEL) is SENTINEL:
            self._hurry()
        return super().read_response(*args, **kwargs)

    def _hurry(self) -> None:
        if self._sock is not None:
            self._sock.settimeout(within(self.socket_timeout))


class Connection(Hurried, redis.Connection):  # type: ignore[misc]
    """By TCP."""


class SSLConnection(Hurried, redis.SSLConnection):  # type: ignore[misc]
    """By TLS."""


class UnixDomainSocketConnection(Hurried, redis.UnixDomainSocketConnection):  # type: ignore[misc]
    """By a socket of this machine."""


class SentinelManagedConnection(Hurried, sentinel.SentinelManagedConnection):  # type: ignore[misc]
    """To the master that Sentinel names.

    One that lost its replicas may be master no more, and Sentinel has yet to tell it: whoever asks next asks Sentinel first.
    redis-py does so where it is a replica already. What is only read it would go on answering, from what was: once this process
    has heard of another master, a connection from before that is made anew when it is next taken out of its pool.
    """

    _seen: int = 0

    @property
    def is_outdated(self) -> bool:
        """Whether Sentinel has named another master since this one was connected to."""
        named = _masters.get(self.connection_pool.service_name, NOBODY)
        return named.change > self._seen and named.address != (self.host, self.port)

    def can_read(self, timeout: float = 0) -> bool:
        """Whether there is something to read. Raises: ConnectionError where Sentinel has named another master.

        A pool asks before it gives a connection away, and makes it anew then; kombu, Celery and our watch ask of a
        subscription, and begin anew, where connect() would do so behind their backs: they poll the socket that they know.
        """
        if self.is_connected and self.is_outdated:
            self.disconnect()
            raise redis.ConnectionError("Sentinel names another master")
        is_ready: bool = super().can_read(timeout)
        return is_ready

    def connect_to(self, address: tuple[str, int]) -> None:
        """Connect to a server."""
        self._seen = _masters.get(self.connection_pool.service_name, NOBODY).change
        super().connect_to(address)

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """Read an answer. Raises what Redis answers."""
        try:
            return super().read_response(*args, **kwargs)
        except ResponseError as err:
            if "NOREPLICAS" in str(err):
                self.mark_for_reconnect()
            raise


KINDS: Final = {
    redis.Connection: Connection,
    redis.SSLConnection: SSLConnection,
    redis.UnixDomainSocketConnection: UnixDomainSocketConnection,
    sentinel.SentinelManagedConnection: SentinelManagedConnection,
}


def hurry(client: redis.Redis) -> redis.Redis:
    """The client, whose connections to come are of our kind."""
    pool = client.connection_pool
    pool.connection_class = KINDS.get(pool.connection_class, pool.connection_class)
    return client


def hurry_sentinels(found: sentinel.Sentinel) -> sentinel.Sentinel:
    """The same for those who are asked which server is master; who was silent when this process last asked is asked last.

    Each of kombu's publishers asks anew: one that hangs would cost each of them its patience.
    """
    for node in found.sentinels:
        hurry(node)
        node.sentinel_masters = partial(_asked, _place(node), node.sentinel_masters)
    _sort(found)
    return found


def _sort(found: sentinel.Sentinel) -> None:
    found.sentinels.sort(key=lambda node: _silent_at.get(_place(node), 0.0))


def _place(node: redis.Redis) -> tuple[str, int]:
    kwargs = node.connection_pool.connection_kwargs
    return kwargs["host"], kwargs["port"]


def _asked(place: tuple[str, int], ask: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        answer = ask(*args, **kwargs)
    except (redis.ConnectionError, redis.TimeoutError):
        _silent_at[place] = monotonic()
        raise
    except RedisError as err:  # something else listens there; redis-py would not ask the others
        _silent_at[place] = monotonic()
        raise NoSentinel(f"no sentinel: {err}") from err
    _silent_at.pop(place, None)
    for name, state in answer.items():
        epoch, address, known = state["config-epoch"], (state["ip"], state["port"]), _masters.get(name, NOBODY)
        # Of two sentinels one may be cut off. One that sees to a fail-over tells the new epoch before the new address.
        if epoch >= known.epoch and address != known.address:
            _masters[name] = _Master(epoch, address, known.change + 1)
    return answer


def ask_sentinel(client: redis.Redis) -> None:
    """Hear which server is master by now, where a sentinel says so. Raises: MasterNotFoundError where none answers at once."""
    pool = client.connection_pool
    if isinstance(pool, sentinel.SentinelConnectionPool):
        _sort(pool.sentinel_manager)
        with waiting(ASK_S):
            pool.sentinel_manager.discover_master(pool.service_name)


def hurry_kombu() -> None:
    """The same for what kombu publishes by; the attributes are those that kombu offers for it."""
    kombu_redis.Channel.connection_class = Connection
    kombu_redis.Channel.connection_class_ssl = SSLConnection
    kombu_redis.SentinelChannel.connection_class = SentinelManagedConnection
