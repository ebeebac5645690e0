"""The store's budget with a real worker: finished jobs make room, oldest first, and a running one never does."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_celery import CeleryTestSetup

from tests.integration.conftest import LEASE_S
from tests.integration.faults import CLIP, frozen_ffmpeg
from tests.nodes import RedisContainer
from tests.waiting import until
from topclip.config import Settings
from topclip.errors import JobExpired
from topclip.model.job import JobState, JobStatus
from topclip.storage.base import ArtifactStore
from workers.budget import StoreUse
from workers.client import JobClient

pytestmark = pytest.mark.faults
MB = 1 << 20
SHORT = {"mode": "ranges", "ranges": [[1.0, 2.0]], "quality": "draft"}


@pytest.fixture
def settings(redis_node: RedisContainer, tmp_path: Path) -> Settings:
    return Settings(redis_url=redis_node.url, data_dir=tmp_path, lease_s=LEASE_S, store_budget_gb=150 / 1024)


def test_the_oldest_finished_jobs_go_and_a_running_one_stays(
    celery_setup: CeleryTestSetup,
    source: Path,
    submit: Callable[..., str],
    finished: Callable[..., JobStatus],
    client: JobClient,
    store: ArtifactStore,
    settings: Settings,
) -> None:
    def grow(job_id: str, name: str = "large") -> None:
        """As by a source of 100 MiB, which the web server tells of."""
        store.put_bytes(f"jobs/{job_id}/{name}", b"x" * (100 * MB))
        client.store_grew(100 * MB)

    def use() -> StoreUse:
        return until(client.store_use, 30)

    first, second = (submit(source, **SHORT) for _ in range(2))
    assert finished(first).state is finished(second).state is JobState.SUCCEEDED
    grow(second)
    assert client.read(first)
    grow(first)
    oldest = min(first, second, key=lambda job: str(client.read(job).finished_at))
    other = first if oldest == second else second
    until(lambda: not store.list(f"jobs/{oldest}"), 30)
    with pytest.raises(JobExpired):
        client.read(oldest)
    assert client.read(other).state is JobState.SUCCEEDED

    running = submit(source, **CLIP)
    ffmpeg = frozen_ffmpeg(celery_setup)
    grow(running)
    until(lambda: not store.list(f"jobs/{other}"), 30)
    grow(running, "larger")
    until(lambda: use().used_bytes > settings.store_budget_bytes and use().may_go_bytes == 0, 30)
    assert not use().has_room(0, settings.store_budget_bytes)
    assert client.read(running).state is JobState.RUNNING
    for name in ("large", "larger"):
        store.delete(f"jobs/{running}/{name}")
    ffmpeg.resume()
    assert finished(running).state is JobState.SUCCEEDED
    until(lambda: use().has_room(MB, settings.store_budget_bytes), 30)
    assert store.list(f"jobs/{running}")
