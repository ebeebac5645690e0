"""Tasks whose process is killed, on real workers: they run again within seconds, also if nobody could write that down."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_celery import CeleryTestSetup

from tests.integration.faults import CLIP, P, container, frozen_ffmpeg, has_clips, nothing_unacknowledged, received
from tests.nodes import RedisContainer, WorkerContainer
from tests.proxy import Fate, Proxy
from tests.waiting import until
from topclip.config import Settings
from topclip.model.job import JobState, JobStatus
from topclip.storage.base import ArtifactStore
from workers import keys, names
from workers.lease import HAND_BACK
from workers.pulse import STARTS_ALLOWED
from workers.scripts import Scripts

pytestmark = pytest.mark.faults

Submit = Callable[..., str]
Finished = Callable[..., JobStatus]
STUMBLE = """
from billiard.exceptions import WorkerLostError
from workers.request import CountingRequest
told = CountingRequest.on_failure
def on_failure(self, exc_info, **kwargs):
    if isinstance(getattr(exc_info.exception, "exc", exc_info.exception), WorkerLostError):
        raise ValueError("stumbled")
    return told(self, exc_info, **kwargs)
CountingRequest.on_failure = on_failure
"""


def holds_nothing(worker: WorkerContainer) -> None:
    """A worker that thought it ran something would wait for that before it leaves."""
    worker.kill("SIGTERM")
    until(lambda: worker.status == "exited", Settings().drain_s - 1, worker.logs)


@pytest.mark.over_containers
def test_a_task_whose_process_is_killed_runs_again_in_seconds(
    celery_setup: CeleryTestSetup, source: Path, submit: Submit, finished: Finished, store: ArtifactStore
) -> None:
    job_id = submit(source, **CLIP)
    frozen_ffmpeg(celery_setup).parent().kill()
    until(lambda: received(celery_setup, names.RENDER) == 2, 2 * 5)  # promised: 5 s
    status = finished(job_id)
    assert (status.state, status.attempts) == (JobState.SUCCEEDED, 1)
    assert has_clips(store, job_id)


def test_a_part_whose_worker_dies_each_time_ends_with_that_reason(
    celery_setup: CeleryTestSetup, source: Path, submit: Submit, finished: Finished, redis_node: RedisContainer
) -> None:
    job_id, worker = submit(source, **CLIP), container(celery_setup)
    for _ in range(STARTS_ALLOWED):
        frozen_ffmpeg(celery_setup)
        worker.kill()
        worker.restart()
    status = finished(job_id)
    assert status.state is JobState.FAILED
    assert status.error
    assert status.error.code == "KILLED"
    assert status.attempts == 1
    until(lambda: nothing_unacknowledged(redis_node), 15)


class TestTheLineBreaks:
    @pytest.fixture
    def worker_env(self, proxy: Proxy) -> dict[int, dict[str, str]]:
        """The worker reaches Redis through the proxy."""
        return {0: {"REDIS_URL": proxy.redis_url}}

    def test_a_death_that_could_not_be_counted_holds_no_task(
        self,
        celery_setup: CeleryTestSetup,
        source: Path,
        submit: Submit,
        finished: Finished,
        redis_node: RedisContainer,
        scripts: Scripts,
        proxy: Proxy,
    ) -> None:
        count, asked = scripts._scripts["killed"].sha.encode(), []

        def lose_the_count(request: bytes) -> Fate:
            if count not in request:
                return Fate.PASS
            asked.append(request)
            return Fate.LOST

        proxy.fate_of = lose_the_count
        job_id = submit(source, **CLIP)
        frozen_ffmpeg(celery_setup).parent().kill()
        status = finished(job_id)
        assert asked
        assert (status.state, status.attempts) == (JobState.SUCCEEDED, 1)
        until(lambda: nothing_unacknowledged(redis_node), 15)
        holds_nothing(container(celery_setup))

    def test_outages_alone_are_no_deaths(
        self,
        celery_setup: CeleryTestSetup,
        source: Path,
        submit: Submit,
        finished: Finished,
        redis_node: RedisContainer,
        scripts: Scripts,
        proxy: Proxy,
    ) -> None:
        """Neither the run nor its worker can say at once how it ended, as often as it would take for deaths to end it."""
        on, end = (scripts._scripts[name].sha.encode() for name in ("advance", "finish"))
        lost = []

        def lose(request: bytes) -> Fate:
            said = [word for word in (on, end, HAND_BACK.encode()) if word in request]
            if not said or lost.count(HAND_BACK.encode()) > STARTS_ALLOWED:
                return Fate.PASS
            lost.extend(said)
            return Fate.LOST

        proxy.fate_of = lose
        status = finished(submit(source, **CLIP))
        assert (status.state, status.attempts) == (JobState.SUCCEEDED, 1), status.error
        assert lost.count(on) > STARTS_ALLOWED
        until(lambda: nothing_unacknowledged(redis_node), 15)
        assert not redis_node.client.exists(keys.starts(P, status.id))


class TestTheWorkerStumbles:
    @pytest.fixture
    def worker_env(self, tmp_path: Path) -> dict[int, dict[str, str]]:
        """A worker whose main loop fails wherever it is told of a death."""
        (tmp_path / "stumble").mkdir()
        (tmp_path / "stumble/sitecustomize.py").write_text(STUMBLE)
        return {0: {"PYTHONPATH": str(tmp_path / "stumble")}}

    def test_a_task_whose_process_is_gone_is_handed_back(
        self,
        celery_setup: CeleryTestSetup,
        source: Path,
        submit: Submit,
        finished: Finished,
        redis_node: RedisContainer,
    ) -> None:
        job_id = submit(source, **CLIP)
        frozen_ffmpeg(celery_setup).parent().kill()
        status = finished(job_id)
        assert (status.state, status.attempts) == (JobState.SUCCEEDED, 1)
        assert "is gone; it goes back to its queue" in container(celery_setup).logs()
        until(lambda: nothing_unacknowledged(redis_node), 15)
        holds_nothing(container(celery_setup))
