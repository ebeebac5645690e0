"""Exchanges over HTTP with servers that a client named: every address checked, and the checked one connected to.

A name is resolved once; if any of its addresses is not allowed the exchange is refused, else one of them is connected to,
while TLS and the `Host` header go by the name. Proxies, cookies and `.netrc` of the surroundings are not looked at. Whoever
waits is asked for patience twice a second, so that a cancelled job stops within that also while nothing answers.
"""

import ipaddress
import math
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Final, Self, TypeVar

import httpcore
import httpx

from topclip import __version__
from topclip.errors import InvalidRequest, UrlRefused, UrlUnreachable
from topclip.outbound.address import Address, may_be_reached, networks
from topclip.outbound.url import Target, read_url

T = TypeVar("T")
Resolve = Callable[[str, int], Sequence[str]]
Tick = Callable[[], None]
"""Called while waiting; what it raises ends the exchange."""

SLICE_S: Final = 0.5
MAX_REDIRECTS: Final = 5
KEPT_S: Final = 5.0
"""How long a connection is kept without being used; servers close theirs soon after."""
REDIRECTS: Final = (301, 302, 303, 307, 308)
TRANSPORT_ERRORS: Final = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError)
HINT: Final = "the operator can name networks that are allowed in TOPCLIP_PRIVATE_NETWORKS"


@dataclass(frozen=True)
class Patience:
    """How long an exchange may take, in seconds: to connect, without a byte, in all, and until the head of the answer is
    complete, redirects included: a server that drips its headers is idle for no long time.
    """

    connect_s: float
    idle_s: float
    total_s: float
    head_s: float = math.inf


class Answer:
    """The head of an answer; its body is read by `blocks`."""

    def __init__(self, response: httpcore.Response) -> None:
        self._response = response
        self.status = response.status
        self._headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}

    def header(self, name: str) -> str:
        """A header's value, empty if there is none; of several the last."""
        return self._headers.get(name.lower(), "")

    def blocks(self) -> Iterator[bytes]:
        """The body as it comes. Raises: UrlUnreachable, also if it ends before the length that was announced."""
        with _told():
            yield from self._response.iter_stream()


def no_tick() -> None:
    """Wait without being asked."""


def resolve(host: str, port: int) -> list[str]:
    """All addresses of a name, as the system knows them. Raises: OSError, UnicodeError for what is no name."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class Outbound:
    """Exchanges with other servers. Safe to use from many threads.

    private: networks that may be reached although they are not public.
    """

    def __init__(
        self, private: Sequence[str] = (), *, resolver: Resolve = resolve, tls: ssl.SSLContext | None = None
    ) -> None:
        self._allowed = networks(private)
        self._resolve = resolver
        self._tls = tls

    def check(self, url: str, field: str) -> Target:
        """What can be told of a URL without asking anybody. Raises: InvalidRequest naming `field`."""
        try:
            target = read_url(url)
            if target.literal is not None:
                self._check(target.host, target.literal)
        except UrlRefused as err:
            raise InvalidRequest(err.message, {"field": field, "hint": err.hint}) from err
        return target

    @contextmanager
    def line(self, tick: Tick = no_tick) -> Iterator["Line"]:
        """Connections that stay open from one exchange to the next, each to the address that was checked when it was made."""
        with self._line(self._made_context(), tick) as line:
            yield line

    @contextmanager
    def get(
        self,
        target: Target,
        headers: Mapping[str, str],
        patience: Patience,
        tick: Tick = no_tick,
        line: "Line | None" = None,
    ) -> Iterator[tuple[Answer, Target]]:
        """GET, and follow redirects, each checked as the first; the answer and where it came from.

        line: to be used, and its tick; else a connection is made and closed.
        Raises: UrlRefused, UrlUnreachable, and what `tick` raises.
        """
        bounds = _Bounds.of(patience)
        for _ in range(MAX_REDIRECTS + 1):
            exchange = self.exchange("GET", target, headers, patience=patience, tick=tick, bounds=bounds, line=line)
            with exchange as answer:
                if answer.status not in REDIRECTS:
                    yield answer, target
                    return
                target = target.join(answer.header("location"))
        raise UrlRefused(f"more than {MAX_REDIRECTS} redirects")

    @contextmanager
    def exchange(
        self,
        method: str,
        target: Target,
        headers: Mapping[str, str],
        *,
        patience: Patience,
        body: bytes = b"",
        tick: Tick = no_tick,
        bounds: "_Bounds | None" = None,
        line: "Line | None" = None,
    ) -> Iterator[Answer]:
        """One request and its answer, no redirect followed. bounds: those of exchanges that are one; else by `patience`.
        line: as of `get`.

        Raises: UrlRefused, UrlUnreachable, and what `tick` raises.
        """
        bounds = bounds or _Bounds.of(patience)
        timeouts = {"connect": patience.connect_s, "read": patience.idle_s, "write": patience.idle_s}
        with (
            _told(target.origin),
            nullcontext(line) if line else self._line(self._context(target), tick) as used,
        ):
            used.limit.end = bounds.head
            with used.pool.stream(
                method,
                _core_url(target),
                headers=_headers(target, headers),
                content=body or None,
                extensions={"timeout": timeouts},
            ) as response:
                used.limit.end = bounds.all
                yield Answer(response)

    def _addresses(self, host: str, port: int) -> list[str]:
        """Where a host is, every address of it checked. Raises: UrlRefused, httpcore.ConnectError."""
        try:
            found = [ipaddress.ip_address(text) for text in self._resolve(host, port)]
        except (OSError, UnicodeError) as err:
            raise httpcore.ConnectError(f"no address of {host}: {err}") from err
        for address in found:
            self._check(host, address)
        return [str(address) for address in found]

    def _check(self, host: str, address: Address) -> None:
        if not may_be_reached(address, self._allowed):
            raise UrlRefused(f"{host} leads to an address that is not public", {"hint": HINT})

    @contextmanager
    def _line(self, context: ssl.SSLContext | None, tick: Tick) -> Iterator["Line"]:
        limit = _Limit(0.0)
        wire = _Wire(self._addresses, tick, limit)
        with httpcore.ConnectionPool(ssl_context=context, network_backend=wire, keepalive_expiry=KEPT_S) as pool:
            yield Line(pool, limit)

    def _context(self, target: Target) -> ssl.SSLContext | None:
        return None if target.url.scheme == "http" else self._made_context()

    def _made_context(self) -> ssl.SSLContext:
        self._tls = self._tls or httpx.create_ssl_context()
        return self._tls


@dataclass(frozen=True)
class _Bounds:
    """By when the head of the answer is complete and by when all is over, on the monotonic clock."""

    head: float
    all: float

    @classmethod
    def of(cls, patience: Patience) -> Self:
        now = time.monotonic()
        return cls(now + min(patience.head_s, patience.total_s), now + patience.total_s)


@dataclass
class _Limit:
    """The bound that counts now, shared by the parts of one connection."""

    end: float


@dataclass
class Line:
    """Connections of one who asks again and again; for one thread at a time."""

    pool: httpcore.ConnectionPool
    limit: _Limit


class _Wire(httpcore.NetworkBackend):
    """Connects to checked addresses alone."""

    def __init__(self, addresses: Callable[[str, int], list[str]], tick: Tick, limit: _Limit) -> None:
        self._addresses = addresses
        self._tick = tick
        self._limit = limit

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: object = None,
    ) -> httpcore.NetworkStream:
        """Resolve, check, and try the addresses one after the other."""
        end = min(self._limit.end, time.monotonic() + (timeout or 0.0))
        stream = _patiently(lambda: self._open(host, port, end), self._tick, end)
        return _Stream(stream, self._tick, self._limit)

    def _open(self, host: str, port: int, end: float) -> httpcore.NetworkStream:
        error: Exception = httpcore.ConnectError(f"no address of {host}")
        for address in self._addresses(host, port):
            try:
                return httpcore.SyncBackend().connect_tcp(address, port, timeout=max(0.01, end - time.monotonic()))
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as err:
                error = err
        raise error


class _Stream(httpcore.NetworkStream):
    """A connection whose waits are bounded in all, and in slices."""

    def __init__(self, stream: httpcore.NetworkStream, tick: Tick, limit: _Limit) -> None:
        self._stream = stream
        self._tick = tick
        self._limit = limit

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """What has come, at most so much."""
        idle_end = time.monotonic() + (timeout or 0.0)
        end = min(self._limit.end, idle_end)
        while True:
            self._tick()
            left_s = end - time.monotonic()
            if left_s <= 0:
                raise httpcore.ReadTimeout("it says nothing" if end == idle_end else "it takes too long")
            try:
                return self._stream.read(max_bytes, min(SLICE_S, left_s))
            except httpcore.ReadTimeout:
                continue

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of it. httpcore's own way waits anew after each byte that is taken."""
        connection: socket.socket = self._stream.get_extra_info("socket")
        end = min(self._limit.end, time.monotonic() + (timeout or 0.0))
        while buffer:
            self._tick()
            left_s = end - time.monotonic()
            if left_s <= 0:
                raise httpcore.WriteTimeout("it does not take what it is sent")
            connection.settimeout(min(SLICE_S, left_s))
            try:
                buffer = buffer[connection.send(buffer) :]
            except TimeoutError:
                continue
            except OSError as err:
                raise httpcore.WriteError(str(err)) from err

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """The same connection, encrypted."""
        end = min(self._limit.end, time.monotonic() + (timeout or 0.0))
        left_s = max(0.01, end - time.monotonic())
        stream = _patiently(lambda: self._stream.start_tls(ssl_context, server_hostname, left_s), self._tick, end)
        return _Stream(stream, self._tick, self._limit)

    def close(self) -> None:
        """Hang up."""
        self._stream.close()

    def get_extra_info(self, info: str) -> object:
        """What httpcore asks its connections."""
        return self._stream.get_extra_info(info)


def _patiently(work: Callable[[], httpcore.NetworkStream], tick: Tick, end: float) -> httpcore.NetworkStream:
    """Do in a thread what cannot be interrupted (a resolver takes half a minute to give up); a late result is closed."""
    executor = ThreadPoolExecutor(1, "outbound")
    future = executor.submit(work)
    executor.shutdown(wait=False)
    is_taken = False
    try:
        while True:
            tick()
            left_s = end - time.monotonic()
            if left_s <= 0:
                raise httpcore.ConnectTimeout("no connection in time")
            try:
                stream = future.result(timeout=min(SLICE_S, left_s))
            except TimeoutError:
                continue
            is_taken = True
            return stream
    finally:
        if not is_taken:
            future.add_done_callback(_close)


def _close(future: Future[httpcore.NetworkStream]) -> None:
    if not future.cancelled() and future.exception() is None:
        future.result().close()


@contextmanager
def _told(origin: str = "the server") -> Iterator[None]:
    """Errors of the transport become ours."""
    try:
        yield
    except TRANSPORT_ERRORS as err:
        if isinstance(err.__context__, ssl.SSLCertVerificationError):
            reason = f"{origin}: its certificate is not valid: {err.__context__.verify_message}"
            raise UrlRefused(reason, {"hint": "its operator has to mend that; then try again"}) from err
        raise UrlUnreachable(f"{origin}: {_words(err)}") from err


def _words(err: Exception) -> str:
    return str(err) or type(err).__name__


def _core_url(target: Target) -> httpcore.URL:
    """The URL in the parts that were checked, so that nobody reads it a second time."""
    return httpcore.URL(
        scheme=target.url.raw_scheme,
        host=target.host.encode("ascii"),
        port=target.url.port,
        target=target.url.raw_path,
    )


def _headers(target: Target, headers: Mapping[str, str]) -> list[tuple[bytes | str, bytes | str]]:
    own = {"Host": target.url.netloc.decode("ascii"), "User-Agent": f"topclip/{__version__}", "Accept": "*/*"}
    return [*own.items(), *headers.items()]
