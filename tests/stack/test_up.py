"""`topclip up` from outside: readiness, restarts, order, and that nothing outlives it."""

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis

from stack.ports import is_free
from tests.nodes import RedisContainer
from tests.stack.running import TOPCLIP, Running, alive, stack
from tests.waiting import until


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One stack for the tests that leave it as it was."""
    with stack(tmp_path_factory.mktemp("shared") / "data") as running:
        yield running


def refused(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([TOPCLIP, "up", *args], capture_output=True, text=True, timeout=60, check=False)


def test_it_prints_one_line_with_the_urls(shared: Running) -> None:
    assert len(shared.stdout) == 1
    assert set(shared.urls) == {"web", "flower", "redis"}
    assert shared.get("/health/live").status_code == 200


def test_the_log_says_where_redis_is(shared: Running) -> None:
    until(lambda: f"[OK] Redis connected: {shared.urls['redis']}" in shared.stderr)


def test_workers_have_celery_in_their_command_line(shared: Running) -> None:
    worker = shared.find(" worker ")
    assert "celery" in " ".join(worker.cmdline())
    assert worker.children()


def test_health_knows_redis_and_the_worker(shared: Running) -> None:
    health = shared.health()
    assert health["redis"]["status"] == "ok"
    assert len(health["workers"]) == 1


def test_flowers_api_is_open_to_programs_but_not_to_other_websites(shared: Running) -> None:
    answer = httpx.get(
        f"{shared.urls['flower']}/api/workers", headers={"Origin": "http://elsewhere.example"}, timeout=10
    )
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers


def test_flower_is_read_only(shared: Running) -> None:
    worker = shared.health()["workers"][0]["name"]
    answer = httpx.post(f"{shared.urls['flower']}/api/worker/shutdown/{worker}", timeout=10)
    assert answer.status_code == 403


def test_a_second_embedded_redis_on_the_folder_is_refused(shared: Running, tmp_path: Path) -> None:
    data_dir = Path(shared.find("redis-server").cwd()).parent
    result = refused("--port", "0", "--flower-port", "0", "--data-dir", str(data_dir))
    assert result.returncode == 2
    assert f"(process {shared.process.pid})" in result.stderr
    assert "--redis-url" in result.stderr


def test_a_taken_port_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for option, other in (("--port", "--flower-port"), ("--flower-port", "--port")):
            result = refused(option, port, other, "0", "--data-dir", str(tmp_path / "data"))
            assert result.returncode == 2
            assert f"let {option} 0 pick a free one" in result.stderr


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TOPCLIP_FFMPEG", "/nope", "TOPCLIP_FFMPEG: no program /nope"),
        ("TOPCLIP_HOST", "0.0.0.0", "TOPCLIP_API_KEYS"),
        ("TOPCLIP_STORE", "ftp://server/folder", "TOPCLIP_STORE"),
        ("TOPCLIP_STORE", "/dev/null/store", "the store cannot be opened"),
        ("TOPCLIP_DATA_DIR", "/dev/null/data", "the data folder /dev/null/data cannot be made"),
        ("TOPCLIP_LEASE_S", "soon", "TOPCLIP_LEASE_S"),
    ],
)
def test_a_wrong_setting_is_told_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv("TOPCLIP_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("TOPCLIP_API_KEYS", "")  # whatever .env says
    monkeypatch.setenv(name, value)
    result = refused("--port", "0", "--flower-port", "0")
    assert (result.returncode, result.stdout) == (2, "")
    assert said in result.stderr
    assert len(result.stderr.splitlines()) <= 2  # the message, and what to do
    assert not (tmp_path / "data" / "redis").exists()


def test_a_killed_web_server_comes_back_and_refuses_nobody(shared: Running) -> None:
    first = shared.find("gunicorn")
    first.kill()
    first.wait(10)
    assert shared.get("/health/live").status_code == 200
    assert shared.find("gunicorn").pid != first.pid


def test_a_killed_worker_comes_back(shared: Running) -> None:
    first = shared.find(" worker ")
    first.kill()
    first.wait(10)
    until(lambda: {p.pid for p in shared.found(" worker ")} - {first.pid} != set())
    until(lambda: any(worker.children() for worker in shared.found(" worker ")))


def test_a_killed_redis_comes_back_at_the_same_url_with_its_data(shared: Running) -> None:
    with redis.Redis.from_url(shared.urls["redis"]) as client:
        client.set("kept", "yes")
        shared.find("redis-server").kill()
        until(lambda: _get(client, "kept") == b"yes")
    until(lambda: shared.health()["redis"]["status"] == "ok")


def _get(client: redis.Redis, key: str) -> object:
    try:
        return client.get(key)
    except redis.RedisError:
        return None


@pytest.mark.faults  # for its length
def test_sigterm_stops_it_cleanly_and_in_order(tmp_path: Path) -> None:
    with stack(tmp_path / "data") as running:
        tree = running.descendants()
        assert running.terminate() == 0
        assert alive(tree) == []
        assert len(running.stdout) == 1
        saved = running.stderr.rindex("DB saved on disk")
        assert saved > running.stderr.rindex("Shutting down: Master")
        assert saved > running.stderr.rindex("leaving: no more tasks")


@pytest.mark.faults
def test_it_says_why_it_still_waits_and_no_password(tmp_path: Path, redis_node: RedisContainer) -> None:
    redis_node.client.config_set("requirepass", "one")
    url = f"redis://:hunter2@127.0.0.1:{redis_node.port}/0"
    running = Running(tmp_path / "data", "--redis-url", url, "--no-flower")
    try:
        wait = f"still waiting: Redis at redis://:***@127.0.0.1:{redis_node.port}/0 refuses our password"
        until(lambda: wait in running.stderr, 60, lambda: running.stderr)
        until(lambda: "keeper: this round failed: AuthenticationError: " in running.stderr, 30, lambda: running.stderr)
        assert "hunter2" not in running.stderr
    finally:
        running.kill()


@pytest.mark.faults
def test_the_line_with_the_urls_has_no_password(tmp_path: Path, redis_node: RedisContainer) -> None:
    redis_node.client.config_set("requirepass", "hunter2")
    url = f"redis://:hunter2@127.0.0.1:{redis_node.port}/0"
    with stack(tmp_path / "data", "--redis-url", url, "--no-flower") as running:
        assert running.urls["redis"] == f"redis://:***@127.0.0.1:{redis_node.port}/0"
        assert "hunter2" not in running.stderr


@pytest.mark.faults
def test_sigterm_stops_it_also_while_its_redis_is_frozen(tmp_path: Path) -> None:
    with stack(tmp_path / "data") as running:
        tree = running.descendants()
        running.find("redis-server").suspend()
        began_s = time.monotonic()
        assert running.terminate() == 0
        assert alive(tree) == []
        assert time.monotonic() - began_s < 30


@pytest.mark.faults
def test_nothing_outlives_it_when_it_is_killed(tmp_path: Path) -> None:
    with stack(tmp_path / "data") as running:
        tree = running.descendants()
        assert len(tree) >= 7
        running.process.send_signal(signal.SIGKILL)
        running.process.wait()
        until(lambda: alive(tree) == [], 10, "something is still alive")


@pytest.mark.faults
def test_its_port_is_free_at_once_when_it_is_killed_even_if_its_web_server_is_frozen(tmp_path: Path) -> None:
    with stack(tmp_path / "data", "--no-flower") as running:
        tree, port = running.descendants(), int(running.urls["web"].rpartition(":")[2])
        for process in running.find("gunicorn").children():
            process.suspend()
        running.process.send_signal(signal.SIGKILL)
        running.process.wait()
        until(lambda: is_free(port), 10)
        until(lambda: alive(tree) == [], 10, "something is still alive")


@pytest.mark.faults
def test_two_stacks_share_one_redis_and_one_folder(shared: Running, tmp_path: Path) -> None:
    with (
        stack(tmp_path / "data", "--redis-url", shared.urls["redis"], "--concurrency", "1") as one,
        stack(tmp_path / "data", "--redis-url", shared.urls["redis"], "--no-flower") as two,
    ):
        assert two.urls["flower"] is None
        assert len({worker["name"] for worker in one.health()["workers"]}) == 3
        assert {p.name for p in (tmp_path / "data" / "logs").iterdir()} == {"0", "1"}
