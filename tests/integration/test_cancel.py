"""Cancelling on real workers: what runs is gone with its files, and nothing brings the job back."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_celery import CeleryTestSetup

from tests.integration.faults import (
    CLIP,
    P,
    alive,
    container,
    frozen_ffmpeg,
    nothing_unacknowledged,
    received,
    redis_up,
    staged,
)
from tests.nodes import RedisContainer
from tests.waiting import until
from topclip.config import Settings
from topclip.errors import JobConflict, UnknownJob
from topclip.model.job import JobState, JobStatus
from topclip.storage.base import ArtifactStore
from workers import keys, names
from workers.client import JobClient

pytestmark = pytest.mark.faults

Submit = Callable[..., str]
Finished = Callable[..., JobStatus]


@pytest.mark.parametrize("is_frozen", [False, True])
def test_cancelling_ends_ffmpeg_and_removes_what_it_wrote(
    celery_setup: CeleryTestSetup,
    source: Path,
    submit: Submit,
    client: JobClient,
    redis_node: RedisContainer,
    settings: Settings,
    store: ArtifactStore,
    is_frozen: bool,
) -> None:
    job_id = submit(source, **CLIP | {"quality": "high", "ranges": [[0, 120]]})
    ffmpeg = frozen_ffmpeg(celery_setup)
    if not is_frozen:
        ffmpeg.resume()
        until(lambda: any(path.stat().st_size for path in staged(settings.data_dir)), 60)
    seen = [client.cancel(job_id).state]
    assert seen == [JobState.CANCELLING]

    def ended() -> bool:
        seen.append(client.read(job_id).state)
        return seen[-1].is_terminal

    until(ended, 15)
    assert set(seen) == {JobState.CANCELLING, JobState.CANCELLED}
    until(lambda: not alive(ffmpeg), 5)
    until(lambda: not staged(settings.data_dir), 5)
    until(lambda: nothing_unacknowledged(redis_node), 10)
    assert not store.list(f"jobs/{job_id}/clips")
    assert container(celery_setup).status == "running"


def test_a_cancelled_job_stays_so_whoever_is_started_again(
    celery_setup: CeleryTestSetup,
    source: Path,
    one_chunk: Path,
    submit: Submit,
    finished: Finished,
    client: JobClient,
    redis_node: RedisContainer,
    store: ArtifactStore,
) -> None:
    worker = container(celery_setup)
    job_id = submit(source, **CLIP)
    frozen_ffmpeg(celery_setup)
    client.cancel(job_id)
    worker.kill()  # before it could say that it stopped: the cancel flag is all that is left
    worker.restart()
    assert finished(job_id, 30).state is JobState.CANCELLED
    redis_node.kill()
    redis_node.restart()
    worker.kill("SIGTERM")
    until(lambda: worker.status == "exited", 40)
    worker.restart()
    assert finished(submit(one_chunk, **CLIP | {"ranges": [[1, 2]]})).state is JobState.SUCCEEDED
    assert client.read(job_id).state is JobState.CANCELLED
    assert received(celery_setup, names.FINALISE) == 1
    assert not store.list(f"jobs/{job_id}/clips")
    with pytest.raises(JobConflict):
        client.cancel(job_id)
    with pytest.raises(UnknownJob):
        client.cancel("00000000-0000-4000-8000-000000000000")


@pytest.mark.parametrize("is_looked_for", [True, False])
def test_a_cancelled_job_stays_so_though_redis_comes_back_with_data_from_before(
    celery_setup: CeleryTestSetup,
    source: Path,
    submit: Submit,
    finished: Finished,
    client: JobClient,
    redis_node: RedisContainer,
    store: ArtifactStore,
    is_looked_for: bool,
) -> None:
    worker = container(celery_setup)
    job_id = submit(source, **CLIP)
    frozen_ffmpeg(celery_setup)
    before = redis_node.aof.read_bytes()
    client.cancel(job_id)
    assert finished(job_id, 15).state is JobState.CANCELLED
    until(lambda: nothing_unacknowledged(redis_node), 10)
    worker.kill("SIGSTOP")
    redis_node.kill()
    redis_node.aof.write_bytes(before)
    redis_node.restart()
    until(lambda: redis_up(redis_node), 30)
    assert client.read(job_id).state is JobState.RUNNING
    if not is_looked_for:  # the task itself must see it
        redis_node.client.set(P + keys.LOOKED_AT, redis_node.client.info("server")["run_id"])
    worker.kill("SIGCONT")
    until(lambda: client.read(job_id).state is not JobState.RUNNING, 30, worker.logs)
    assert received(celery_setup, names.RENDER) == 1 + (not is_looked_for)
    status = finished(job_id, 30)
    assert (status.state, status.attempts) == (JobState.CANCELLED, 1)
    assert not store.list(f"jobs/{job_id}/clips")
    client.retry(job_id)
    assert finished(job_id).state is JobState.SUCCEEDED
