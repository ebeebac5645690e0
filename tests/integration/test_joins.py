"""A chord's join on real workers whose line to Redis breaks, or who die, at its worst moments: its body runs once."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_celery import CeleryTestSetup

from tests.integration.faults import container, nothing_unacknowledged
from tests.nodes import RedisContainer, WorkerContainer
from tests.proxy import Fate, Proxy
from tests.waiting import until
from topclip.model.job import JobState, JobStatus
from topclip.storage.base import ArtifactStore
from workers import names
from workers.scripts import BODIES, PRELUDE

pytestmark = pytest.mark.faults

Submit = Callable[..., str]
Finished = Callable[..., JobStatus]
OPTIONS = {"count": 2, "min_length": 3, "max_length": 6, "quality": "draft"}


@pytest.fixture
def worker_env(proxy: Proxy) -> dict[int, dict[str, str]]:
    """The worker reaches Redis through the proxy."""
    return {0: {"REDIS_URL": proxy.redis_url}}


def is_join(request: bytes) -> bool:
    """Whether this is the script by which a finished part counts into its chord."""
    return b"EVALSHA" in request and b"-join.j" in request


def is_question(request: bytes) -> bool:
    """Whether this is the script by which a finished part asks whether it still counts."""
    return hashlib.sha1((PRELUDE + BODIES["current"]).encode()).hexdigest().encode() in request


def begun(worker: WorkerContainer, task: str) -> int:
    """How often the worker was given a task."""
    return sum(f"Task {task}[" in line and line.endswith("received") for line in worker.logs().splitlines())


@pytest.mark.parametrize(("step", "fate"), [(is_join, Fate.LOST), (is_join, Fate.UNANSWERED), (is_question, Fate.LOST)])
def test_a_join_whose_line_breaks_is_made_all_the_same_and_once(
    celery_setup: CeleryTestSetup,
    source: Path,
    submit: Submit,
    finished: Finished,
    redis_node: RedisContainer,
    proxy: Proxy,
    step: Callable[[bytes], bool],
    fate: Fate,
) -> None:
    steps: list[bytes] = []

    def break_each_first(request: bytes) -> Fate:
        if not step(request):
            return Fate.PASS
        steps.append(request)
        return fate if len(steps) % 2 else Fate.PASS  # each is tried again at once

    proxy.fate_of = break_each_first
    status = finished(submit(source, **OPTIONS), 90)
    assert (status.state, status.attempts) == (JobState.SUCCEEDED, 1), status.error
    assert len(steps) > 8
    assert begun(container(celery_setup), names.SELECT) == begun(container(celery_setup), names.FINALISE) == 1
    until(lambda: nothing_unacknowledged(redis_node), 15)


def test_a_worker_that_dies_between_the_join_and_its_body_leaves_a_job_that_ends(
    celery_setup: CeleryTestSetup,
    one_chunk: Path,
    submit: Submit,
    finished: Finished,
    redis_node: RedisContainer,
    store: ArtifactStore,
    proxy: Proxy,
) -> None:
    worker, deaths = container(celery_setup), []

    def die_at_the_join(request: bytes) -> Fate:
        if deaths or not is_join(request):
            return Fate.PASS
        deaths.append(request)
        worker.process.kill()  # Redis still makes the join: all parts are counted, and nobody publishes what follows
        return Fate.UNANSWERED

    proxy.fate_of = die_at_the_join
    job_id = submit(one_chunk, **OPTIONS | {"count": 1})
    until(lambda: deaths and worker.status == "exited", 60)
    worker.restart()
    assert finished(job_id, 60).state is JobState.SUCCEEDED
    assert sum(key.endswith(".mp4") for key in store.list(f"jobs/{job_id}/clips")) == 1
    until(lambda: nothing_unacknowledged(redis_node), 15)
