"""Leases on real workers: a task that lives is never delivered twice, one whose worker is gone soon is, and nobody publishes
what is no longer his. A task that takes long is one whose ffmpeg is stopped for a while."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_celery import CeleryTestSetup

from tests.integration.conftest import LEASE_S
from tests.integration.faults import (
    CLIP,
    P,
    alive,
    container,
    containers,
    ffmpegs,
    frozen_ffmpeg,
    has_clips,
    in_stage,
    nothing_unacknowledged,
    received,
    redis_up,
    staged,
)
from tests.nodes import RedisContainer
from tests.proxy import Proxy
from tests.waiting import until
from topclip.config import Settings
from topclip.model.job import JobState, JobStatus, Stage
from topclip.storage.base import ArtifactStore
from workers import names
from workers.client import JobClient

pytestmark = pytest.mark.faults

Submit = Callable[..., str]
Finished = Callable[..., JobStatus]
CLOCK = """
import time
_time = time.time
time.time = lambda: _time() + 20
"""


@pytest.fixture
def n_workers() -> int:
    return 2


def renewed_at(redis: RedisContainer) -> float:
    """When the oldest lease was renewed."""
    ((_, at),) = redis.client.zrange(P + "unacked_index", 0, 0, withscores=True)
    return float(at)


class TestOneClockIsWrong:
    @pytest.fixture
    def worker_env(self, tmp_path: Path) -> dict[int, dict[str, str]]:
        """The second worker's clock is 20 s fast, five leases."""
        (tmp_path / "clock").mkdir()
        (tmp_path / "clock/sitecustomize.py").write_text(CLOCK)
        return {1: {"PYTHONPATH": str(tmp_path / "clock")}}

    def test_a_task_of_many_leases_is_delivered_once(
        self,
        celery_setup: CeleryTestSetup,
        source: Path,
        submit: Submit,
        finished: Finished,
        redis_node: RedisContainer,
        store: ArtifactStore,
    ) -> None:
        job_id = submit(source, **CLIP)
        ffmpeg = frozen_ffmpeg(celery_setup)
        began_at = renewed_at(redis_node)
        until(lambda: renewed_at(redis_node) > began_at + 4 * LEASE_S, 8 * LEASE_S)
        ffmpeg.resume()
        status = finished(job_id)
        assert (status.state, status.attempts) == (JobState.SUCCEEDED, 1)
        assert received(celery_setup, names.RENDER) == 1
        assert has_clips(store, job_id)
        until(lambda: nothing_unacknowledged(redis_node), 10)


@pytest.mark.over_containers
def test_the_tasks_of_a_killed_worker_go_to_another_and_its_ffmpeg_goes_with_it(
    celery_setup: CeleryTestSetup,
    source: Path,
    submit: Submit,
    finished: Finished,
    redis_node: RedisContainer,
    settings: Settings,
    store: ArtifactStore,
) -> None:
    job_id = submit(source, **CLIP)
    ffmpeg = frozen_ffmpeg(celery_setup)
    victim = next(node for node in containers(celery_setup) if ffmpeg in node.children())
    family = victim.children()
    victim.kill()
    until(lambda: received(celery_setup, names.RENDER) == 2, 2 * (LEASE_S + 2))  # promised: the lease and 2 s
    until(lambda: not any(alive(p) for p in family), 15, lambda: str([p for p in family if alive(p)]))
    status = finished(job_id, 30)
    assert (status.state, status.attempts) == (JobState.SUCCEEDED, 1)  # delivered again, not started again
    assert has_clips(store, job_id)
    until(lambda: nothing_unacknowledged(redis_node), 10)
    until(lambda: not staged(settings.data_dir), 30)


def test_an_outage_longer_than_the_lease_takes_no_task_from_its_worker(
    celery_setup: CeleryTestSetup,
    source: Path,
    submit: Submit,
    finished: Finished,
    redis_node: RedisContainer,
    store: ArtifactStore,
) -> None:
    job_id = submit(source, **CLIP)
    ffmpeg = frozen_ffmpeg(celery_setup)
    redis_node.kill()
    died_at = time.monotonic()
    until(lambda: time.monotonic() > died_at + 2 * LEASE_S, 3 * LEASE_S)
    redis_node.restart()
    until(lambda: redis_up(redis_node), 10)
    back_at = redis_node.client.time()[0]
    until(lambda: renewed_at(redis_node) > back_at, 3 * LEASE_S)  # the owner is back, and nobody was before it
    ffmpeg.resume()
    status = finished(job_id)
    assert (status.state, status.attempts) == (JobState.SUCCEEDED, 1)
    assert received(celery_setup, names.RENDER) == 1
    assert has_clips(store, job_id)
    assert all(node.status == "running" for node in containers(celery_setup))
    until(lambda: nothing_unacknowledged(redis_node), 15)


def test_a_redis_that_was_frozen_for_longer_than_the_lease_takes_no_task_from_its_worker(
    celery_setup: CeleryTestSetup,
    source: Path,
    submit: Submit,
    finished: Finished,
    redis_node: RedisContainer,
    store: ArtifactStore,
) -> None:
    job_id = submit(source, **CLIP)
    ffmpeg = frozen_ffmpeg(celery_setup)
    redis_node.kill("SIGSTOP")  # with what the workers have asked in its sockets
    frozen_at = time.monotonic()
    until(lambda: time.monotonic() > frozen_at + 2.5 * LEASE_S, 3 * LEASE_S)
    redis_node.kill("SIGCONT")
    until(lambda: redis_up(redis_node), 10)
    back_at = redis_node.client.time()[0]
    until(lambda: renewed_at(redis_node) > back_at + LEASE_S, 4 * LEASE_S)  # whoever sweeps has swept
    ffmpeg.resume()
    status = finished(job_id)
    assert (status.state, status.attempts) == (JobState.SUCCEEDED, 1)
    assert received(celery_setup, names.RENDER) == 1
    assert not [line for node in containers(celery_setup) for line in node.logs().splitlines() if "lease of" in line]
    assert has_clips(store, job_id)
    until(lambda: nothing_unacknowledged(redis_node), 15)


def test_connections_that_are_cut_are_made_anew(
    celery_setup: CeleryTestSetup,
    source: Path,
    one_chunk: Path,
    submit: Submit,
    finished: Finished,
    client: JobClient,
    redis_node: RedisContainer,
) -> None:
    job_id = submit(source, count=2, min_length=3, max_length=6, aspect="1:1", fit="pad")
    in_stage(client, job_id, Stage.ANALYSE)
    for kind in ("normal", "pubsub"):
        redis_node.client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
    assert finished(job_id).state is JobState.SUCCEEDED
    begun = received(celery_setup, names.PROBE)
    for kind in ("normal", "pubsub"):
        redis_node.client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
    again = submit(one_chunk, count=1, min_length=3, max_length=6, aspect="1:1", fit="pad")
    until(lambda: received(celery_setup, names.PROBE) > begun, 2 * 2)  # promised: 2 s
    status = finished(again)
    assert (status.state, status.attempts) == (JobState.SUCCEEDED, 1)
    assert all(node.status == "running" for node in containers(celery_setup))
    until(lambda: nothing_unacknowledged(redis_node), 15)


class TestOneIsCutOff:
    @pytest.fixture
    def worker_env(self, proxy: Proxy) -> dict[int, dict[str, str]]:
        """The first worker reaches Redis through the proxy."""
        return {0: {"REDIS_URL": proxy.redis_url}}

    def test_a_worker_behind_a_dead_line_publishes_nothing_and_comes_back(
        self,
        celery_setup: CeleryTestSetup,
        source: Path,
        one_chunk: Path,
        submit: Submit,
        finished: Finished,
        redis_node: RedisContainer,
        store: ArtifactStore,
        proxy: Proxy,
    ) -> None:
        cut_off, other = containers(celery_setup)
        other.kill("SIGSTOP")
        job_id = submit(source, **CLIP)
        ffmpeg = frozen_ffmpeg(celery_setup)
        assert ffmpeg in cut_off.children()
        proxy.is_silent = True
        other.kill("SIGCONT")
        status = finished(job_id)
        assert status.state is JobState.SUCCEEDED
        assert has_clips(store, job_id)
        ffmpeg.resume()
        proxy.is_silent = False
        until(lambda: nothing_unacknowledged(redis_node), 30)
        until(lambda: not ffmpegs(celery_setup), 30)
        assert has_clips(store, job_id)
        other.kill("SIGSTOP")  # what comes now can only be the other's
        try:
            assert finished(submit(one_chunk, **CLIP | {"ranges": [[1, 3]]}), 90).state is JobState.SUCCEEDED
        finally:
            other.kill("SIGCONT")
        assert container(celery_setup).status == "running"
