"""Workers that are told to go: what they run ends within a bound or goes to another at once, and `topclip drain` waits."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from celery import Celery
from pytest_celery import CeleryTestSetup

from tests.integration.conftest import LEASE_S
from tests.integration.faults import (
    CLIP,
    P,
    alive,
    containers,
    frozen_ffmpeg,
    has_clips,
    in_stage,
    nothing_unacknowledged,
    received,
    redis_up,
    staged,
)
from tests.nodes import RedisContainer, WebContainer, WorkerContainer, free_port
from tests.stack.running import TOPCLIP
from tests.waiting import until
from topclip.config import Settings
from topclip.model.job import JobState, JobStatus, Stage
from topclip.storage.base import ArtifactStore
from workers import names
from workers.client import JobClient
from workers.drain import Drain
from workers.leaving import END_S

pytestmark = pytest.mark.faults

Submit = Callable[..., str]
Finished = Callable[..., JobStatus]
WINDOW_S = Settings().drain_s
SMALL = {"count": 2, "min_length": 3, "max_length": 6, "quality": "draft"}


@pytest.fixture
def n_workers() -> int:
    return 2


class TestLongLease:
    """With a lease far longer than these tests wait, a task comes back early only if it is handed back."""

    @pytest.fixture
    def settings(self, redis_node: RedisContainer, tmp_path: Path) -> Settings:
        return Settings(redis_url=redis_node.url, data_dir=tmp_path, lease_s=600)

    @pytest.mark.parametrize(
        "number", [pytest.param(signal.SIGTERM, marks=pytest.mark.over_containers), signal.SIGQUIT]
    )
    def test_what_does_not_end_in_the_window_goes_to_another_worker_at_once(
        self,
        celery_setup: CeleryTestSetup,
        source: Path,
        submit: Submit,
        finished: Finished,
        redis_node: RedisContainer,
        settings: Settings,
        number: signal.Signals,
    ) -> None:
        job_id = submit(source, **CLIP)
        ffmpeg = frozen_ffmpeg(celery_setup)
        leaving = next(node for node in containers(celery_setup) if ffmpeg in node.children())
        leaving.kill(number)
        until(lambda: received(celery_setup, names.RENDER) == 2, WINDOW_S + 2 * 3)  # promised: 3 s after the window
        status = finished(job_id, WINDOW_S + 60)
        assert (status.state, status.attempts) == (JobState.SUCCEEDED, 1)
        assert received(celery_setup, names.RENDER) == 2
        until(lambda: leaving.status == "exited", 30)
        assert not alive(ffmpeg)
        until(lambda: nothing_unacknowledged(redis_node), 10)
        assert not staged(settings.data_dir)

    @pytest.mark.parametrize("is_drained", [False, True])
    def test_what_ends_in_the_window_is_not_run_again(
        self,
        celery_setup: CeleryTestSetup,
        source: Path,
        submit: Submit,
        finished: Finished,
        redis_node: RedisContainer,
        settings: Settings,
        client: JobClient,
        tmp_path: Path,
        is_drained: bool,
    ) -> None:
        job_id = submit(source, **CLIP)
        ffmpeg = frozen_ffmpeg(celery_setup)
        leaving = next(node for node in containers(celery_setup) if ffmpeg in node.children())
        if is_drained:  # and then somebody has no more patience
            (name,) = [w["name"] for w in client.health()["workers"] if w["pid"] == leaving.process.pid]
            argv = [TOPCLIP, "drain", name, "--timeout", "0", "--redis-url", settings.redis_url]
            assert subprocess.run(argv, cwd=tmp_path, check=False, capture_output=True).returncode == 1
            until(lambda: "leaving:" in leaving.logs(), 10)
        leaving.kill("SIGTERM")
        until(lambda: leaving.logs().count("leaving: no more tasks") == 1 + is_drained, 10)
        ffmpeg.resume()
        status = finished(job_id)
        assert (status.state, status.attempts) == (JobState.SUCCEEDED, 1)
        assert received(celery_setup, names.RENDER) == 1
        until(lambda: leaving.status == "exited", 30)
        until(lambda: nothing_unacknowledged(redis_node), 10)

    def test_a_drain_rides_out_a_redis_that_is_away_and_tells_a_worker_again_that_did_not_hear_it(
        self,
        celery_setup: CeleryTestSetup,
        source: Path,
        submit: Submit,
        finished: Finished,
        client: JobClient,
        redis_node: RedisContainer,
        settings: Settings,
        tmp_path: Path,
    ) -> None:
        job_id = submit(source, **CLIP)
        ffmpeg = frozen_ffmpeg(celery_setup)
        leaving = next(node for node in containers(celery_setup) if ffmpeg in node.children())
        (name,) = [w["name"] for w in client.health()["workers"] if w["pid"] == leaving.process.pid]
        leaving.kill("SIGSTOP")
        redis_node.client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")  # what is broadcast now it never hears
        argv = [TOPCLIP, "drain", name, "--redis-url", settings.redis_url]
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as drain:
            assert drain.stderr
            assert drain.stderr.readline().startswith(f"{name} runs ")
            leaving.kill("SIGCONT")
            until(lambda: "leaving:" in leaving.logs(), 30)
            redis_node.kill("SIGSTOP")
            until(lambda: "waiting for it" in drain.stderr.readline(), 30)
            wake_at = time.monotonic() + 11  # workers that were not heard of for 10 s are taken for gone
            until(lambda: time.monotonic() > wake_at, 30)
            redis_node.kill("SIGCONT")
            until(lambda: redis_up(redis_node), 10)
            assert drain.poll() is None
            ffmpeg.resume()
            assert finished(job_id).state is JobState.SUCCEEDED
            assert drain.wait(60) == 0
            assert drain.stderr.read().endswith(f"{name} has left\n")
        assert leaving.status == "exited"


class TestRedisIsFrozen:
    @pytest.fixture
    def settings(self, redis_node: RedisContainer, tmp_path: Path) -> Settings:
        return Settings(redis_url=redis_node.url, data_dir=tmp_path, lease_s=LEASE_S, drain_s=2)

    def test_workers_leave_all_the_same_and_what_they_ran_goes_to_whoever_is_there_then(
        self,
        celery_setup: CeleryTestSetup,
        source: Path,
        submit: Submit,
        finished: Finished,
        redis_node: RedisContainer,
        settings: Settings,
    ) -> None:
        nodes = containers(celery_setup)
        job_id = submit(source, **CLIP)
        ffmpeg = frozen_ffmpeg(celery_setup)
        children = [child for node in nodes for child in node.children()]
        redis_node.kill("SIGSTOP")
        for node in nodes:  # one is busy, one idle
            node.kill("SIGTERM")
        window_s = settings.drain_s + END_S
        until(
            lambda: all(node.status == "exited" for node in nodes),
            window_s + 5,
            lambda: "".join(node.logs() for node in nodes),
        )
        until(lambda: not any(alive(child) for child in [ffmpeg, *children]), 5)
        redis_node.kill("SIGCONT")
        nodes[0].restart()
        status = finished(job_id)
        assert (status.state, status.attempts) == (JobState.SUCCEEDED, 1)
        until(lambda: nothing_unacknowledged(redis_node), 10)


def test_a_worker_that_has_not_reached_redis_yet_leaves_without_a_fault(settings: Settings, tmp_path: Path) -> None:
    nowhere = {"REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"}
    worker = WorkerContainer(tmp_path, "early", settings.to_env() | nowhere)
    try:
        until(lambda: "Trying again" in worker.logs(), 40, worker.logs)
        worker.kill("SIGTERM")
        until(lambda: worker.status == "exited", 30, worker.logs)
        assert "leaving:" in worker.logs()
        assert "Traceback" not in worker.logs()
    finally:
        worker.teardown()


def test_a_drained_worker_ends_what_it_runs_however_long_that_takes(
    celery_setup: CeleryTestSetup,
    source: Path,
    submit: Submit,
    finished: Finished,
    client: JobClient,
    redis_node: RedisContainer,
    settings: Settings,
    tmp_path: Path,
) -> None:
    job_id = submit(source, **CLIP)
    ffmpeg = frozen_ffmpeg(celery_setup)
    leaving = next(node for node in containers(celery_setup) if ffmpeg in node.children())

    def busy() -> list[str]:
        """Its name, once it has told that it runs something: it does so each second or so."""
        return [w["name"] for w in client.health()["workers"] if w["pid"] == leaving.process.pid and w["active"] == 1]

    (name,) = until(busy, 20)
    argv = [TOPCLIP, "drain", name, "--redis-url", settings.redis_url]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as drain:
        assert drain.stderr
        assert drain.stderr.readline() == f"{name} runs 1 tasks\n"
        until(lambda: "leaving:" in leaving.logs(), 10)
        went_at = time.monotonic()
        until(lambda: time.monotonic() > went_at + max(WINDOW_S, 2 * LEASE_S) + 2, 60)
        assert leaving.status == "running"
        ffmpeg.resume()
        status = finished(job_id)
        assert (status.state, status.attempts) == (JobState.SUCCEEDED, 1)
        assert received(celery_setup, names.RENDER) == 1
        assert drain.wait(60) == 0
        assert drain.stderr.read().endswith(f"{name} has left\n")
    assert leaving.status == "exited"
    until(lambda: nothing_unacknowledged(redis_node), 10)


def test_a_drain_does_not_mean_who_was_started_in_the_place_of_a_worker(
    celery_setup: CeleryTestSetup, app: Celery, settings: Settings
) -> None:
    gone, other = containers(celery_setup)
    drain = Drain(settings)
    until(lambda: len(drain.live()) == 2, 20)
    asked = list(drain.live())
    gone.kill("SIGKILL")
    gone.restart()  # under its name, as whoever supervises it does, while Redis still has the dead one for alive
    until(lambda: len(app.control.ping(timeout=2) or []) == 2, 60)
    drain.tell(asked)
    drain.close()
    until(lambda: "leaving:" in other.logs(), 10)
    until(lambda: app.control.ping(timeout=2), 30)
    assert "leaving:" not in gone.logs()


def test_draining_a_worker_that_is_not_there_names_those_that_are(
    celery_setup: CeleryTestSetup, client: JobClient, settings: Settings, tmp_path: Path
) -> None:
    until(lambda: len(client.health()["workers"]) == 2, 20)
    argv = [TOPCLIP, "drain", "nobody@nowhere", "--redis-url", settings.redis_url]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert "no such worker: nobody@nowhere" in done.stderr
    assert "worker0@" in done.stderr
    assert all(node.status == "running" for node in containers(celery_setup))


class TestEverythingIsReplaced:
    @pytest.fixture
    def webs(self, settings: Settings, tmp_path: Path) -> Iterator[list[WebContainer]]:
        nodes = [WebContainer(tmp_path, settings, f"web{i}") for i in range(2)]
        yield nodes
        for node in nodes:
            node.teardown()

    def test_a_rolling_restart_under_load_loses_and_repeats_nothing(
        self,
        celery_setup: CeleryTestSetup,
        one_chunk: Path,
        submit: Submit,
        finished: Finished,
        client: JobClient,
        redis_node: RedisContainer,
        store: ArtifactStore,
        webs: list[WebContainer],
    ) -> None:
        accepted: list[str] = []
        for node in [*containers(celery_setup), *webs]:
            assert node.ready()
            accepted += [submit(one_chunk, **SMALL) for _ in range(2)]
            accepted.append(until(lambda: _submitted(webs, one_chunk), 30))
            node.kill("SIGTERM")
            until(lambda node=node: node.status == "exited", 60, node.logs)  # type: ignore[misc]
            node.restart()
        for job_id in accepted:
            status = finished(job_id, 120)
            assert (status.state, status.attempts) == (JobState.SUCCEEDED, 1)
        assert received(celery_setup, names.RENDER) == 2 * len(accepted)
        accepted += [submit(one_chunk, **SMALL) for _ in range(3)]
        in_stage(client, accepted[-3], Stage.RENDER)
        redis_node.kill("SIGTERM")
        until(lambda: redis_node.status == "exited", 30)
        redis_node.restart()
        until(lambda: redis_up(redis_node), 30)
        for job_id in accepted:
            assert finished(job_id, 120).state is JobState.SUCCEEDED
            assert has_clips(store, job_id, 2)
        until(lambda: nothing_unacknowledged(redis_node), 15)
        assert redis_node.client.zcard(P + "jobs") == len(accepted)


def _submitted(webs: list[WebContainer], video: Path) -> str:
    """The id of a job that the first server that is up has taken."""
    for web in webs:
        with suppress(httpx.TransportError):
            answer = web.submit(video, **SMALL)
            if answer.status_code == 202:
                return str(answer.json()["id"])
    return ""
