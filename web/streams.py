"""All streams of server-sent events of a process, written by one thread.

A thread for each would do for hundreds; a thousand that wake at each change of a job keep the status reads beside them from
running. So a connection is taken from the server once its head is sent, and one selector writes to all: a job is read and its
event made once for all who follow it. A client that does not read holds at most the rest of one event and its kernel buffer, is
told the newest when it reads on, and is dropped after STALLED_S.
"""

import errno
import logging
import selectors
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from flask import Request

from topclip.errors import FAULTS
from topclip.model.job import JobId
from web.feed import Feed, News, look
from web.follow import Seat
from web.status_cache import StatusCache

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0
"""Progress and the place in the queue may move without an event; nobody sees them older than this, unless many are followed."""
LOOKS_PER_S: Final = 200
"""Jobs that are looked at for no event, in all: with more of them, each is looked at less often."""
PING_S: Final = 15.0
PING: Final = ": ping\n\n"
PACE_S: Final = 0.05
"""Changes of so long are one. A round that takes longer is followed by a pause as long: status reads come to their turn."""
STALLED_S: Final = 20.0
SEND_BUFFER_BYTES: Final = 64 * 1024
"""Of the kernel, for each client; by itself it would grow to megabytes."""
GOODBYE_S: Final = 5.0
MARK: Final = "topclip.lets_go"
"""In the WSGI environment of a server that lets connections be taken over: `web.server.Worker`."""


class HandedOver(OSError):
    """Tells the server that the connection is somebody else's now. By its errno it passes for a client that went away."""

    def __init__(self) -> None:
        super().__init__(errno.ENOTCONN, "the connection was handed over")


def is_open_to(request: Request) -> bool:
    """Whether the request's connection can be taken over."""
    environ = request.environ
    return request.method == "GET" and MARK in environ and type(environ["gunicorn.socket"]) is socket.socket


def take_over(connection: socket.socket) -> socket.socket:
    """The server's connection under an object of our own; the server's is closed, without an end being sent."""
    return socket.socket(fileno=connection.detach())


@dataclass
class Follow:
    """A stream: its job, what the client was told, its seat, left at the end, and whether the key still counts."""

    job_id: JobId
    feed: Feed
    seat: Seat
    is_welcome: Callable[[], bool]


@dataclass(eq=False)
class _Client:
    connection: socket.socket
    follow: Follow
    is_chunked: bool
    rest: bytes = b""
    """What the kernel has not taken yet, of one event."""
    is_last: bool = False
    spoke_s: float = field(default_factory=monotonic)

    def frame(self, text: bytes) -> bytes:
        return b"%x\r\n%s\r\n" % (len(text), text) if self.is_chunked else text

    def flush(self) -> None:
        """Send what the kernel takes. Raises: OSError if the client is gone."""
        if self.rest:
            with suppress(BlockingIOError):
                sent = self.connection.send(self.rest)
                self.rest = self.rest[sent:]
                self.spoke_s = monotonic()


class Streams:
    """The thread, and what other threads ask of it."""

    def __init__(self, cache: StatusCache) -> None:
        self._cache = cache
        self._lock = threading.Lock()
        self._arrived: list[_Client] = []
        self._woken: set[JobId] = set()
        self._is_all_woken = False
        self._is_stopped, self._is_over = True, False
        self._clients: dict[JobId, set[_Client]] = {}
        self._looked_s: dict[JobId, float] = {}
        self._thread = threading.Thread(target=self._run, name="streams", daemon=True)

    def start(self) -> None:
        """Begin. Call it after a fork, never before."""
        self._selector = selectors.DefaultSelector()
        self._bell, self._ring = socket.socketpair()
        for end in (self._bell, self._ring):
            end.setblocking(False)
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._is_stopped = False
        self._thread.start()

    def stop(self) -> None:
        """Send everybody home, and wait until all are gone."""
        if not self._is_stopped:
            self._is_stopped = True
            self._wake()
        if self._thread.is_alive():
            self._thread.join(GOODBYE_S)

    def add(self, connection: socket.socket, follow: Follow, *, is_chunked: bool) -> None:
        """Write to this client from now on. The connection and the seat are the streams' own from here."""
        follow.seat.keep()
        connection.setblocking(False)
        with suppress(OSError):  # a Unix socket has not all of them
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            if hasattr(socket, "TCP_USER_TIMEOUT"):  # a client that vanished is no more after so long, in ms
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(STALLED_S * 1000))
        client = _Client(connection, follow, is_chunked)
        with self._lock:
            if is_late := self._is_over:
                _part(client)
            else:
                self._arrived.append(client)
        if not is_late:
            self._wake()

    def wake(self, job_id: JobId) -> None:
        """The job changed. Quick, and from any thread."""
        if job_id in self._clients:
            with self._lock:
                self._woken.add(job_id)
            self._wake()

    def wake_all(self) -> None:
        """Events may have been missed."""
        if self._clients:
            self._is_all_woken = True
            self._wake()

    def __len__(self) -> int:
        return sum(len(clients) for clients in list(self._clients.values()))

    def _wake(self) -> None:
        with suppress(BlockingIOError, OSError):  # it is awake, or gone
            self._ring.send(b"\0")

    # --- below, on the thread alone ---

    def _run(self) -> None:
        next_round_s = next_tend_s = 0.0
        while not self._is_stopped:
            is_due = bool(self._woken or self._arrived or self._is_all_woken)
            until_s = next_round_s if is_due else min(next_tend_s, monotonic() + LOOK_S)
            self._serve(max(0.0, until_s - monotonic()))
            now_s = monotonic()
            if now_s >= next_tend_s:
                self._tend(now_s)
                next_tend_s = now_s + LOOK_S / 2
            if now_s >= next_round_s:
                self._round()
                took_s = monotonic() - now_s
                next_round_s = monotonic() + max(PACE_S, took_s)
        self._say_goodbye()

    def _serve(self, wait_s: float) -> None:
        """Wait, and see to the clients that can be written to or have gone."""
        for key, events in self._selector.select(wait_s):
            client: _Client | None = key.data
            if client is None:
                with suppress(BlockingIOError):
                    self._bell.recv(4096)
                continue
            with self._spared(client):
                if events & selectors.EVENT_READ and _has_gone(client.connection):
                    self._drop(client)
                elif events & selectors.EVENT_WRITE:
                    self._write(client, b"")

    def _round(self) -> None:
        """Look at the jobs of which there may be news, and tell their followers."""
        with self._lock:
            arrived, self._arrived = self._arrived, []
            due, self._woken = self._woken, set()
        for client in arrived:
            self._clients.setdefault(client.follow.job_id, set()).add(client)
            with self._spared(client):
                self._selector.register(client.connection, selectors.EVENT_READ, client)
            due.add(client.follow.job_id)
        if self._is_all_woken:
            self._is_all_woken = False
            due.update(self._clients)
        for job_id in due:
            if self._is_stopped:
                return
            with self._spared(*self._clients.get(job_id, ())):
                self._tell(job_id)

    def _tend(self, now_s: float) -> None:
        """Have jobs looked at that nobody told of for long, speak to clients so that they know us, and drop the stalled."""
        every_s = max(LOOK_S, len(self._clients) / LOOKS_PER_S)
        with self._lock:
            self._woken.update(job for job in self._clients if now_s - self._looked_s.get(job, 0.0) >= every_s)
        for client in self._all():
            with self._spared(client):
                self._tend_one(client, now_s - client.spoke_s)

    def _tend_one(self, client: _Client, silent_s: float) -> None:
        if client.rest and silent_s >= STALLED_S:
            self._drop(client)
        elif not client.rest and not client.follow.is_welcome():
            self._end(client, b"")
        elif not client.rest and silent_s >= PING_S:
            self._write(client, client.frame(PING.encode()))

    def _tell(self, job_id: JobId) -> None:
        if not (clients := list(self._clients.get(job_id, ()))):
            return
        self._looked_s[job_id] = monotonic()
        if (news := look(self._cache, job_id)) is None:
            return
        text = news.text.encode()
        framed = {True: b"%x\r\n%s\r\n" % (len(text), text), False: text}
        for client in clients:
            if not client.rest:  # else it is told the newest when it has taken what it was told
                with self._spared(client):
                    self._tell_one(client, news, framed[client.is_chunked])

    def _tell_one(self, client: _Client, news: News, framed: bytes) -> None:
        if not client.follow.is_welcome():
            self._end(client, b"")
            return
        data = framed if client.follow.feed.takes(news) else b""
        if news.is_last:
            self._end(client, data)
        elif data:
            self._write(client, data)

    def _end(self, client: _Client, data: bytes) -> None:
        """Send this, then the end."""
        client.is_last = True
        self._write(client, data + (b"0\r\n\r\n" if client.is_chunked else b""))

    def _write(self, client: _Client, data: bytes) -> None:
        """Send this, or begin to; a client that had not taken the last event is told of its job when it has."""
        was_behind = bool(client.rest)
        client.rest += data
        try:
            client.flush()
        except OSError:
            self._drop(client)
            return
        if client.is_last and not client.rest:
            self._drop(client)
        elif bool(client.rest) != was_behind:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.rest else 0)
            self._selector.modify(client.connection, events, client)
            if was_behind:
                with self._lock:
                    self._woken.add(client.follow.job_id)

    def _drop(self, client: _Client) -> None:
        """Done with this client: connection closed, seat given back."""
        if self._forget(client):
            client.connection.close()
            client.follow.seat.leave()

    def _forget(self, client: _Client) -> bool:
        """Look at this client no more; whether it was one of ours until now."""
        job_id = client.follow.job_id
        clients = self._clients.get(job_id, set())
        if client not in clients:
            return False
        clients.discard(client)
        if not clients:
            del self._clients[job_id]
            self._looked_s.pop(job_id, None)
        with suppress(KeyError, ValueError):  # it never got as far
            self._selector.unregister(client.connection)
        return True

    @contextmanager
    def _spared(self, *clients: _Client) -> Iterator[None]:
        """A fault with some clients ends their streams, so that they come back, and no other's."""
        try:
            yield
        except FAULTS:
            log.exception("streams of job %s are ended", clients[0].follow.job_id if clients else "that nobody follows")
            for client in clients:
                if self._forget(client):
                    _part(client)

    def _all(self) -> Iterable[_Client]:
        return [client for clients in self._clients.values() for client in clients]

    def _say_goodbye(self) -> None:
        """End every stream as the protocol wants it, so that clients come back; who does not take it is dropped."""
        with self._lock:
            self._is_over = True
        for client in (*self._arrived, *self._all()):
            _part(client)
        self._arrived.clear()
        self._clients.clear()
        self._selector.close()
        self._bell.close()
        self._ring.close()


def _has_gone(connection: socket.socket) -> bool:
    """Whether the client has hung up; what it sends besides is thrown away."""
    try:
        return not connection.recv(4096)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _part(client: _Client) -> None:
    """End a stream in order, if the client takes it at once, so that it comes back."""
    if client.is_chunked and not client.rest:
        with suppress(OSError):
            client.connection.send(b"0\r\n\r\n")
    client.connection.close()
    client.follow.seat.leave()
