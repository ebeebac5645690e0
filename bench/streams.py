"""The web process with many followers, and after many reads: one gunicorn over a real Redis, no worker.

- 1 000 streams of one job that changes ten times a second, a tenth of them of clients that never read: latency of status reads
  beside them, relative to the same reads without any stream in the same run; CPU and memory of the web process.
- 100 000 status reads over kept-alive connections (finished, waiting, and unknown ids): what is there after them that was
  not after the first tenth.
"""

import http.client
import json
import selectors
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from bench import record
from bench.web import FOOTAGE, LOADERS
from tests.nodes import RedisContainer, WebContainer
from tests.waiting import until
from topclip.config import Settings

N_STREAMS = 1000
N_READS = 100_000
CHANGES_PER_S = 10
SECONDS = 15.0
READ_EVERY_S = 0.02


def measure() -> None:
    """Run the bench."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        redis = RedisContainer(Path(folder))
        stack.callback(redis.teardown)
        assert redis.ready()
        settings = Settings(redis_url=redis.url, data_dir=Path(folder), media_root=FOOTAGE.parent, log_level="WARNING")
        web = WebContainer(Path(folder), settings)
        stack.callback(web.teardown)
        until(lambda: _is_ready(web), 30, web.logs)
        figures = with_streams(web, redis) | after_reads(web, redis)
    record.write("streams", "make bench ARGS=streams", figures)


def with_streams(web: WebContainer, redis: RedisContainer) -> dict[str, Any]:
    """Status reads without streams and beside them."""
    job, process = submit(web), web.children()[0]
    with changing(redis, job):
        alone = latencies(web, job)
        memory_before = process.memory_info().rss
        with crowd(web, job, N_STREAMS) as received:
            cpu_before, bytes_before, began = sum(process.cpu_times()[:2]), received[0], time.monotonic()
            beside = latencies(web, job)
            took_s = time.monotonic() - began
            cpu = (sum(process.cpu_times()[:2]) - cpu_before) / took_s
            rate = (received[0] - bytes_before) / took_s
            memory, threads = process.memory_info().rss - memory_before, process.num_threads()
    return {
        "streams": N_STREAMS,
        "changes of the job a second": CHANGES_PER_S,
        "status read without streams, ms": alone,
        "status read beside the streams, ms": beside,
        "median beside to without": round(beside["p50"] / alone["p50"], 2),
        "slowest read beside the streams to the promised second": round(beside["max"] / 1000, 3),
        "cores used by the web process": round(cpu, 2),
        "memory for one stream, KiB": round(memory / N_STREAMS / 1024, 1),
        "MiB a second to clients": round(rate / 2**20, 2),
        "threads of the web process": threads,
    }


def after_reads(web: WebContainer, redis: RedisContainer) -> dict[str, Any]:
    """What 90 000 reads leave behind, after 10 000 to warm up."""
    ids = [submit(web) for _ in range(20)]
    paths = [f"/api/job-status/{job}" for job in ids]
    read_all(web, paths, N_READS // 10)
    before = holdings(web, redis)
    read_all(web, paths, N_READS - N_READS // 10)
    after = holdings(web, redis)
    return {
        "status reads": N_READS,
        "after a tenth of the reads": before,
        "after all": after,
        "memory after all to memory after a tenth": round(after["rss_mib"] / before["rss_mib"], 3),
    }


def holdings(web: WebContainer, redis: RedisContainer) -> dict[str, float]:
    """What the web process holds: memory, threads, files, and in Redis subscriptions and clients."""
    process = web.children()[0]
    return {
        "rss_mib": round(process.memory_info().rss / 2**20, 1),
        "threads": process.num_threads(),
        "channels": len(redis.client.pubsub_channels()),
        "patterns": redis.client.pubsub_numpat(),
        "redis_clients": len(redis.client.client_list()),
    }


def read_all(web: WebContainer, paths: list[str], n: int) -> None:
    """Read n statuses over LOADERS kept-alive connections; every tenth of an id that nobody knows."""

    def load(share: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=30)
        for i in range(share):
            is_known = i % 10 != 0
            connection.request("GET", paths[i % len(paths)] if is_known else f"/api/job-status/{uuid4()}")
            answer = connection.getresponse()
            answer.read()
            assert answer.status == (200 if is_known else 404), answer.status
        connection.close()

    threads = [threading.Thread(target=load, args=(n // LOADERS,)) for _ in range(LOADERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def latencies(web: WebContainer, job: str, seconds: float = SECONDS) -> dict[str, float]:
    """Reads of a status, one after the other, in ms."""
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=30)
    found = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.perf_counter()
        connection.request("GET", f"/api/job-status/{job}")
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        found.append((time.perf_counter() - began) * 1000)
        time.sleep(READ_EVERY_S)
    connection.close()
    found.sort()
    return {
        "p50": round(found[len(found) // 2], 2),
        "p99": round(found[len(found) * 99 // 100], 2),
        "max": round(found[-1], 2),
    }


@contextmanager
def crowd(web: WebContainer, job: str, n: int) -> Iterator[list[int]]:
    """n followers of a job, all of which got an event; every tenth reads no more. Yields [bytes received so far]."""
    with selectors.DefaultSelector() as selector, ExitStack() as stack:
        received, heard, over = [0], set[int](), threading.Event()
        for _ in range(n):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", web.port), timeout=30))
            client.sendall(f"GET /api/jobs/{job}/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            selector.register(client, selectors.EVENT_READ)

        def listen() -> None:
            while not over.is_set():
                for key, _ in selector.select(0.1):
                    client = key.fileobj
                    assert isinstance(client, socket.socket)
                    data = client.recv(1 << 16)
                    assert data, "a stream ended"
                    received[0] += len(data)
                    if b"data:" in data and key.fd not in heard:
                        heard.add(key.fd)
                        if len(heard) % 10 == 0:
                            selector.unregister(client)

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            until(lambda: len(heard) == n or not thread.is_alive(), 60, lambda: f"{len(heard)} of {n}")
            assert len(heard) == n
            yield received
        finally:
            over.set()
            thread.join()


@contextmanager
def changing(redis: RedisContainer, job: str) -> Iterator[None]:
    """The job changes CHANGES_PER_S times a second, as a worker's reports make it."""
    over = threading.Event()

    def change() -> None:
        key = f"topclip:job:{job}"
        while not over.wait(1 / CHANGES_PER_S):
            revision = redis.client.hincrby(key, "revision", 1)
            redis.client.publish("topclip:job-events", json.dumps({"id": job, "epoch": 1, "revision": revision}))

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def submit(web: WebContainer) -> str:
    """Submit a job that nobody works on; its id."""
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=30)
    connection.request("POST", "/api/jobs", json.dumps({"source": str(FOOTAGE)}), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    assert answer.status == 202, content
    return str(json.loads(content)["id"])


def _is_ready(web: WebContainer) -> bool:
    try:
        return web.get("/health/ready").status_code == 200
    except httpx.TransportError:
        return False
