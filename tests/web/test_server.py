"""The real server: gunicorn over a real Redis that is frozen, killed and started again, and uploads larger than memory
should ever see.
"""

import http.client
import json
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.nodes import RedisContainer, WebContainer
from tests.waiting import until
from topclip.config import Settings

PROMISED_S = 1.0
"""No request takes longer while Redis is away. Measured with a margin for a busy machine."""
MARGIN_S = 1.0


@pytest.fixture
def settings(tmp_path: Path, redis: RedisContainer) -> Settings:
    return Settings(redis_url=redis.url, data_dir=tmp_path / "data", web_threads=16, max_streams=4, max_upload_mb=300)


@pytest.fixture
def start_web(tmp_path: Path, settings: Settings) -> Iterator[Callable[..., WebContainer]]:
    """start_web(**settings) -> a server that answers and hears of changes."""
    started: list[WebContainer] = []

    def start(**changes: Any) -> WebContainer:
        node = WebContainer(tmp_path, settings.model_copy(update=changes), f"web{len(started)}")
        started.append(node)
        assert node.ready()
        until(lambda: _answers(node), 20, node.logs)
        return node

    yield start
    for node in started:
        node.teardown()


def _answers(node: WebContainer) -> bool:
    try:
        return node.get("/health/live").status_code == 200
    except httpx.TransportError:
        return False


def _is_fresh(node: WebContainer) -> bool:
    return bool(node.get("/health").json()["redis"]["status"] != "down") and "[OK] Redis connected" in node.logs()


@pytest.fixture
def web(start_web: Callable[..., WebContainer]) -> WebContainer:
    node = start_web()
    until(lambda: _is_fresh(node), 20, node.logs)
    return node


def _status(web: WebContainer, job: str) -> Any:
    return web.get(f"/api/job-status/{job}")


@pytest.mark.parametrize("fault", ["SIGSTOP", "SIGKILL"])
def test_an_outage_of_redis_is_answered_honestly_and_in_time_and_heals(
    web: WebContainer, redis: RedisContainer, video: Path, settings: Settings, fault: str
) -> None:
    job = web.submit(video).json()["id"]
    until(lambda: _status(web, job).json()["source"] == "cache", 20)
    redis.kill(fault)
    for path, wanted in (
        (f"/api/job-status/{job}", 200),
        (f"/api/job-status/{uuid4()}", 503),
        ("/health", 200),
        ("/api/jobs", 200),
        ("/metrics", 200),
        (f"/api/job-status/{job}?wait=30", 200),
    ):
        answer = web.get(path)
        assert answer.status_code == wanted, (path, answer.text)
        assert answer.elapsed.total_seconds() < PROMISED_S + MARGIN_S, path
    until(lambda: web.get("/health/ready").status_code == 503, 5)  # what `/health` found is kept for a second
    refused = web.submit(video)
    assert (refused.status_code, refused.json()["code"]) == (503, "QUEUE_UNAVAILABLE")
    assert int(refused.headers["Retry-After"]) > 0
    until(lambda: _status(web, job).json()["stale"], 20)
    assert web.get("/health").json()["redis"]["status"] == "down"
    folders = {path.name for path in (settings.store_dir / "jobs").iterdir() if any(path.iterdir())}
    assert folders == {job}

    if fault == "SIGSTOP":
        redis.kill("SIGCONT")
    else:
        redis.restart()
    until(lambda: not _status(web, job).json()["stale"], 15, web.logs)
    assert _status(web, str(uuid4())).status_code == 404
    assert web.submit(video).status_code == 202


def test_what_nobody_asked_for_is_known_when_redis_goes_away(
    web: WebContainer, start_web: Callable[..., WebContainer], redis: RedisContainer, video: Path
) -> None:
    job = web.submit(video).json()["id"]
    httpx.post(f"{start_web().url}/api/jobs/{job}/cancel")  # on another server: this one only hears of it
    until(lambda: _cached_state(web, redis, job) == "CANCELLED", 20, step_s=0.5)


def _cached_state(web: WebContainer, redis: RedisContainer, job: str) -> str:
    """What a server knows by itself: it is asked only while Redis is frozen."""
    redis.kill("SIGSTOP")
    try:
        until(lambda: _status(web, job).json()["stale"], 10)
        return str(_status(web, job).json()["state"])
    finally:
        redis.kill("SIGCONT")
        until(lambda: web.get("/health/ready").status_code == 200, 10)


def test_it_starts_without_redis_warns_and_connects_when_redis_comes(
    redis: RedisContainer, start_web: Callable[..., WebContainer]
) -> None:
    redis.kill()
    web = start_web()
    until(lambda: "[WARN]" in web.logs(), 10, web.logs)
    assert _status(web, str(uuid4())).status_code == 503
    redis.restart()
    until(lambda: f"[OK] Redis connected: {redis.url}" in web.logs(), 15, web.logs)
    assert _status(web, str(uuid4())).status_code == 404


def test_a_job_survives_the_death_of_the_web_process_and_is_seen_by_another(
    web: WebContainer, start_web: Callable[..., WebContainer], video: Path
) -> None:
    job = web.submit(video).json()["id"]
    other = start_web()
    assert _status(other, job).json()["state"] == "QUEUED"
    children = web.children()
    web.process.kill()  # first, or it starts another child, which answers for a moment as an orphan
    web.process.wait()
    for process in children:
        process.kill()
    web.restart()
    until(lambda: _answers(web), 20, web.logs)
    assert _status(web, job).json()["state"] == "QUEUED"
    assert httpx.post(f"{web.url}/api/jobs/{job}/cancel").json()["state"] == "CANCELLED"
    until(lambda: _status(other, job).json()["state"] == "CANCELLED", 20)


def test_a_full_queue_is_429_and_leaves_nothing_behind(
    start_web: Callable[..., WebContainer], video: Path, settings: Settings
) -> None:
    web = start_web(max_queued_jobs=1)
    job = until(lambda: web.submit(video).json().get("id"), 10)
    full = web.submit(video)
    assert (full.status_code, full.json()["code"]) == (429, "QUEUE_FULL")
    assert int(full.headers["Retry-After"]) > 0
    assert [path.name for path in (settings.store_dir / "jobs").iterdir()] == [job]


def _announce(web: WebContainer, n_bytes: int, kind: str = "multipart/form-data; boundary=b") -> tuple[int, Any]:
    """The answer to a submission of which the head alone was sent."""
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=20)
    connection.putrequest("POST", "/api/jobs")
    connection.putheader("Content-Type", kind)
    connection.putheader("Content-Length", str(n_bytes))
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, json.loads(answer.read())
    connection.close()
    return found


def test_what_the_head_of_a_submission_tells_is_refused_before_its_body(
    start_web: Callable[..., WebContainer], video: Path, settings: Settings, redis: RedisContainer
) -> None:
    free_mb = shutil.disk_usage(settings.data_dir.parent).free >> 20
    roomy = start_web(max_queued_jobs=1, max_upload_mb=free_mb * 2, min_free_mb=free_mb // 2)
    until(lambda: _is_fresh(roomy), 20)
    for n_bytes, status, code in (
        (free_mb * 3 << 20, 413, "SOURCE_TOO_LARGE"),
        (free_mb * 3 // 4 << 20, 507, "STORAGE_FULL"),
    ):
        answer = _announce(roomy, n_bytes)
        assert (answer[0], answer[1]["code"], answer[1]["field"]) == (status, code, "file")
    low = start_web(min_free_mb=free_mb * 2)
    until(lambda: _is_fresh(low), 20)
    for kind, field in (("multipart/form-data; boundary=b", "file"), ("application/json", "source")):
        answer = _announce(low, 1000, kind)
        assert (answer[0], answer[1]["code"], answer[1]["field"]) == (507, "STORAGE_FULL", field)
    job = roomy.submit(video).json()["id"]
    keys = sorted(redis.client.keys("*"))
    for _ in range(3):
        status, problem = _announce(roomy, 1 << 30)
        assert (status, problem["code"]) == (429, "QUEUE_FULL")
    assert sorted(redis.client.keys("*")) == keys
    assert [path.name for path in (settings.store_dir / "jobs").iterdir()] == [job]
    assert list((settings.store_dir / ".staging").iterdir()) == []


def _submit_keyed(web: WebContainer, video: Path, key: str, **options: Any) -> httpx.Response:
    data = {"options": json.dumps(options)}
    with video.open("rb") as file:
        return httpx.post(
            web.url + "/api/jobs", files={"file": file}, data=data, headers={"Idempotency-Key": key}, timeout=30
        )


def test_twenty_submissions_at_once_with_one_key_are_one_job(
    web: WebContainer, redis: RedisContainer, video: Path, settings: Settings
) -> None:
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: _submit_keyed(web, video, "k"), range(20)))
    taken = [a.json()["id"] for a in answers if a.status_code == 202]
    assert len(taken) > 1
    assert {a.status_code for a in answers} <= {202, 503}  # 503: Redis was slow on a busy machine
    (job,) = set(taken)
    assert redis.client.llen("topclip:control") == redis.client.zcard("topclip:jobs") == 1
    assert _submit_keyed(web, video, "k").json()["id"] == job
    other = _submit_keyed(web, video, "k", count=2)
    assert (other.status_code, other.json()["field"]) == (422, "Idempotency-Key")
    assert [path.name for path in (settings.store_dir / "jobs").iterdir()] == [job]


def test_a_key_goes_on_after_the_web_process_was_killed_in_mid_upload(
    web: WebContainer, video: Path, settings: Settings, redis: RedisContainer
) -> None:
    content = video.read_bytes() + b"x" * 600_000
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=20)
    connection.putrequest("POST", "/api/jobs")
    kind = {"Content-Type": "multipart/form-data; boundary=b", "Content-Length": "5000000"}
    for name, value in (kind | {"Idempotency-Key": "k"}).items():
        connection.putheader(name, value)
    connection.endheaders(head + content)
    until(lambda: any(path.stat().st_size for path in (settings.store_dir / ".staging").iterdir()), 10)
    children = web.children()
    web.kill()
    for process in children:
        process.kill()
    connection.close()
    web.restart()
    until(lambda: _answers(web), 20, web.logs)
    until(lambda: _submit_keyed(web, video, "k").status_code == 202, 20)
    assert redis.client.zcard("topclip:jobs") == 1


def test_a_retry_on_one_server_is_never_followed_by_the_older_attempt_on_another(
    web: WebContainer, start_web: Callable[..., WebContainer], redis: RedisContainer, video: Path
) -> None:
    job = web.submit(video).json()["id"]
    other = start_web()
    httpx.post(f"{web.url}/api/jobs/{job}/cancel")
    until(lambda: _status(other, job).json()["state"] == "CANCELLED", 20)
    ended = _status(other, job)
    assert ended.json()["links"]["retry"] == f"/api/jobs/{job}/retry"
    answer = httpx.post(f"{web.url}/api/jobs/{job}/retry", timeout=20)
    assert (answer.status_code, answer.json()["state"], answer.json()["epoch"]) == (202, "QUEUED", 2)
    assert _status(web, job).json()["state"] == "QUEUED"
    until(lambda: _status(other, job).json()["epoch"] == 2, 20)
    assert _status(other, job).json()["state"] == "QUEUED"
    assert _status(other, job).headers["ETag"] != ended.headers["ETag"]
    held = other.get(f"/api/job-status/{job}?wait=5", headers={"If-None-Match": ended.headers["ETag"]})
    assert (held.status_code, held.json()["epoch"]) == (200, 2)
    last = {"Last-Event-ID": f"1-{ended.json()['revision']}"}
    with httpx.stream("GET", f"{other.url}/api/jobs/{job}/events", headers=last, timeout=20) as stream:
        lines = stream.iter_lines()
        first = json.loads(next(line for line in lines if line.startswith("data:"))[5:])
        httpx.post(f"{web.url}/api/jobs/{job}/cancel")
        rest = [json.loads(line[5:]) for line in lines if line.startswith("data:")]
    assert (first["state"], first["epoch"]) == ("QUEUED", 2)
    assert [(d["state"], d["epoch"]) for d in rest][-1] == ("CANCELLED", 2)
    assert {d["epoch"] for d in rest} == {2}
    refused = httpx.post(f"{web.url}/api/jobs/{uuid4()}/retry", timeout=20)
    assert refused.status_code == 404


def test_a_cancel_on_one_server_reaches_a_stream_on_another(
    web: WebContainer, start_web: Callable[..., WebContainer], video: Path
) -> None:
    job = web.submit(video).json()["id"]
    other = start_web()
    with httpx.stream("GET", f"{other.url}/api/jobs/{job}/events", timeout=20) as stream:
        lines = stream.iter_lines()
        assert next(line for line in lines if line.startswith("data:"))
        httpx.post(f"{web.url}/api/jobs/{job}/cancel")
        states = [json.loads(line[5:])["state"] for line in lines if line.startswith("data:")]
    assert states[-1] == "CANCELLED"


def test_a_stream_lives_through_a_restart_of_redis_and_gets_the_end_once(
    web: WebContainer, redis: RedisContainer, video: Path
) -> None:
    job = web.submit(video).json()["id"]
    seen: list[Any] = []

    def follow() -> None:
        with httpx.stream("GET", f"{web.url}/api/jobs/{job}/events", timeout=30) as stream:
            seen.extend(json.loads(line[5:]) for line in stream.iter_lines() if line.startswith("data:"))

    thread = threading.Thread(target=follow)
    thread.start()
    until(redis.client.save, 20)
    redis.kill()
    until(lambda: _status(web, job).json()["stale"], 20)
    redis.restart()
    until(lambda: not _status(web, job).json()["stale"], 15, web.logs)
    httpx.post(f"{web.url}/api/jobs/{job}/cancel")
    thread.join(15)
    assert [d["state"] for d in seen].count("CANCELLED") == 1
    assert not thread.is_alive()


def test_an_upload_goes_to_the_stores_own_disk_and_not_into_memory(web: WebContainer, settings: Settings) -> None:
    size = 200 << 20
    worker = web.children()[0]
    before = worker.memory_info().rss
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=60)
    connection.putrequest("POST", "/api/jobs")
    connection.putheader("Content-Type", "multipart/form-data; boundary=b")
    connection.putheader("Content-Length", str(len(head) + size + 9))
    connection.endheaders(head)
    most, block = 0, b"\0" * (1 << 20)
    for _ in range(size >> 20):
        connection.send(block)
        most = max(most, worker.memory_info().rss)
    staged = [path.stat().st_size for path in (settings.store_dir / ".staging").iterdir()]
    assert sum(staged) > size // 2
    connection.send(b"\r\n--b--\r\n")
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["code"]) == (415, "UNSUPPORTED_MEDIA")
    assert most - before < size // 4
    connection.close()
    until(lambda: not list((settings.store_dir / ".staging").iterdir()), 20)


def test_a_client_that_sends_too_much_still_sees_why(
    start_web: Callable[..., WebContainer], settings: Settings
) -> None:
    web = start_web(max_upload_mb=1)
    for headers in ({}, {"Transfer-Encoding": "chunked"}):
        body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n' + b"x" * (40 << 20)
        content = iter([body[i : i + 65536] for i in range(0, len(body), 65536)]) if headers else body
        kind = {"Content-Type": "multipart/form-data; boundary=b"}
        answer = httpx.post(web.url + "/api/jobs", content=content, headers=kind, timeout=60)
        assert (answer.status_code, answer.json()["field"]) == (413, "file")
    assert list((settings.store_dir / ".staging").iterdir()) == []


def test_a_form_in_malformed_chunks_is_refused(start_web: Callable[..., WebContainer]) -> None:
    web = start_web(api_keys=("a" * 40,))
    head = "POST /sign-in HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Type: application/x-www-form-urlencoded"
    with socket.create_connection(("127.0.0.1", web.port), timeout=20) as connection:
        connection.sendall(head.encode() + b"\r\n\r\nzz\r\nkey=a\r\n0\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")


def test_a_client_that_goes_away_in_mid_upload_leaves_nothing_behind(web: WebContainer, settings: Settings) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=60)
    connection.putrequest("POST", "/api/jobs")
    connection.putheader("Content-Type", "multipart/form-data; boundary=b")
    connection.putheader("Content-Length", "5000000")
    connection.endheaders(
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n' + b"x" * 600_000
    )
    staging = settings.store_dir / ".staging"
    until(lambda: any(path.stat().st_size for path in staging.iterdir()), 10)
    connection.close()
    until(lambda: not list(staging.iterdir()), 10, web.logs)


def test_held_streams_never_starve_short_answers_and_a_stop_is_quick(web: WebContainer, video: Path) -> None:
    job = web.submit(video).json()["id"]
    with httpx.Client(timeout=20) as client:
        held = [
            client.send(client.build_request("GET", f"{web.url}/api/jobs/{job}/events"), stream=True) for _ in range(4)
        ]
        busy = web.get(f"/api/jobs/{job}/events")
        assert (busy.status_code, busy.json()["code"]) == (503, "SERVER_BUSY")
        assert all(_status(web, job).status_code == 200 for _ in range(20))
        began = time.monotonic()
        web.process.send_signal(signal.SIGTERM)
        assert web.process.wait(15) == 0
        assert time.monotonic() - began < 8  # not gunicorn's whole patience
        for answer in held:
            answer.close()
