"""Redis Cluster is refused at the start of everything, with the reason and what to do instead."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from tests.nodes import ROOT, RedisContainer, WebContainer, WorkerContainer, free_port, program
from tests.stack.running import TOPCLIP
from tests.waiting import until
from topclip.config import Settings
from workers.refusal import reason

REASON = "is a Redis Cluster, which Celery cannot use"
INSTEAD = "or Sentinel for fail-over: `sentinel://host:26379"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RedisContainer]:
    """A cluster of one node that has all slots: the kind that seems to work."""
    (tmp_path / "redis").mkdir()
    node = RedisContainer(
        tmp_path / "redis",
        more=["--cluster-enabled", "yes", "--cluster-port", str(free_port())],
        binary=program("redis-server"),
    )
    assert node.ready()
    node.client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    until(lambda: "cluster_state:ok" in str(node.client.execute_command("CLUSTER", "INFO")), 10)
    yield node
    node.teardown()


@pytest.fixture
def settings(cluster: RedisContainer, tmp_path: Path) -> Settings:
    return Settings(redis_url=cluster.url, data_dir=tmp_path / "data", concurrency=1)


def topclip(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([TOPCLIP, *args], capture_output=True, text=True, timeout=60, check=False)


def test_up_refuses_it_before_anything_is_started(cluster: RedisContainer, tmp_path: Path) -> None:
    more = ("--port", "0", "--flower-port", "0", "--data-dir", str(tmp_path / "data"))
    result = topclip("up", "--redis-url", cluster.url, *more)
    assert (result.returncode, result.stdout) == (2, "")
    assert REASON in result.stderr
    assert INSTEAD in result.stderr
    assert len(result.stderr.splitlines()) == 2


def test_the_doctor_refuses_it(cluster: RedisContainer) -> None:
    result = topclip("doctor", "--json", "--redis-url", cluster.url)
    assert result.returncode == 1
    (found,) = [check for check in json.loads(result.stdout) if check["name"] == "redis"]
    assert REASON in found["message"]
    assert INSTEAD in found["advice"]


@pytest.mark.faults  # for the length of a start
def test_the_web_server_and_a_worker_end_and_say_why(settings: Settings, tmp_path: Path) -> None:
    nodes = (WebContainer(tmp_path, settings), WorkerContainer(tmp_path, "worker", settings.to_env(), 1))
    try:
        for node in nodes:
            assert until(lambda node=node: node.process.poll(), 60, node.logs) not in (None, 0)  # type: ignore[misc]
            assert REASON in node.logs()
            assert INSTEAD in node.logs()
            assert "Traceback" not in node.logs()
    finally:
        for node in nodes:
            node.teardown()


@pytest.mark.faults
def test_flower_ends_and_says_why(settings: Settings) -> None:
    argv = [sys.executable, "-m", "celery", "-A", "workers.app", "flower", f"--port={free_port()}"]
    argv += ["--address=127.0.0.1", f"--conf={ROOT / 'stack/flowerconfig.py'}"]
    env = {**os.environ, **settings.to_env()}
    done = subprocess.run(argv, env=env, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    assert REASON in done.stderr
    assert INSTEAD in done.stderr
    assert "Traceback" not in done.stderr


def test_one_that_comes_later_is_told_by_its_name(cluster: RedisContainer) -> None:
    """Where Redis was away at the start, and a cluster then took its place."""
    with pytest.raises(RedisError) as told:
        cluster.client.mset({"a": 1, "b": 2})
    assert REASON in reason(told.value)
    cluster.client.execute_command("CLUSTER", "FLUSHSLOTS")
    with pytest.raises(RedisError) as told:
        cluster.client.get("a")
    assert REASON in reason(told.value)
