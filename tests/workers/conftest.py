"""A Redis server for a module's tests, the scripts on it, and a job that was submitted."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.nodes import Processes, RedisContainer
from topclip.config import Settings
from topclip.storage.base import ArtifactStore
from topclip.storage.factory import store_for
from workers.backend import result_meta
from workers.scripts import Scripts

JOB = "8f14e45f-ceea-467f-9575-111111111111"
P = "topclip:"


@pytest.fixture(scope="module")
def redis_node(nodes: Processes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisContainer]:
    folder: Path = tmp_path_factory.mktemp("redis")
    node = nodes.redis(folder)
    assert node.ready()
    yield node
    node.teardown()


@pytest.fixture
def redis(redis_node: RedisContainer) -> Any:
    redis_node.client.flushall()
    return redis_node.client


@pytest.fixture
def settings(redis_node: RedisContainer, tmp_path: Path) -> Settings:
    return Settings(redis_url=redis_node.url, data_dir=tmp_path)


@pytest.fixture
def store(settings: Settings) -> ArtifactStore:
    return store_for(settings)


@pytest.fixture
def scripts(redis: Any) -> Scripts:
    return Scripts(redis, P)


@pytest.fixture
def job(scripts: Scripts) -> str:
    meta = result_meta(JOB, 1, "QUEUED", {})
    assert scripts("submit", JOB, '{"options": {}}', "1000.5", 4_000_000_000, "a.mp4", meta, "probe", 10, 1, "") == "OK"
    return JOB


def works(redis: Any, name: str, concurrency: int, queues: str = "control,callback") -> None:
    """As a worker says that it lives."""
    redis.hset(f"{P}worker:{name}", mapping={"concurrency": concurrency, "queues": queues})
    redis.zadd(f"{P}workers", {name: time.time()})
    redis.delete(f"{P}slots")  # which are counted once a second


@pytest.fixture
def worker(redis: Any) -> None:
    """A worker with room for ten tries."""
    works(redis, "w", 20)
