"""Spans of what a URL leads to: the right bytes of the same content, or an error that says why not."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.servers import Answer, Request, Server, head, in_turn, reply, serving
from topclip.errors import (
    JobCancelled,
    SourceChanged,
    SourceNotFound,
    SourceTooLarge,
    TopClipError,
    UnsupportedMedia,
    UrlRefused,
    UrlUnreachable,
)
from topclip.outbound.http import Outbound, Patience, Tick, no_tick
from topclip.outbound.ranges import TRIES, RangeLimits, Ranges, WholeOnly

CONTENT = bytes(range(256)) * 40
LIMITS = RangeLimits(1 << 20, Patience(connect_s=5, idle_s=2, total_s=20), pause_s=0.0)


def ranged(content: bytes = CONTENT, tag: str = '"a"', **headers: str) -> Answer:
    """What a server that knows ranges answers."""

    def answer(conn: socket.socket, request: Request) -> None:
        if request.headers.get("if-range", tag) not in (tag, headers.get("Last_Modified")):
            reply(content, ETag=tag)(conn, request)
            return
        start, end = (int(text) for text in request.headers["range"].removeprefix("bytes=").split("-"))
        part = content[start : end + 1]
        told = {"Content_Range": f"bytes {start}-{start + len(part) - 1}/{len(content)}"}
        reply(part, 206, **(told | {"ETag": tag} | headers))(conn, request)

    return answer


def saying(content_range: str, body: bytes = b"x" * 100, **headers: str) -> Answer:
    return reply(body, 206, **({"ETag": '"a"', "Content_Range": content_range} | headers))


def raw(body: bytes, **headers: str) -> Answer:
    """Bytes under a head that may say otherwise."""

    def answer(conn: socket.socket, request: Request) -> None:
        conn.sendall(head(206, ETag='"a"', Content_Range="bytes 0-99/1000", **headers) + body)

    return answer


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(ranged()) as found:
        yield found


@contextlib.contextmanager
def opened(server: Server, limits: RangeLimits = LIMITS, tick: Tick = no_tick) -> Iterator[Ranges]:
    outbound = Outbound(["127.0.0.2/32", "127.0.0.1/32"])
    with outbound.line(tick) as line:
        yield Ranges(server.url(), outbound, line, limits, tick)


def test_spans_are_the_bytes_that_were_asked_for(server: Server) -> None:
    with opened(server) as ranges:
        assert ranges.read(0, 100) == CONTENT[:100]
        assert ranges.read(5000, 5001) == CONTENT[5000:5001]
        assert ranges.read(len(CONTENT) - 7, len(CONTENT) + 50) == CONTENT[-7:]
    assert (ranges.size, ranges.n_bytes, ranges.n_requests) == (len(CONTENT), 108, 3)
    assert [r.headers.get("if-range") for r in server.requests] == [None, '"a"', '"a"']
    assert {r.headers["accept-encoding"] for r in server.requests} == {"identity"}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply(CONTENT), WholeOnly),
        (saying("bytes 0-99/*"), WholeOnly),
        (reply(status=416, Content_Range="bytes */99"), WholeOnly),
        (reply(status=416, Content_Range="bytes */0"), UnsupportedMedia),
        (reply(b""), UnsupportedMedia),
        (reply(status=404), SourceNotFound),
        (reply(status=403), SourceNotFound),
        (reply(status=503), UrlUnreachable),
        (saying("bytes 0-99/1000", Content_Encoding="gzip"), UrlRefused),
        (saying(f"bytes 0-99/{10**17}"), SourceTooLarge),
        (saying("bytes 1-100/1000"), UrlUnreachable),
        (saying("bytes 0-98/1000"), UrlUnreachable),
        (saying("bytes 0-999999/1000000"), UrlUnreachable),
        (saying("bytes 99-0/1000"), UrlUnreachable),
        (saying("bytes 0-99/9"), UrlUnreachable),
        (saying("items 0-99/1000"), UrlUnreachable),
        (saying("", Content_Type="multipart/byteranges; boundary=b"), UrlUnreachable),
        (saying("bytes 0-99/1000", b"x" * 99), UrlUnreachable),
        (saying("bytes 0-99/1000", b"x" * 101), UrlUnreachable),
        (raw(b"x" * 50, Content_Length="100"), UrlUnreachable),
        (raw(b"x" * 50), UrlUnreachable),
        (raw(b"5\r\nxxxxx\r\n0\r\n\r\n", Transfer_Encoding="chunked"), UrlUnreachable),
    ],
)
def test_what_is_not_the_span_is_an_error_of_its_kind(server: Server, answer: Answer, error: type[Exception]) -> None:
    server.answer = answer
    with opened(server) as ranges, pytest.raises(error):
        ranges.read(0, 100)
    assert len(server.requests) == (TRIES if error is UrlUnreachable else 1)


def at_most(n: int) -> Answer:
    """A server that sends no more at once, and says so."""

    def answer(conn: socket.socket, request: Request) -> None:
        start, end = (int(text) for text in request.headers["range"].removeprefix("bytes=").split("-"))
        shorter = replace(request, headers=request.headers | {"range": f"bytes={start}-{min(end, start + n - 1)}"})
        ranged()(conn, shorter)

    return answer


def test_a_span_may_come_in_pieces(server: Server) -> None:
    server.answer = at_most(30)
    with opened(server) as ranges:
        assert ranges.read(0, 100) == CONTENT[:100]
        assert ranges.read(len(CONTENT) - 40, len(CONTENT) + 5) == CONTENT[-40:]
    assert len(server.requests) == 4 + 2
    server.answer = at_most(1)
    with opened(server) as ranges, pytest.raises(UrlUnreachable, match="too small pieces"):
        ranges.read(0, 100)


@pytest.mark.parametrize(
    "later",
    [
        ranged(tag='"b"'),
        ranged(CONTENT + b"more"),
        ranged(CONTENT[:60]),
        reply(status=416, Content_Range="bytes */60"),
        saying(f"bytes 100-199/{len(CONTENT)}", ETag='"b"'),
        saying(f"bytes 100-199/{len(CONTENT)}", ETag=""),
    ],
)
def test_a_source_that_changes_meanwhile_is_told(server: Server, later: Answer) -> None:
    server.answer = in_turn(ranged(), later)
    with opened(server) as ranges:
        ranges.read(0, 100)
        with pytest.raises(SourceChanged):
            ranges.read(100, 200)


def test_without_a_tag_the_date_tells_of_a_change(server: Server) -> None:
    monday, tuesday = "Mon, 23 Nov 2026 10:00:00 GMT", "Tue, 24 Nov 2026 10:00:00 GMT"
    server.answer = ranged(tag="", Last_Modified=monday)
    with opened(server) as ranges:
        ranges.read(0, 100)
        ranges.read(100, 200)
        assert server.requests[1].headers["if-range"] == monday
        server.answer = saying(f"bytes 200-299/{len(CONTENT)}", ETag="", Last_Modified=tuesday)
        with pytest.raises(SourceChanged):
            ranges.read(200, 300)


def test_what_breaks_off_is_asked_for_again(server: Server) -> None:
    server.answer = in_turn(raw(b"x" * 50, Content_Length="100"), reply(status=503), ranged())
    with opened(server) as ranges, pytest.raises(SourceChanged):  # the first one told another length
        ranges.read(0, 100)
    server.answer = in_turn(ranged(), reply(status=503), reply(status=429), ranged())
    with opened(server) as ranges:
        ranges.read(0, 100)
        assert ranges.read(100, 300) == CONTENT[100:300]


def test_where_redirects_led_is_kept_until_it_leads_nowhere(server: Server) -> None:
    with serving(ranged(), address="127.0.0.2") as other:
        server.answer = reply(status=302, Location=other.url("/signed"))
        with opened(server) as ranges:
            ranges.read(0, 100)
            ranges.read(100, 200)
            assert (len(server.requests), len(other.requests)) == (1, 2)
            other.answer = in_turn(reply(status=403), ranged())
            assert ranges.read(200, 300) == CONTENT[200:300]
            assert len(server.requests) == 2


def test_a_redirect_in_the_middle_is_checked_too(server: Server) -> None:
    with opened(server) as ranges:
        ranges.read(0, 100)
        server.answer = reply(status=302, Location="http://169.254.169.254/latest")
        with pytest.raises(UrlRefused, match="not public"):
            ranges.read(100, 200)


def test_no_more_is_read_than_may_be(server: Server) -> None:
    with opened(server, replace(LIMITS, max_bytes=150)) as ranges:
        ranges.read(0, 100)
        with pytest.raises(SourceTooLarge):
            ranges.read(100, 200)


def drip(conn: socket.socket, request: Request) -> None:
    conn.sendall(head(206, ETag='"a"', Content_Length="100", Content_Range="bytes 0-99/1000"))
    ended = threading.Event()
    for _ in range(100):
        conn.sendall(b"x")
        ended.wait(0.05)


def test_a_server_that_drips_is_left(server: Server) -> None:
    server.answer = drip
    with (
        opened(server, replace(LIMITS, patience=Patience(connect_s=5, idle_s=5, total_s=0.05))) as ranges,
        pytest.raises(UrlUnreachable, match="too long"),
    ):
        ranges.read(0, 100)


def test_whoever_waits_can_be_stopped(server: Server) -> None:
    def tick() -> None:
        if server.requests:
            raise JobCancelled("cancelled")

    def never(conn: socket.socket, request: Request) -> None:
        conn.recv(1)

    server.answer = never
    with opened(server, tick=tick) as ranges, pytest.raises(TopClipError, match="cancelled"):
        ranges.read(0, 100)
