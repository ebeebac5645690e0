"""Cancelling on real workers: what runs is gone with its files, and nothing brings the job back."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

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
from topclip.storage.base import ArtifactStore, cancelled_key
from workers import keys, names
from workers.client import JobClient

pytestmark = pytest.mark.faults

Submit = Callable[..., str]
Finished = Callable[..., JobStatus]


@pytest.mark.parametrize("is_frozen", [False, pytest.param(True, marks=pytest.mark.over_containers)])
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


class Slow:
    """A store that takes its time for one thing, as a bucket may."""

    def __init__(self, store: ArtifactStore, slow: str, allowed: threading.Event) -> None:
        self._store, self._slow, self._allowed = store, slow, allowed

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)

        def late(*args: Any) -> Any:
            assert self._allowed.wait(30)
            return found(*args)

        return late if name == self._slow else found


@pytest.fixture
def door(settings: Settings, store: ArtifactStore) -> Iterator[Callable[[str, threading.Event], JobClient]]:
    """door(what, event) -> a client whose store does that only after the event."""
    with ExitStack() as cleanup:

        def make(slow: str, allowed: threading.Event) -> JobClient:
            found = JobClient(settings, cast("ArtifactStore", Slow(store, slow, allowed)))
            cleanup.callback(found.close)
            return found

        yield make


def test_a_task_of_the_cancelled_attempt_that_begins_during_a_retry_does_not_cancel_that(
    celery_setup: CeleryTestSetup,
    source: Path,
    submit: Submit,
    finished: Finished,
    client: JobClient,
    redis_node: RedisContainer,
    door: Callable[[str, threading.Event], JobClient],
) -> None:
    worker, allowed = container(celery_setup), threading.Event()
    job_id = submit(source, mode="ranges", ranges=[[3.0 * n, 3.0 * n + 2] for n in range(1, 13)])
    until(lambda: redis_node.client.llen(P + "render"), 60, step_s=0.005)
    worker.kill("SIGSTOP")  # its processes end what they run; of what is queued it takes no more for now
    client.cancel(job_id)
    until(lambda: client.read(job_id).state is JobState.CANCELLED, 30)
    assert redis_node.client.llen(P + "render")
    n_received = received(celery_setup, names.RENDER)
    retry = threading.Thread(target=door("delete", allowed).retry, args=(job_id,))
    retry.start()
    until(lambda: client.read(job_id).state is JobState.QUEUED, 10, step_s=0.005)
    worker.kill("SIGCONT")
    until(lambda: received(celery_setup, names.RENDER) > n_received, 30)
    until(lambda: nothing_unacknowledged(redis_node), 30)
    allowed.set()
    retry.join()
    status = finished(job_id, 90)
    assert (status.state, status.attempts) == (JobState.SUCCEEDED, 2)


def test_a_cancellation_that_the_store_hears_of_after_a_retry_does_not_cancel_that(
    celery_setup: CeleryTestSetup,
    one_chunk: Path,
    submit: Submit,
    finished: Finished,
    client: JobClient,
    door: Callable[[str, threading.Event], JobClient],
) -> None:
    worker, allowed = container(celery_setup), threading.Event()
    worker.kill("SIGSTOP")
    job_id = submit(one_chunk, **CLIP | {"ranges": [[1, 2]]})
    cancel = threading.Thread(target=door("put_bytes", allowed).cancel, args=(job_id,))
    cancel.start()
    until(lambda: client.read(job_id).state is JobState.CANCELLED, 10, step_s=0.005)
    client.retry(job_id)
    allowed.set()
    cancel.join()
    worker.kill("SIGCONT")
    assert finished(job_id).state is JobState.SUCCEEDED


@pytest.mark.parametrize("slow", ["put_bytes", "delete"])
def test_a_slow_store_remembers_the_newest_cancellation(
    one_chunk: Path,
    submit: Submit,
    client: JobClient,
    store: ArtifactStore,
    door: Callable[[str, threading.Event], JobClient],
    slow: str,
) -> None:
    allowed, job_id = threading.Event(), submit(one_chunk, **CLIP)
    late = door(slow, allowed)
    if slow == "delete":
        client.cancel(job_id)
    first = threading.Thread(target=late.cancel if slow == "put_bytes" else late.retry, args=(job_id,))
    first.start()
    if slow == "put_bytes":
        until(lambda: client.read(job_id).state is JobState.CANCELLED, 10, step_s=0.005)
        client.retry(job_id)
    until(lambda: client.read(job_id).epoch == 2, 10, step_s=0.005)
    client.cancel(job_id)
    allowed.set()
    first.join()
    assert store.get_bytes(cancelled_key(job_id)) == b"2"


def test_a_slow_store_does_not_remember_what_was_taken_back(
    one_chunk: Path,
    submit: Submit,
    client: JobClient,
    store: ArtifactStore,
    door: Callable[[str, threading.Event], JobClient],
) -> None:
    allowed, job_id = threading.Event(), submit(one_chunk, **CLIP)
    cancel = threading.Thread(target=door("put_bytes", allowed).cancel, args=(job_id,))
    cancel.start()
    until(lambda: client.read(job_id).state is JobState.CANCELLED, 10, step_s=0.005)
    client.retry(job_id)
    allowed.set()
    cancel.join()
    assert not store.exists(cancelled_key(job_id))  # by it the job would be cancelled, should Redis lose its data
