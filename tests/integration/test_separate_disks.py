"""Workers that share no disk: all that goes from one to another lies in an S3 bucket."""

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
from pytest_celery import CeleryTestSetup

from tests.integration.faults import (
    container,
    containers,
    ffmpegs,
    frozen_ffmpeg,
    has_clips,
    nothing_unacknowledged,
)
from tests.nodes import RedisContainer
from tests.s3 import S3Container
from tests.waiting import until
from topclip.config import Settings
from topclip.model.job import JobState, JobStatus
from topclip.model.manifest import Manifest
from topclip.model.request import ClipOptions, ClipRequest, Upload
from topclip.storage.base import job_folder, upload_key
from topclip.storage.s3 import S3Store
from workers.client import JobClient

Submit = Callable[..., str]
Finished = Callable[..., JobStatus]
LEASE_S = 4.0


@pytest.fixture
def settings(redis_node: RedisContainer, s3: S3Container, tmp_path: Path) -> Settings:
    """Those of the front end, which has a disk of its own too."""
    return Settings(redis_url=redis_node.url, data_dir=tmp_path / "front", lease_s=LEASE_S, **s3.settings)


@pytest.fixture
def n_workers() -> int:
    return 2


@pytest.fixture
def worker_env(tmp_path: Path) -> dict[int, dict[str, str]]:
    return {i: {"TOPCLIP_DATA_DIR": str(tmp_path / f"disk{i}")} for i in range(2)}


@pytest.fixture
def upload(client: JobClient, store: S3Store, source: Path) -> Submit:
    """upload(**options) -> id of a job on a copy of the footage that was put into the store."""

    def submit(**options: object) -> str:
        job_id = str(uuid4())
        path = store.staging() / job_id
        path.write_bytes(source.read_bytes())
        key = upload_key(job_id, ".mp4")
        assert store.put_file(key, path)
        request = ClipRequest(source=Upload(key=key, name="footage.mp4"), options=ClipOptions.model_validate(options))
        client.submit(job_id, request)
        return job_id

    return submit


def in_the_making(tmp_path: Path) -> list[Path]:
    return [path for i in range(2) for path in (tmp_path / f"disk{i}/s3/staging").glob("*")]


def marks(store: S3Store, job_id: str) -> dict[str, str]:
    """What each write of a file of the job's clips left on it."""
    return {key: store._head(key)["Metadata"]["mark"] for key in store.list(f"{job_folder(job_id)}/clips")}


@pytest.mark.faults  # for its length
def test_two_workers_with_a_disk_each_finish_one_job(
    celery_setup: CeleryTestSetup, upload: Submit, finished: Finished, store: S3Store, tmp_path: Path
) -> None:
    job_id = upload(count=3, min_length=3, max_length=8)
    status = finished(job_id, 90)
    assert status.state is JobState.SUCCEEDED
    assert status.manifest_key
    made = Manifest.model_validate_json(store.get_bytes(status.manifest_key))
    assert len(made.clips) == 3
    for clip in made.clips:
        assert store.size(f"{job_folder(job_id)}/{clip.file}") == clip.size_bytes
    for node in containers(celery_setup):
        assert "Task topclip.analyse[" in node.logs()
    assert not in_the_making(tmp_path)


@pytest.mark.faults
def test_a_worker_that_comes_back_late_changes_no_clip_in_the_bucket(
    celery_setup: CeleryTestSetup,
    upload: Submit,
    finished: Finished,
    store: S3Store,
    redis_node: RedisContainer,
    tmp_path: Path,
) -> None:
    job_id = upload(mode="ranges", ranges=[[0.0, 20.0]])
    ffmpeg = frozen_ffmpeg(celery_setup)
    late = next(node for node in containers(celery_setup) if ffmpeg in node.children())
    family = [*late.children(), psutil.Process(late.process.pid)]
    for process in family:
        process.suspend()
    assert finished(job_id).state is JobState.SUCCEEDED
    before = marks(store, job_id)
    assert has_clips(store, job_id)
    for process in reversed(family):
        process.resume()
    until(lambda: nothing_unacknowledged(redis_node) and not ffmpegs(celery_setup), 30)
    until(lambda: not in_the_making(tmp_path), 30)
    assert marks(store, job_id) == before


@pytest.mark.faults
def test_an_outage_of_the_store_fails_no_job(
    celery_setup: CeleryTestSetup, upload: Submit, finished: Finished, s3: S3Container
) -> None:
    job_id = upload(count=2, min_length=3, max_length=8)
    until(lambda: "Task topclip.analyse[" in container(celery_setup).logs() + container(celery_setup, 1).logs(), 30)
    s3.kill()
    until(
        lambda: any("STORAGE" in node.logs() or "the store failed" in node.logs() for node in containers(celery_setup)),
        60,
    )
    s3.restart()
    assert s3.ready()
    assert finished(job_id, 150).state is JobState.SUCCEEDED
