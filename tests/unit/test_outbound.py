"""URLs of clients: where they may lead, that the checked address is the one connected to, and bounds of every wait."""

import contextlib
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import Request, Server, head, in_turn, make_certificate, reply, serving
from tests.waiting import until
from topclip.errors import InvalidRequest, JobCancelled, UrlRefused, UrlUnreachable
from topclip.outbound.address import may_be_reached, networks
from topclip.outbound.http import Outbound, Patience
from topclip.outbound.text import shown
from topclip.outbound.url import read_url

QUICK = Patience(connect_s=5, idle_s=1, total_s=3)
LONG = Patience(connect_s=60, idle_s=60, total_s=60)

NOT_PUBLIC = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.0.1", "169.254.169.254",
    "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1",
    "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "168.63.129.16",
    "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "64:ff9b::7f00:1", "64:ff9b:1::1",
    "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::", "3fff::1", "fc00::1", "fd00:ec2::254",
    "fe80::1", "fec0::1", "ff02::1", "5f00::1",
]  # fmt: skip
PUBLIC = ["1.1.1.1", "93.184.216.34", "172.32.0.1", "192.167.0.1", "2606:4700::1", "::ffff:1.1.1.1", "64:ff9b::101:101"]


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_an_address_that_is_not_public_is_not_reached(text: str) -> None:
    assert not may_be_reached(ipaddress.ip_address(text), ())


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_is_reached(text: str) -> None:
    assert may_be_reached(ipaddress.ip_address(text), ())


def test_the_operator_may_allow_networks_also_where_ipv6_wraps_them() -> None:
    allowed = networks(["10.1.0.0/16", "fd00::/8"])
    for text in ("10.1.2.3", "::ffff:10.1.2.3", "fd00::1"):
        assert may_be_reached(ipaddress.ip_address(text), allowed)
    for text in ("10.2.0.1", "127.0.0.1", "fe80::1%eth0"):
        assert not may_be_reached(ipaddress.ip_address(text), allowed)


BAD_URLS = [
    "ftp://example.com/a", "file:///etc/passwd", "gopher://example.com/", "http:///a", "http://", "https://user@example.com/",
    "https://user:word@example.com/", "http://example.com:22/", "http://example.com:0/", "http://example.com:99999/",
    "http://2130706433/", "http://0x7f000001/", "http://0x7f.1/", "http://127.1/", "http://0177.0.0.1/", "http://127.0.0.01/",
    "http://127.0.0.1/", "http://127.0.0.1./", "http://localhost/", "http://LOCALHOST./", "http://a.localhost/",
    "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://[fe80::1%25lo]/", "http://[::1", "http://①②⑦.0.0.1/",
    "http://127。0。0。1/", "http://169.254.169.254/latest/meta-data", "http://a b/", "http://a\\@127.0.0.1/",
    "http://a/\r\nX: y",
    "http://%31%32%37.0.0.1/", "http://.../", "http://example.com/" + "a" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("url", BAD_URLS)
def test_what_can_be_told_of_a_url_at_once_is_refused_and_named(url: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Outbound().check(url, "callback_url")
    assert caught.value.detail["field"] == "callback_url"


def test_a_sound_url_is_taken_with_its_host_in_ascii_and_no_dot_or_fragment() -> None:
    target = Outbound().check("https://Bücher.example.:8443/a/Ein%20Film.mp4?sig=x#t", "source")
    assert str(target.url) == "https://xn--bcher-kva.example:8443/a/Ein%20Film.mp4?sig=x"
    assert (target.name, target.port, target.origin) == (
        "Ein Film.mp4", 8443, "https://xn--bcher-kva.example:8443",
    )  # fmt: skip
    assert read_url("http://example.com").name == "example.com"
    assert read_url("http://example.com/..%2f..%2fetc%2fpasswd").name == "passwd"
    assert shown("https://example.com/a?key=secret") == "https://example.com/a?..."


class Names:
    """A resolver that answers each list of addresses in turn, and counts."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def get(outbound: Outbound, url: str, patience: Patience = QUICK) -> tuple[int, bytes]:
    with outbound.get(read_url(url), {}, patience) as (answer, _):
        return answer.status, b"".join(answer.blocks())


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(reply(b"hello"), address="127.0.0.2") as found:
        yield found


@pytest.fixture
def private() -> Iterator[Server]:
    """What nobody outside should see: 127.0.0.1 stands for the inner network here, 127.0.0.2 for the outer one."""
    with serving(reply(b"secret")) as found:
        yield found


OUTER = ["127.0.0.2/32"]


def test_it_talks_to_the_checked_address_and_calls_it_by_its_name(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert get(Outbound(OUTER, resolver=Names(["127.0.0.2"])), server.url(host="clips.test")) == (200, b"hello")
    assert server.requests[0].line == "GET /video.mp4 HTTP/1.1"
    assert server.requests[0].headers["host"] == f"clips.test:{server.port}"


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["127.0.0.2", "127.0.0.1"], ["::1"], ["::ffff:127.0.0.1"]])
def test_a_name_with_any_forbidden_address_is_refused_before_a_connection(
    private: Server, addresses: list[str]
) -> None:
    with pytest.raises(UrlRefused, match="not public"):
        get(Outbound(OUTER, resolver=Names(addresses)), private.url(host="clips.test"))
    assert private.requests == []


def test_a_name_that_changes_its_address_after_the_check_gains_nothing(server: Server, private: Server) -> None:
    names = Names(["127.0.0.2"], ["127.0.0.1"])
    outbound = Outbound(OUTER, resolver=names)
    assert get(outbound, server.url(host="clips.test")) == (200, b"hello")
    assert names.asked == ["clips.test"]
    with pytest.raises(UrlRefused):
        get(outbound, private.url(host="clips.test"))
    assert private.requests == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_checked_as_the_first_url(server: Server, private: Server, status: int) -> None:
    for location in (
        private.url(),
        "http://169.254.169.254/latest",
        f"//127.0.0.1:{private.port}/",
        "file:///etc/passwd",
    ):
        server.answer = reply(status=status, Location=location)
        with pytest.raises(UrlRefused):
            get(Outbound(OUTER), server.url())
    assert private.requests == []


def test_a_redirect_by_name_is_resolved_and_checked(server: Server, private: Server) -> None:
    server.answer = reply(status=302, Location=private.url(host="inner.test"))
    with pytest.raises(UrlRefused):
        get(Outbound(OUTER, resolver=Names(["127.0.0.2"], ["127.0.0.1"])), server.url(host="outer.test"))
    assert private.requests == []


def test_redirects_are_followed_and_bounded(server: Server) -> None:
    server.answer = in_turn(reply(status=302, Location="/b?x=1"), reply(b"there"))
    assert get(Outbound(OUTER), server.url("/a")) == (200, b"there")
    assert server.requests[-1].line == "GET /b?x=1 HTTP/1.1"
    server.answer = reply(status=302, Location="/a")
    with pytest.raises(UrlRefused, match="redirects"):
        get(Outbound(OUTER), server.url("/a"))


def never(conn: socket.socket, request: Request) -> None:
    conn.recv(1)


def drip(conn: socket.socket, request: Request) -> None:
    """A byte now and then, so that the connection is never idle for long."""
    ended = threading.Event()
    for byte in head(Content_Length="1000000") + b"x" * 1000:
        conn.sendall(bytes([byte]))
        ended.wait(0.05)


@pytest.mark.parametrize("answer", [never, drip])
def test_a_server_that_is_silent_or_drips_is_left_in_time(server: Server, answer: object) -> None:
    server.answer = answer  # type: ignore[assignment]
    with pytest.raises(UrlUnreachable):
        get(Outbound(OUTER), server.url())


def test_the_head_of_an_answer_is_waited_for_no_longer_than_that_redirects_included(server: Server) -> None:
    patience = Patience(connect_s=5, idle_s=60, total_s=60, head_s=1)

    def redirecting_slowly(conn: socket.socket, request: Request) -> None:
        threading.Event().wait(0.4)
        reply(status=302, Location="/again")(conn, request)

    def promising(conn: socket.socket, request: Request) -> None:
        """Heads of answers that are none, without end."""
        for _ in range(600):
            conn.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            threading.Event().wait(0.05)

    for answer in (drip, promising, redirecting_slowly):
        server.answer = answer
        began = time.monotonic()
        with pytest.raises(UrlUnreachable, match="too long"):
            get(Outbound(OUTER), server.url(), patience)
        assert time.monotonic() - began < 5

    def body_slowly(conn: socket.socket, request: Request) -> None:
        conn.sendall(head(Content_Length="2") + b"a")
        threading.Event().wait(1.2)
        conn.sendall(b"b")

    server.answer = body_slowly
    assert get(Outbound(OUTER), server.url(), patience) == (200, b"ab")


def test_a_receiver_that_takes_a_little_now_and_then_is_left_in_time() -> None:
    """The time of one exchange is bounded in all, its sending too."""
    with socket.create_server(("127.0.0.2", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        is_over = threading.Event()

        def sip() -> None:
            conn, _ = listener.accept()
            with conn, contextlib.suppress(OSError):
                while not is_over.wait(0.02):
                    conn.recv(100_000)

        sipping = threading.Thread(target=sip)
        sipping.start()
        began = time.monotonic()
        target = read_url(f"http://127.0.0.2:{listener.getsockname()[1]}/")
        try:
            with (
                pytest.raises(UrlUnreachable),
                Outbound(OUTER).exchange("POST", target, {}, patience=Patience(5, 2, 2), body=bytes(60_000_000)),
            ):
                pass
            assert time.monotonic() - began < 4
        finally:
            is_over.set()
            sipping.join()


def test_a_body_shorter_than_announced_is_an_error(server: Server) -> None:
    server.answer = lambda conn, _: conn.sendall(head(Content_Length="100") + b"x")
    with pytest.raises(UrlUnreachable):
        get(Outbound(OUTER), server.url())


def test_nothing_there_is_unreachable() -> None:
    with socket.create_server(("127.0.0.2", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(UrlUnreachable):
        get(Outbound(OUTER), f"http://127.0.0.2:{port}/")
    with pytest.raises(UrlUnreachable):
        get(Outbound(resolver=failing), "http://nowhere.test/")


def failing(host: str, port: int) -> list[str]:
    raise socket.gaierror(-2, "Name or service not known")


def stopping() -> None:
    raise JobCancelled("stop")


def test_whoever_waits_can_be_stopped_while_a_name_is_resolved_and_while_nothing_comes(server: Server) -> None:
    hanging = threading.Event()

    def slow(host: str, port: int) -> list[str]:
        hanging.wait()
        return ["127.0.0.2"]

    ticks = iter([None, None])

    def tick() -> None:
        if next(ticks, stopping) is stopping:
            stopping()

    with pytest.raises(JobCancelled), Outbound(OUTER, resolver=slow).get(read_url("http://a.test/"), {}, LONG, tick):
        pass
    hanging.set()
    server.answer = never
    ticks = iter([None] * 4)
    with pytest.raises(JobCancelled), Outbound(OUTER).get(read_url(server.url()), {}, LONG, tick):
        pass
    until(lambda: not [t for t in threading.enumerate() if t.name.startswith("outbound")])


def test_tls_is_checked_by_the_name_although_the_address_is_connected_to(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    asked: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.sni_callback = lambda _sock, name, _context: asked.append(name)
    trusting = ssl.create_default_context(cafile=str(certificate))
    with serving(reply(b"hello"), address="127.0.0.2", tls=context) as server:
        outbound = Outbound(OUTER, resolver=Names(["127.0.0.2"]), tls=trusting)
        assert get(outbound, server.url(host="clips.test")) == (200, b"hello")
        assert asked == ["clips.test"]
        with pytest.raises(UrlRefused, match="certificate"):
            get(outbound, server.url(host="other.test"))
        with pytest.raises(UrlRefused, match="certificate"):
            get(Outbound(OUTER, resolver=Names(["127.0.0.2"])), server.url(host="clips.test"))
