"""The network between containers is cut: what was cut off comes back, jobs end, and end once."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_celery import CeleryTestSetup

from tests.engine import Containers
from tests.integration.conftest import LEASE_S
from tests.integration.faults import (
    CLIP,
    alive,
    container,
    containers,
    frozen_ffmpeg,
    has_clips,
    in_stage,
    nothing_unacknowledged,
    received,
    redis_up,
)
from tests.nodes import RedisContainer
from tests.waiting import until
from topclip.config import Settings
from topclip.model.job import JobState, JobStatus, Stage
from topclip.storage.base import ArtifactStore
from workers import names
from workers.client import JobClient

pytestmark = pytest.mark.containers

Submit = Callable[..., str]
Finished = Callable[..., JobStatus]


class TestAWorkerIsCutOff:
    @pytest.fixture
    def n_workers(self) -> int:
        return 2

    def test_another_ends_its_job_and_it_comes_back_and_changes_nothing(
        self,
        celery_setup: CeleryTestSetup,
        nodes: Containers,
        source: Path,
        submit: Submit,
        finished: Finished,
        client: JobClient,
        redis_node: RedisContainer,
        settings: Settings,
        store: ArtifactStore,
    ) -> None:
        job_id = submit(source, **CLIP)
        ffmpeg = frozen_ffmpeg(celery_setup)
        cut_off = next(node for node in containers(celery_setup) if ffmpeg in node.children())
        nodes.network.disconnect(cut_off.id)
        status = finished(job_id)
        assert (status.state, status.attempts) == (JobState.SUCCEEDED, 1)
        (clip,) = (settings.data_dir / "store/jobs" / job_id / "clips").glob("*.mp4")
        made = clip.stat()
        nodes.network.connect(cut_off.id)
        ffmpeg.resume()
        until(lambda: not alive(ffmpeg), 30)
        until(lambda: len(client.health()["workers"]) == 2, 30, cut_off.logs)
        until(lambda: nothing_unacknowledged(redis_node), 30)
        assert cut_off.status == "running"
        assert (clip.stat().st_ino, clip.stat().st_mtime_ns) == (made.st_ino, made.st_mtime_ns)
        assert has_clips(store, job_id)
        assert received(celery_setup, names.FINALISE) == 1


def test_redis_is_cut_off_for_longer_than_a_lease(
    celery_setup: CeleryTestSetup,
    nodes: Containers,
    source: Path,
    submit: Submit,
    finished: Finished,
    client: JobClient,
    redis_node: RedisContainer,
) -> None:
    job_id = submit(source, **CLIP)
    in_stage(client, job_id, Stage.RENDER)
    nodes.network.disconnect(redis_node.id)
    worker = container(celery_setup)
    until(
        lambda: worker.logs().count("keeper: this round failed") > 2 * LEASE_S, 60, worker.logs
    )  # two a second at most
    nodes.network.connect(redis_node.id)
    until(lambda: redis_up(redis_node), 20)
    status = finished(job_id)
    assert status.state is JobState.SUCCEEDED
    assert received(celery_setup, names.FINALISE) == 1
    until(lambda: nothing_unacknowledged(redis_node), 30)
