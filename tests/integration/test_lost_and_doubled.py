"""Messages that come twice, data that Redis loses in mid-job, and writes that it holds back as in a fail-over by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from pytest_celery import CeleryTestSetup

from tests.integration.faults import (
    CLIP,
    alive,
    container,
    frozen_ffmpeg,
    has_clips,
    nothing_unacknowledged,
    received,
    staged,
)
from tests.nodes import RedisContainer, WebContainer
from tests.waiting import until
from topclip.config import Settings
from topclip.model.job import JobState, JobStatus
from topclip.storage.base import ArtifactStore
from workers import names
from workers.client import JobClient

pytestmark = pytest.mark.faults

Submit = Callable[..., str]
Finished = Callable[..., JobStatus]
LONG_S = 300
"""Longer than the test."""


@pytest.mark.parametrize("is_restored", [True, False], ids=["restored twice", "published twice"])
def test_copies_of_messages_count_once_and_change_nothing_once_the_job_has_ended(
    celery_setup: CeleryTestSetup,
    source: Path,
    submit: Submit,
    client: JobClient,
    redis_node: RedisContainer,
    store: ArtifactStore,
    is_restored: bool,
) -> None:
    worker, redis = container(celery_setup), redis_node.client
    job_id = submit(source, mode="ranges", ranges=[[10.0 * n, 10.0 * n + 4] for n in range(1, 6)], aspect="1:1")
    messages: dict[str, tuple[str, str]] = {}

    def copy(queue: str, text: str) -> None:
        message = json.loads(text)
        if not is_restored:
            message["properties"]["delivery_tag"] = str(uuid4())
        redis.lpush("topclip:" + queue, json.dumps(message))

    def ended() -> bool:
        for delivery in redis.hvals("topclip:unacked"):
            message, _, queue = json.loads(delivery)
            task = f"{message['headers']['task']} {message['headers']['id']}"
            if task not in messages:
                messages[task] = (queue, json.dumps(message))
                if queue != names.CONTROL_QUEUE:  # a part, while it runs
                    copy(*messages[task])
        return client.read(job_id).state.is_terminal

    until(ended, 90, worker.logs, step_s=0.01)
    until(lambda: nothing_unacknowledged(redis_node), 30)
    status, made = client.read(job_id), {key: store.size(key) for key in store.list(f"jobs/{job_id}")}
    assert (status.state, status.attempts) == (JobState.SUCCEEDED, 1), status.error
    assert has_clips(store, job_id, 5)
    assert received(celery_setup, names.RENDER) > 5
    assert received(celery_setup, names.SELECT) == received(celery_setup, names.FINALISE) == 1
    for message in messages.values():
        copy(*message)
    until(lambda: not redis.exists(*("topclip:" + queue for queue in names.QUEUES)), 30, worker.logs)
    until(lambda: nothing_unacknowledged(redis_node), 30, worker.logs)
    assert client.read(job_id) == status
    assert {key: store.size(key) for key in store.list(f"jobs/{job_id}")} == made
    assert not redis.keys("topclip:celery-taskset-meta-*")


def test_jobs_that_run_or_wait_as_redis_loses_all_its_data_end(
    celery_setup: CeleryTestSetup,
    source: Path,
    submit: Submit,
    finished: Finished,
    redis_node: RedisContainer,
    settings: Settings,
    store: ArtifactStore,
) -> None:
    jobs = [submit(source, **CLIP | {"ranges": [[1.0, end]]}) for end in (21.0, 3.0, 4.0)]
    ffmpeg = frozen_ffmpeg(celery_setup)
    redis_node.client.flushall()
    until(lambda: not alive(ffmpeg), 5)  # its job is unknown, and so its lease
    for job_id in jobs:
        assert finished(job_id, 90).state is JobState.SUCCEEDED
        assert has_clips(store, job_id)
    until(lambda: nothing_unacknowledged(redis_node), 15)
    until(lambda: not staged(settings.data_dir), 15)


def test_a_redis_that_holds_writes_back_is_an_outage_although_it_answers_pings(
    celery_setup: CeleryTestSetup,
    source: Path,
    submit: Submit,
    finished: Finished,
    redis_node: RedisContainer,
    settings: Settings,
    tmp_path: Path,
) -> None:
    job_id = submit(source, **CLIP)
    ffmpeg = frozen_ffmpeg(celery_setup)
    web = WebContainer(tmp_path / "logs", settings)
    try:
        assert web.ready()
        until(lambda: web.get(f"/api/job-status/{job_id}").json().get("stale") is False, 10)
        redis_node.client.execute_command("CLIENT", "PAUSE", LONG_S * 1000, "WRITE")
        until(lambda: web.get(f"/api/job-status/{job_id}").json().get("stale") is True, 20)
        ffmpeg.resume()
        refused: httpx.Response = web.submit(source, **CLIP)
        assert (refused.status_code, refused.json()["code"]) == (503, "QUEUE_UNAVAILABLE")
        assert web.get(f"/api/job-status/{uuid4()}").status_code == 503
        until(lambda: web.get("/health/ready").status_code == 503, 20)
        until(lambda: not alive(ffmpeg), 30)
        redis_node.client.execute_command("CLIENT", "UNPAUSE")
        status = finished(job_id, 60)
        assert (status.state, status.attempts) == (JobState.SUCCEEDED, 1)
        assert received(celery_setup, names.RENDER) == 1
        until(lambda: web.get("/health/ready").status_code == 200, 10)
        until(lambda: nothing_unacknowledged(redis_node), 15)
    finally:
        web.teardown()
