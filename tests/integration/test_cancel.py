"""Cancelling on real workers: what runs is gone with its files, and nothing brings the job back."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_celery import CeleryTestSetup

from tests.integration.faults import (
    CLIP,
    alive,
    container,
    frozen_ffmpeg,
    nothing_unacknowledged,
    received,
    staged,
)
from tests.nodes import RedisContainer
from tests.waiting import until
from topclip.config import Settings
from topclip.errors import JobConflict, UnknownJob
from topclip.model.job import JobState, JobStatus
from topclip.storage.base import ArtifactStore
from workers import names
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
