"""The real server with hundreds of streams, after thousands of reads, and before a Redis that is slow or falls silent in the
middle of a request.
"""

import json
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from bench.streams import changing, holdings, read_all
from tests.nodes import RedisContainer, WebContainer
from tests.proxy import Fate, Proxy
from tests.waiting import until
from topclip.config import Settings

PROMISED_S = 1.0
MARGIN_S = 1.0
"""For a busy machine."""
N_STREAMS = 300


@pytest.fixture
def start_web(tmp_path: Path, redis: RedisContainer) -> Iterator[Callable[..., WebContainer]]:
    """start_web(**settings) -> a server that answers and hears of changes."""
    started: list[WebContainer] = []

    def start(**changes: Any) -> WebContainer:
        values = {"redis_url": redis.url, "data_dir": tmp_path / "data", "web_threads": 16} | changes
        node = WebContainer(tmp_path, Settings(**values), f"web{len(started)}")
        started.append(node)
        until(lambda: _is_ready(node), 30, node.logs)
        return node

    yield start
    for node in started:
        node.teardown()


def _is_ready(web: WebContainer) -> bool:
    try:
        return web.get("/health").json()["redis"]["status"] == "ok"
    except httpx.TransportError:
        return False


def _documents(data: bytes) -> list[dict[str, Any]]:
    """The status documents in a stream's bytes, whose chunks are whole events."""
    return [json.loads(line[6:]) for line in data.split(b"\n") if line.startswith(b"data: ")]


class Client:
    """One that follows a job over a plain socket."""

    def __init__(self, web: WebContainer, job: str, version: str = "1.1") -> None:
        self.socket = socket.create_connection(("127.0.0.1", web.port), timeout=20)
        self.socket.sendall(f"GET /api/jobs/{job}/events HTTP/{version}\r\nHost: 127.0.0.1\r\n\r\n".encode())
        self.data = b""

    def until(self, text: bytes) -> None:
        """Read on until this came."""
        while text not in self.data:
            self._read()

    def rest(self) -> bytes:
        """All until the end."""
        while self._read():
            pass
        self.socket.close()
        return self.data

    def _read(self) -> bytes:
        more = self.socket.recv(1 << 16)
        self.data += more
        return more


@pytest.mark.faults
def test_hundreds_of_streams_hold_no_thread_and_each_gets_the_end_once(
    start_web: Callable[..., WebContainer], redis: RedisContainer, video: Path
) -> None:
    web = start_web()
    job = web.submit(video).json()["id"]
    clients = [Client(web, job, "1.0" if n == 0 else "1.1") for n in range(N_STREAMS)]
    for client in clients:
        client.until(b"data: ")
    threads = web.children()[0].num_threads()
    assert threads < 16 + 30
    with changing(redis, job):
        for _ in range(200):
            answer = web.get(f"/api/job-status/{job}")
            assert answer.status_code == 200
            assert answer.elapsed.total_seconds() < PROMISED_S + MARGIN_S
    assert httpx.post(f"{web.url}/api/jobs/{job}/cancel").status_code == 200
    for n, client in enumerate(clients):
        data = client.rest()
        assert [d["state"] for d in _documents(data)].count("CANCELLED") == 1
        assert data.endswith(b"0\r\n\r\n") is (n > 0)
    assert web.children()[0].num_threads() <= threads


@pytest.mark.faults
def test_a_client_that_does_not_read_holds_up_nobody_and_is_told_the_newest_when_it_does(
    start_web: Callable[..., WebContainer], redis: RedisContainer, video: Path
) -> None:
    web = start_web()
    job = web.submit(video).json()["id"]
    deaf = Client(web, job)
    deaf.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.until(b"data: ")
    key = f"topclip:job:{job}"
    redis.client.hset(key, "name", "x" * 400_000)  # each event is more than the kernel takes
    with Client(web, job).socket as reader:
        reader.settimeout(20)
        seen, n = b"", 0
        with changing(redis, job):
            while n < 20 << 20:
                seen = reader.recv(1 << 20)
                assert seen
                n += len(seen)
    redis.client.hset(key, "name", "short")
    httpx.post(f"{web.url}/api/jobs/{job}/cancel")
    documents = _documents(deaf.rest().replace(b"\r\n", b""))
    assert documents[-1]["state"] == "CANCELLED"
    assert len(documents) < 10


def test_beyond_the_cap_streams_are_refused_and_those_that_left_make_room(
    start_web: Callable[..., WebContainer], video: Path
) -> None:
    web = start_web(max_streams=3)
    job = web.submit(video).json()["id"]
    clients = [Client(web, job) for _ in range(3)]
    for client in clients:
        client.until(b"data: ")
    refused = web.get(f"/api/jobs/{job}/events")
    assert (refused.status_code, refused.json()["code"]) == (503, "SERVER_BUSY")
    assert int(refused.headers["Retry-After"]) > 0
    assert web.get(f"/api/job-status/{job}?wait=5").status_code == 503
    clients[0].socket.close()
    clients[0] = until(lambda: _seat(web, job), 10)
    web.process.send_signal(signal.SIGTERM)
    assert all(client.rest().endswith(b"0\r\n\r\n") for client in clients)
    assert web.process.wait(15) == 0


def _seat(web: WebContainer, job: str) -> Client | None:
    client = Client(web, job)
    while b"\r\n\r\n" not in client.data:
        client._read()
    if b" 200 OK" in client.data:
        return client
    client.socket.close()
    return None


def test_a_client_that_lingers_after_its_answer_holds_up_nobody(start_web: Callable[..., WebContainer]) -> None:
    web = start_web()
    lingering = [socket.create_connection(("127.0.0.1", web.port), timeout=20) for _ in range(8)]
    for connection in lingering:  # its end is to be closed by the client, which does not
        connection.sendall(b"GET /health/live HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
    for connection in lingering:
        assert b" 200 OK" in connection.recv(4096)
    assert web.get("/health/live").elapsed.total_seconds() < PROMISED_S + MARGIN_S
    for connection in lingering:
        connection.close()


@pytest.mark.faults
def test_thousands_of_status_reads_leave_nothing_behind(
    start_web: Callable[..., WebContainer], redis: RedisContainer, video: Path
) -> None:
    web = start_web()
    jobs = [web.submit(video).json()["id"] for _ in range(4)]
    for job in jobs[:2]:
        httpx.post(f"{web.url}/api/jobs/{job}/cancel")
    paths = [f"/api/job-status/{job}" for job in jobs]
    read_all(web, paths, 2000)
    before = holdings(web, redis)
    read_all(web, paths, 5000)
    after = holdings(web, redis)
    assert after["rss_mib"] - before["rss_mib"] < 4
    for held in ("channels", "patterns"):
        assert after[held] == before[held]
    for held in ("threads", "redis_clients"):
        assert after[held] <= before[held] + 2  # another of the pool may have come to its turn for the first time


def _submit(web: WebContainer, video: Path, key: str) -> httpx.Response:
    with video.open("rb") as file:
        return httpx.post(web.url + "/api/jobs", files={"file": file}, headers={"Idempotency-Key": key}, timeout=30)


def test_a_slow_redis_does_not_add_up(start_web: Callable[..., WebContainer], proxy: Proxy, video: Path) -> None:
    web = start_web(redis_url=proxy.redis_url)
    proxy.delay_s = 0.3  # less than any single patience, and a submission asks six times
    answer = _submit(web, video, "k")
    assert answer.elapsed.total_seconds() < PROMISED_S + MARGIN_S / 2
    assert answer.status_code == 503
    proxy.delay_s = 0.0
    until(lambda: _submit(web, video, "k").status_code == 202, 15)


@pytest.mark.faults
@pytest.mark.parametrize("stage", range(1, 6))
def test_a_redis_that_falls_silent_within_a_submission_loses_nothing_and_is_answered_in_time(
    start_web: Callable[..., WebContainer], redis: RedisContainer, proxy: Proxy, video: Path, stage: int
) -> None:
    web = start_web(redis_url=proxy.redis_url)
    lock, asked = threading.Lock(), 0

    def fall_silent(request: bytes) -> Fate:
        nonlocal asked
        with lock:
            asked += b"EVALSHA" in request or b"LPUSH" in request
            proxy.is_silent = asked >= stage  # what it was asked is done, and nobody hears of it
        return Fate.PASS

    proxy.fate_of = fall_silent
    answer = _submit(web, video, "k")
    assert answer.elapsed.total_seconds() < PROMISED_S + MARGIN_S
    assert answer.status_code in (202, 503)
    for path, wanted in ((f"/api/job-status/{uuid4()}", 503), ("/health", 200)):
        late = web.get(path)
        assert (late.status_code, late.elapsed.total_seconds() < PROMISED_S + MARGIN_S) == (wanted, True)
    proxy.fate_of = lambda request: Fate.PASS
    proxy.is_silent = False
    again = until(lambda: _taken(web, video), 20, web.logs)
    assert answer.status_code == 503 or answer.json()["id"] == again
    assert redis.client.zcard("topclip:jobs") == 1
    assert web.get(f"/api/job-status/{again}").json()["state"] == "QUEUED"


def _taken(web: WebContainer, video: Path) -> str | None:
    answer = _submit(web, video, "k")
    return str(answer.json()["id"]) if answer.status_code == 202 else None


def test_streams_live_through_the_death_of_redis_and_each_gets_the_end_once(
    start_web: Callable[..., WebContainer], redis: RedisContainer, video: Path
) -> None:
    web = start_web()
    job = web.submit(video).json()["id"]
    clients = [Client(web, job) for _ in range(20)]
    for client in clients:
        client.until(b"data: ")
    until(redis.client.save, 20)
    redis.kill()
    for client in clients:
        client.until(b'"stale": true')
    redis.restart()
    until(lambda: httpx.post(f"{web.url}/api/jobs/{job}/cancel").status_code == 200, 20, web.logs)
    for client in clients:
        ends = [d for d in _documents(client.rest()) if d["state"] == "CANCELLED" and not d["stale"]]
        assert len(ends) == 1
        revision = ends[0]["revision"]
    seen = {"Last-Event-ID": f"1-{revision}"}
    assert httpx.get(f"{web.url}/api/jobs/{job}/events", headers=seen).status_code == 204
