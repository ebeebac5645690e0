"""A Redis that answers and refuses to write, after a failed snapshot or for want of memory or rights, is an outage, no end."""

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from pytest_celery import CeleryTestSetup
from redis.exceptions import ResponseError

from tests.integration.faults import (
    CLIP,
    P,
    alive,
    container,
    containers,
    frozen_ffmpeg,
    has_clips,
    nothing_unacknowledged,
)
from tests.nodes import RedisContainer, WebContainer, WorkerContainer
from tests.waiting import until
from topclip.config import Settings
from topclip.model.job import JobState, JobStatus
from topclip.storage.base import ArtifactStore

pytestmark = pytest.mark.faults

Submit = Callable[..., str]
Finished = Callable[..., JobStatus]
SHORT = {"mode": "ranges", "ranges": [[1.0, 4.0]]}


class FailedSnapshot:
    """Redis could not write its snapshot: MISCONF, to PING as well."""

    def __init__(self, node: RedisContainer, folder: Path) -> None:
        self._redis, self._gone = node.client, folder / "gone"
        self._gone.mkdir()
        self._home = node.client.config_get("dir")["dir"]
        node.client.config_set("save", "3600 1000000")

    def begin(self) -> None:
        self._redis.config_set("dir", str(self._gone))
        self._gone.rmdir()
        self._redis.bgsave()
        until(lambda: self._status() == "err", 20)

    def end(self) -> None:
        self._redis.config_set("dir", self._home)
        self._redis.bgsave()
        until(lambda: self._status() == "ok", 20)

    def _status(self) -> str:
        return str(self._redis.info("persistence")["rdb_last_bgsave_status"])


class FullMemory:
    """Redis has no memory left: OOM, to what would need some."""

    def __init__(self, node: RedisContainer, folder: Path) -> None:
        self._redis = node.client

    def begin(self) -> None:
        self._redis.config_set("maxmemory", "100kb")
        self._redis.config_set("maxmemory-policy", "noeviction")

    def end(self) -> None:
        self._redis.config_set("maxmemory", "0")


class NarrowedAcl:
    """An operator takes the right to write from our user: NOPERM."""

    def __init__(self, node: RedisContainer, folder: Path) -> None:
        self._redis = node.client

    def begin(self) -> None:
        self._redis.execute_command("ACL", "SETUSER", "default", "-@write")

    def end(self) -> None:
        self._redis.execute_command("ACL", "SETUSER", "default", "+@all")


class EndlessScript:
    """Somebody's script does not end: BUSY, to whatever is asked."""

    def __init__(self, node: RedisContainer, folder: Path) -> None:
        self._redis = node.client
        self._redis.config_set("lua-time-limit", "100")

    def begin(self) -> None:
        threading.Thread(target=self._run, daemon=True).start()
        until(self._is_busy, 10)

    def end(self) -> None:
        self._redis.execute_command("SCRIPT", "KILL")

    def _run(self) -> None:
        with suppress(ResponseError):  # that it was killed
            self._redis.eval("while true do end", 0)

    def _is_busy(self) -> bool:
        try:
            self._redis.ping()
        except ResponseError:
            return True
        return False


Refusal = FailedSnapshot | FullMemory | NarrowedAcl | EndlessScript


@pytest.fixture(params=[FailedSnapshot, FullMemory, NarrowedAcl])
def refusal(request: pytest.FixtureRequest, redis_node: RedisContainer, tmp_path: Path) -> Refusal:
    """Has not begun yet."""
    found: Refusal = request.param(redis_node, tmp_path)
    return found


def has_met(node: WorkerContainer, n: int = 1) -> bool:
    """Whether the worker's consumer gave up its connection, or could make none, so often."""
    return node.logs().count("Connection to broker lost") + node.logs().count("Cannot connect to") >= n


class TestIdleWorkers:
    @pytest.fixture
    def n_workers(self) -> int:
        return 2

    def test_they_stay_and_take_what_was_waiting_in_its_first_attempt(
        self,
        celery_setup: CeleryTestSetup,
        refusal: Refusal,
        one_chunk: Path,
        submit: Submit,
        finished: Finished,
        redis_node: RedisContainer,
    ) -> None:
        nodes = containers(celery_setup)
        for node in nodes:
            node.kill("SIGSTOP")  # what Redis hands them meanwhile is taken once it refuses
        jobs = [submit(one_chunk, **SHORT) for _ in range(3)]
        refusal.begin()
        for node in nodes:
            node.kill("SIGCONT")
        until(lambda: all(has_met(node, 2) for node in nodes), 30, nodes[0].logs)
        assert [node.status for node in nodes] == ["running"] * 2
        refusal.end()
        for job in jobs:
            status = finished(job, 60)
            assert (status.state, status.attempts) == (JobState.SUCCEEDED, 1)
        until(lambda: nothing_unacknowledged(redis_node), 15)


def test_a_busy_worker_with_room_takes_tasks_again_once_redis_writes(
    celery_setup: CeleryTestSetup,
    refusal: Refusal,
    source: Path,
    one_chunk: Path,
    submit: Submit,
    finished: Finished,
    redis_node: RedisContainer,
    store: ArtifactStore,
) -> None:
    worker = container(celery_setup)
    long = submit(source, **CLIP)
    ffmpeg = frozen_ffmpeg(celery_setup)
    worker.kill("SIGSTOP")
    short = submit(one_chunk, **SHORT)
    refusal.begin()
    worker.kill("SIGCONT")
    until(lambda: has_met(worker), 30, worker.logs)
    refusal.end()
    status = finished(short, 60)
    assert (status.state, status.attempts) == (JobState.SUCCEEDED, 1)
    assert worker.status == "running"
    assert alive(ffmpeg)
    ffmpeg.resume()
    status = finished(long, 60)
    assert (status.state, status.attempts) == (JobState.SUCCEEDED, 1)
    assert has_clips(store, long)
    until(lambda: nothing_unacknowledged(redis_node), 15)


@pytest.mark.parametrize("refusal", [FailedSnapshot, FullMemory, NarrowedAcl, EndlessScript], indirect=True)
def test_a_task_that_ends_meanwhile_counts_once_redis_writes(
    celery_setup: CeleryTestSetup,
    refusal: Refusal,
    source: Path,
    submit: Submit,
    finished: Finished,
    redis_node: RedisContainer,
    store: ArtifactStore,
) -> None:
    worker = container(celery_setup)
    job_id = submit(source, **CLIP)
    ffmpeg = frozen_ffmpeg(celery_setup)
    refusal.begin()
    ffmpeg.resume()
    until(lambda: "Failed operation _store_result" in worker.logs(), 30, worker.logs)
    refusal.end()
    status = finished(job_id, 60)
    assert (status.state, status.attempts) == (JobState.SUCCEEDED, 1)
    assert has_clips(store, job_id)
    assert worker.status == "running"
    until(lambda: nothing_unacknowledged(redis_node), 15)


def test_the_web_server_says_503_in_time_and_goes_on(
    refusal: Refusal, settings: Settings, one_chunk: Path, redis_node: RedisContainer, tmp_path: Path
) -> None:
    (tmp_path / "logs").mkdir()
    web = WebContainer(tmp_path / "logs", settings)
    try:
        assert web.ready()
        known = web.submit(one_chunk, **SHORT).json()["id"]
        assert web.get(f"/api/job-status/{known}").status_code == 200
        refusal.begin()
        for _ in range(5):
            answer = web.submit(one_chunk, **SHORT)
            assert (answer.status_code, answer.json()["code"]) == (503, "QUEUE_UNAVAILABLE")
            assert "Redis refuses to write: " in answer.json()["detail"]
            assert "Retry-After" in answer.headers
            read = web.get(f"/api/job-status/{known}")
            assert (read.status_code, read.json()["state"]) == (200, "QUEUED")
        assert redis_node.client.zcard(P + "jobs") == 1
        until(lambda: web.get("/health/ready").status_code == 503, 20)
        refusal.end()
        until(lambda: web.get("/health/ready").status_code == 200, 10)
        until(lambda: web.submit(one_chunk, **SHORT).status_code == 202, 10)
    finally:
        web.teardown()
