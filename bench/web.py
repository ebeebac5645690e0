"""The web front end against bare peers on the same gunicorn and Redis.

- `status`: a finished job's status from the cache, against a Flask route that answers a constant.
- `submit`: `POST /api/jobs` of a file in the media root (record, message, and the file opened by a child process to refuse
  what cannot be read), against a route that does one bare `apply_async`.

Figures are requests a second with LOADERS connections, each ratio from pairs taken in turn.
"""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bench import record
from tests.nodes import ROOT, RedisContainer, WorkerContainer, free_port
from tests.waiting import until
from topclip.config import Settings

LOADERS = 4
SECONDS = 3.0
FOOTAGE = ROOT / "demo/footage.mp4"


def measure() -> None:
    """Run the bench."""
    with tempfile.TemporaryDirectory() as folder:
        redis = RedisContainer(Path(folder))
        assert redis.ready()
        settings = Settings(redis_url=redis.url, data_dir=Path(folder), media_root=FOOTAGE.parent)
        try:
            with (
                server(settings, "web.wsgi:create_app_from_env()") as ours,
                server(settings, "bench.bare:create_app()") as bare,
            ):
                figures = compare(settings, Path(folder), ours, bare)
        finally:
            redis.teardown()
    record.write("web", "make bench ARGS=web", figures)


def compare(settings: Settings, folder: Path, ours: int, bare: int) -> dict[str, object]:
    """The two ratios."""
    worker = WorkerContainer(folder, "bench", settings.to_env())
    assert worker.ready()
    status_url = finished_job(ours)
    worker.kill("SIGTERM")
    until(lambda: worker.status == "exited", 30)
    cached, constant = record.pairs(lambda: rate(ours, "GET", status_url), lambda: rate(bare, "GET", "/bare"))
    body = json.dumps({"source": str(FOOTAGE)})
    submit, apply = record.pairs(
        lambda: rate(ours, "POST", "/api/jobs", body), lambda: rate(bare, "POST", "/apply", "{}")
    )
    return {
        "cached status, requests a second": record.spread(cached),
        "bare Flask route, requests a second": record.spread(constant),
        "cached status to bare Flask route": record.spread([a / b for a, b in zip(cached, constant, strict=True)]),
        "submit, requests a second": record.spread(submit),
        "bare apply_async, requests a second": record.spread(apply),
        "submit to bare apply_async": record.spread([a / b for a, b in zip(submit, apply, strict=True)]),
    }


def finished_job(port: int) -> str:
    """Submit a job and wait for its end; its status URL."""
    options = {"count": 1, "min_length": 3, "max_length": 5, "quality": "draft"}
    answer = ask(port, "POST", "/api/jobs", json.dumps({"source": str(FOOTAGE), "options": options}))
    url = str(answer["status_url"])
    until(lambda: ask(port, "GET", url)["state"] in ("SUCCEEDED", "PARTIAL"), 120, lambda: str(ask(port, "GET", url)))
    return url


def ask(port: int, method: str, path: str, body: str | None = None) -> dict[str, object]:
    """One request; its JSON answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    content = answer.read()
    assert answer.status < 300, content
    found: dict[str, object] = json.loads(content)
    return found


def rate(port: int, method: str, path: str, body: str | None = None) -> float:
    """Requests a second over LOADERS kept-alive connections for SECONDS."""
    counts = [0] * LOADERS
    end = time.monotonic() + SECONDS

    def load(n: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        while time.monotonic() < end:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            assert answer.status < 300, answer.status
            counts[n] += 1

    threads = [threading.Thread(target=load, args=(n,)) for n in range(LOADERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / SECONDS


@contextlib.contextmanager
def server(settings: Settings, app: str) -> Iterator[int]:
    """gunicorn with the flags that web/gunicorn_conf.py sets, serving `app`; its port."""
    port = free_port()
    same = ["--worker-class", "gthread", "--threads", str(settings.web_threads), "--workers", "1", "--keep-alive", "5"]
    argv = [sys.executable, "-m", "gunicorn", *same, "--no-control-socket", "--bind", f"127.0.0.1:{port}", app]
    env = {**os.environ, **settings.to_env(), "TOPCLIP_LOG_LEVEL": "WARNING"}
    process = subprocess.Popen(argv, env=env, cwd=ROOT)
    try:
        until(lambda: _listens(port), 30)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _listens(port: int) -> bool:
    try:
        http.client.HTTPConnection("127.0.0.1", port, timeout=1).connect()
    except OSError:
        return False
    return True
