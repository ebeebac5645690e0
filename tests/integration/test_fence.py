"""Runs that another has taken the place of, on real workers: they stop within two seconds of waking and say nothing any more.

What takes the place is stopped amid its work, so that nothing but the fence can end the older run.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from celery import Celery
from pytest_celery import CeleryTestSetup

from tests.integration.conftest import LEASE_S
from tests.integration.faults import (
    CLIP,
    P,
    alive,
    containers,
    ffmpegs,
    frozen_ffmpeg,
    has_clips,
    nothing_unacknowledged,
    received,
)
from tests.nodes import RedisContainer, WorkerContainer
from tests.proxy import Fate, Proxy
from tests.waiting import until
from topclip.model.job import JobState, JobStatus
from topclip.storage.base import ArtifactStore
from workers import names
from workers.client import JobClient
from workers.drive import redrive
from workers.scripts import Scripts

pytestmark = pytest.mark.faults

Submit = Callable[..., str]
Finished = Callable[..., JobStatus]
STOPS_S = 5 * 2.0
"""Five times what is promised, for a machine that is busy."""


@pytest.fixture
def n_workers() -> int:
    return 2


@dataclass
class Overtaken:
    """A job of one clip whose first run was frozen past its lease, and whose second is stopped amid its work."""

    job_id: str
    loser: WorkerContainer
    older: psutil.Process
    """The first run's ffmpeg."""
    newer: psutil.Process
    family: list[psutil.Process]
    """The first run's worker with all its processes but that ffmpeg."""

    def wake(self) -> None:
        """Let the first run go on; its ffmpeg stays as it is."""
        for process in self.family:
            process.resume()


@pytest.fixture
def overtaken(celery_setup: CeleryTestSetup, source: Path, submit: Submit, redis_node: RedisContainer) -> Overtaken:
    job_id = submit(source, **CLIP)
    older = frozen_ffmpeg(celery_setup)
    loser = next(node for node in containers(celery_setup) if older in node.children())
    family = [psutil.Process(loser.process.pid), *(p for p in loser.children() if p != older)]
    for process in family:
        process.suspend()
    for connection in redis_node.client.client_list():
        if connection["cmd"] == "brpop":  # else the message would go to the frozen worker's socket
            redis_node.client.client_kill(connection["addr"])
    newer = until(lambda: [p for p in ffmpegs(celery_setup) if p != older], 4 * LEASE_S + 20, step_s=0.005)[0]
    newer.suspend()
    return Overtaken(job_id, loser, older, newer, family)


def test_a_run_that_lost_its_lease_ends_its_ffmpeg_and_stores_nothing(
    overtaken: Overtaken, finished: Finished, client: JobClient, redis_node: RedisContainer, store: ArtifactStore
) -> None:
    job_id = overtaken.job_id
    until(lambda: client.read(job_id).clips[0].state == "RUNNING", 10)  # the newer run has said so
    before = client.read(job_id)
    overtaken.wake()
    until(lambda: not alive(overtaken.older), STOPS_S, overtaken.loser.logs)
    until(lambda: "stops: LOST" in overtaken.loser.logs(), STOPS_S, overtaken.loser.logs)
    status = client.read(job_id)
    assert (status.state, status.epoch, status.clips) == (JobState.RUNNING, before.epoch, before.clips)
    assert redis_node.client.hget(f"{P}job:{job_id}:parts", "render/1") == "leased"
    assert has_clips(store, job_id, 0)
    overtaken.newer.resume()
    status = finished(job_id)
    assert (status.state, status.attempts) == (JobState.SUCCEEDED, 1)
    assert has_clips(store, job_id)
    until(lambda: nothing_unacknowledged(redis_node), 15)


def test_a_run_of_an_older_attempt_ends_its_ffmpeg_and_stores_nothing(
    celery_setup: CeleryTestSetup,
    source: Path,
    submit: Submit,
    finished: Finished,
    app: Celery,
    scripts: Scripts,
    redis_node: RedisContainer,
    store: ArtifactStore,
) -> None:
    job_id = submit(source, **CLIP)
    older = frozen_ffmpeg(celery_setup)
    loser = next(node for node in containers(celery_setup) if older in node.children())
    assert redrive(app, scripts, job_id, 1, "nothing works on it")
    until(lambda: not alive(older), STOPS_S, loser.logs)
    until(lambda: "stops: OLD" in loser.logs(), STOPS_S)
    status = finished(job_id)
    assert (status.state, status.attempts, status.epoch) == (JobState.SUCCEEDED, 2, 2)
    assert received(celery_setup, names.RENDER) == 2
    assert not redis_node.client.exists(f"{P}celery-task-meta-{names.task_id(job_id, 1, 'render/1')}")
    assert has_clips(store, job_id)
    until(lambda: nothing_unacknowledged(redis_node), 15)


class TestItCannotAsk:
    @pytest.fixture
    def worker_env(self, proxy: Proxy) -> dict[int, dict[str, str]]:
        """The workers reach Redis through the proxy."""
        return {n: {"REDIS_URL": proxy.redis_url} for n in range(2)}

    def test_the_error_of_a_run_that_lost_its_lease_is_not_the_jobs(
        self,
        overtaken: Overtaken,
        finished: Finished,
        redis_node: RedisContainer,
        scripts: Scripts,
        store: ArtifactStore,
        proxy: Proxy,
    ) -> None:
        question = scripts._scripts["pulse"].sha.encode()
        proxy.fate_of = lambda request: Fate.LOST if question in request else Fate.PASS
        overtaken.older.kill()
        overtaken.wake()
        until(lambda: re.search(r"stops: LOST|does not stop \(LOST", overtaken.loser.logs()), 20, overtaken.loser.logs)
        assert redis_node.client.hget(f"{P}job:{overtaken.job_id}:parts", "render/1") == "leased"
        overtaken.newer.resume()
        status = finished(overtaken.job_id)
        assert (status.state, status.attempts) == (JobState.SUCCEEDED, 1)
        assert has_clips(store, overtaken.job_id)
        until(lambda: nothing_unacknowledged(redis_node), 15)
