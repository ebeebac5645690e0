"""Sources on other servers: whole or not at all, resumed where that is safe, bounded in size, and stopped when told."""

import socket
import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from tests.servers import Answer, Request, Server, head, in_turn, reply, serving
from topclip.errors import (
    JobCancelled,
    SourceNotFound,
    SourceTooLarge,
    StorageFull,
    TopClipError,
    UnsupportedMedia,
    UrlRefused,
    UrlUnreachable,
)
from topclip.model.request import UrlSource
from topclip.outbound.http import Outbound, Patience
from topclip.pipeline.context import StageContext
from topclip.pipeline.fetch import TRIES, FetchLimits, fetch_source
from topclip.storage.base import Tick, no_tick
from topclip.storage.local import LocalStore

CONTENT = bytes(range(256)) * 2000
LIMITS = FetchLimits(max_bytes=len(CONTENT), patience=Patience(connect_s=5, idle_s=2, total_s=20))


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(reply(CONTENT)) as found:
        yield found


@pytest.fixture
def ctx(tmp_path: Path) -> StageContext:
    store = LocalStore(tmp_path / "store")
    return StageContext(str(uuid.uuid4()), store, "ffmpeg", max_duration_s=10, max_pixels=10)


def fetch(server: Server, ctx: StageContext, limits: FetchLimits = LIMITS) -> list[tuple[int, int | None]]:
    told: list[tuple[int, int | None]] = []
    source = UrlSource(url=server.url(), key="jobs/a/source.mp4", name="video.mp4")
    fetch_source(source, ctx, Outbound(["127.0.0.1/32"]), limits=limits, report=lambda *at: told.append(at))
    return told


def fetched(ctx: StageContext) -> bytes:
    return ctx.store.get_bytes("jobs/a/source.mp4")


def test_a_source_is_fetched_once(server: Server, ctx: StageContext) -> None:
    told = fetch(server, ctx)
    assert fetched(ctx) == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert server.requests[0].headers["accept-encoding"] == "identity"
    assert fetch(server, ctx) == []
    assert len(server.requests) == 1
    assert ctx.store.staged() == []


class _FarStore(LocalStore):
    """One to which a file takes some time."""

    def put_file(self, key: str, path: Path, tick: Tick = no_tick) -> bool:
        tick()
        return super().put_file(key, path, tick)


def test_what_was_fetched_is_reported_whole_while_it_goes_on_to_the_store(
    server: Server, ctx: StageContext, tmp_path: Path
) -> None:
    told = fetch(server, replace(ctx, store=_FarStore(tmp_path / "store")))
    assert told[-2:] == [(len(CONTENT), len(CONTENT))] * 2


def broken_after(n: int, **headers: str) -> Answer:
    """The connection ends after n bytes of the body."""

    def answer(conn: socket.socket, request: Request) -> None:
        conn.sendall(head(Content_Length=str(len(CONTENT)), **headers) + CONTENT[:n])

    return answer


def rest(tag: str) -> Answer:
    """What a server that knows ranges answers."""

    def answer(conn: socket.socket, request: Request) -> None:
        if request.headers.get("if-range") != tag:
            reply(CONTENT, ETag=tag)(conn, request)
            return
        start = int(request.headers["range"].removeprefix("bytes=").removesuffix("-"))
        part = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
        reply(CONTENT[start:], 206, ETag=tag, Content_Range=part)(conn, request)

    return answer


def test_it_goes_on_where_the_connection_broke(server: Server, ctx: StageContext) -> None:
    server.answer = in_turn(broken_after(100_000, ETag='"a"'), rest('"a"'))
    told = fetch(server, ctx)
    assert fetched(ctx) == CONTENT
    assert server.requests[1].headers["range"] == "bytes=100000-"
    assert {total for _, total in told} == {None, len(CONTENT)}


def test_what_changed_meanwhile_is_fetched_anew(server: Server, ctx: StageContext) -> None:
    server.answer = in_turn(broken_after(100_000, ETag='"old"'), rest('"new"'))
    fetch(server, ctx)
    assert fetched(ctx) == CONTENT


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"a"'}, {"ETag": '"a"', "Accept_Ranges": "none"}])
def test_what_cannot_be_told_to_be_the_same_is_not_resumed(
    server: Server, ctx: StageContext, headers: dict[str, str]
) -> None:
    server.answer = broken_after(100_000, **headers)
    with pytest.raises(UrlUnreachable):
        fetch(server, ctx)
    assert len(server.requests) == 1
    assert ctx.store.list("") == ctx.store.staged() == []


def test_a_part_other_than_the_one_asked_for_is_no_part_of_the_source(server: Server, ctx: StageContext) -> None:
    wrong = reply(b"x", 206, ETag='"a"', Content_Range="bytes 5-5/9")
    server.answer = in_turn(broken_after(100, ETag='"a"'), wrong)
    with pytest.raises(UrlUnreachable):
        fetch(server, ctx)
    assert ctx.store.list("") == ctx.store.staged() == []


def drip(conn: socket.socket, request: Request) -> None:
    """So that the connection is never idle for long."""
    conn.sendall(head(Content_Length="1000000"))
    ended = threading.Event()
    for _ in range(200):
        conn.sendall(b"x")
        ended.wait(0.05)


def test_a_server_that_drips_is_left_long_before_the_end(server: Server, ctx: StageContext) -> None:
    server.answer = drip
    patience = Patience(connect_s=5, idle_s=100, total_s=100)
    with pytest.raises(UrlUnreachable, match="bytes a second"):
        fetch(server, ctx, FetchLimits(max_bytes=2_000_000, patience=patience, slow_s=0.5))
    assert ctx.store.list("") == ctx.store.staged() == []


def drip_sizes(conn: socket.socket, request: Request) -> None:
    """The size of a chunk, and never the chunk."""
    conn.sendall(head(Transfer_Encoding="chunked") + b"1;")
    ended = threading.Event()
    for _ in range(200):
        conn.sendall(b"x")
        ended.wait(0.05)


def test_the_pace_is_looked_at_also_while_no_body_comes(server: Server, ctx: StageContext) -> None:
    server.answer = drip_sizes
    patience = Patience(connect_s=5, idle_s=100, total_s=100)
    with pytest.raises(UrlUnreachable, match="bytes a second"):
        fetch(server, ctx, FetchLimits(max_bytes=2_000_000, patience=patience, slow_s=0.5))


def test_a_byte_for_each_connection_is_no_progress(
    server: Server, ctx: StageContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("topclip.pipeline.fetch.PAUSE_S", 0.1)

    def next_byte(conn: socket.socket, request: Request) -> None:
        start = int(request.headers.get("range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        part = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
        conn.sendall(head(206, ETag='"a"', Content_Range=part, Content_Length=str(len(CONTENT) - start)) + b"x")

    server.answer = next_byte
    with pytest.raises(UrlUnreachable):
        fetch(server, ctx)
    assert len(server.requests) == TRIES


def chunked(conn: socket.socket, request: Request) -> None:
    body = b"".join(b"%x\r\n" % 1000 + b"x" * 1000 + b"\r\n" for _ in range(len(CONTENT) // 1000 + 1)) + b"0\r\n\r\n"
    conn.sendall(head(Transfer_Encoding="chunked") + body)


BAD: list[tuple[Answer, type[TopClipError]]] = [
    (reply(CONTENT + b"x"), SourceTooLarge),
    (chunked, SourceTooLarge),
    (reply(b""), UnsupportedMedia),
    (reply(b"x", Content_Encoding="gzip"), UrlRefused),
    (reply(b"none", 404), SourceNotFound),
    (reply(b"no", 403), SourceNotFound),
    (reply(b"later", 503), UrlUnreachable),
    (reply(b"slowly", 429), UrlUnreachable),
    (lambda conn, _: conn.sendall(b"SSH-2.0-OpenSSH\r\n"), UrlUnreachable),
    (lambda conn, _: None, UrlUnreachable),
]


@pytest.mark.parametrize(("answer", "error"), BAD)
def test_what_is_no_sound_source_is_an_error_and_leaves_nothing(
    server: Server, ctx: StageContext, answer: Answer, error: type[TopClipError]
) -> None:
    server.answer = answer
    with pytest.raises(error) as caught:
        fetch(server, ctx)
    assert type(caught.value) is error
    assert ctx.store.list("") == ctx.store.staged() == []


class Filling(LocalStore):
    """A store that has so many bytes of room each time that it is looked at."""

    free: ClassVar[list[int]]

    def free_bytes(self) -> int:
        return self.free.pop(0)


def test_what_would_leave_too_little_room_is_refused_by_the_announced_length(
    server: Server, ctx: StageContext, tmp_path: Path
) -> None:
    free = ctx.store.free_bytes() or 0
    with pytest.raises(StorageFull) as caught:
        fetch(server, ctx, replace(LIMITS, min_free_bytes=free * 2))
    assert (caught.value.detail["field"], "TOPCLIP_MIN_FREE_MB" in str(caught.value.hint)) == ("source", True)
    ctx = replace(ctx, store=Filling(tmp_path / "filling"))
    Filling.free = [len(CONTENT) + 999]
    with pytest.raises(StorageFull):
        fetch(server, ctx, replace(LIMITS, min_free_bytes=1000))
    Filling.free = [len(CONTENT) + 1000]
    fetch(server, ctx, replace(LIMITS, min_free_bytes=1000))


def test_a_store_that_gets_full_meanwhile_ends_the_fetch_and_keeps_nothing(
    server: Server, ctx: StageContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("topclip.pipeline.fetch.LOOK_BYTES", 100_000)
    ctx = replace(ctx, store=Filling(tmp_path / "filling"))
    Filling.free = [10 << 20, 600_000, 400_000]
    server.answer = chunked
    with pytest.raises(StorageFull):
        fetch(server, ctx, replace(LIMITS, min_free_bytes=500_000))
    assert Filling.free == []
    assert ctx.store.list("") == ctx.store.staged() == []


def a_byte_and_no_more(conn: socket.socket, request: Request) -> None:
    conn.sendall(head(Content_Length="99") + b"x")
    conn.recv(1)


def test_a_stopped_job_leaves_nothing(server: Server, ctx: StageContext) -> None:
    server.answer = a_byte_and_no_more

    def stop_after_a_byte(done: int, total: int | None) -> None:
        if done:
            assert len(ctx.store.staged()) == 1
            raise JobCancelled("stop")

    source = UrlSource(url=server.url(), key="jobs/a/source.mp4", name="video.mp4")
    with pytest.raises(JobCancelled):
        fetch_source(source, ctx, Outbound(["127.0.0.1/32"]), limits=LIMITS, report=stop_after_a_byte)
    assert ctx.store.list("") == ctx.store.staged() == []
