"""Jobs outlive their processes: workers, Redis, single tasks; cancelled ones stop and stay so."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from celery import Celery
from pytest_celery import CeleryTestSetup

from tests.integration.faults import container, has_clips, in_stage, nothing_unacknowledged, redis_up
from tests.nodes import RedisContainer
from tests.waiting import until
from topclip.errors import JobConflict, JobExpired, QueueUnavailable, UnknownJob
from topclip.model.job import JobState, JobStatus, Stage
from topclip.storage.base import ArtifactStore
from workers.client import JobClient
from workers.drive import redrive
from workers.scripts import Scripts

Submit = Callable[..., str]
ODD_HEADERS = ('{"job": [], "epoch": 1}', '{"job": "x", "epoch": Infinity}')
Finished = Callable[..., JobStatus]


@pytest.mark.over_containers
@pytest.mark.faults
def test_a_job_ends_although_its_only_worker_was_killed(
    celery_setup: CeleryTestSetup,
    source: Path,
    submit: Submit,
    finished: Finished,
    client: JobClient,
    redis_node: RedisContainer,
) -> None:
    job_id = submit(source, count=2, min_length=3, max_length=6, aspect="1:1", fit="pad")
    in_stage(client, job_id, Stage.ANALYSE)
    container(celery_setup).kill()
    container(celery_setup).restart()
    assert finished(job_id).state is JobState.SUCCEEDED
    until(lambda: nothing_unacknowledged(redis_node), 10)


@pytest.mark.over_containers
@pytest.mark.faults
def test_a_job_ends_although_redis_was_killed_and_started_again(
    celery_setup: CeleryTestSetup,
    source: Path,
    submit: Submit,
    finished: Finished,
    client: JobClient,
    redis_node: RedisContainer,
) -> None:
    job_id = submit(source, count=2, min_length=3, max_length=6, aspect="1:1", fit="pad")
    in_stage(client, job_id, Stage.ANALYSE)
    worker = container(celery_setup)
    redis_node.kill()
    redis_node.restart()
    until(lambda: redis_up(redis_node), 10)
    status = finished(job_id)
    assert status.state is JobState.SUCCEEDED, (status.error, worker.logs())
    assert worker.status == "running"
    until(lambda: nothing_unacknowledged(redis_node), 15)


@pytest.mark.faults
def test_a_lost_message_is_published_again(
    celery_setup: CeleryTestSetup,
    source: Path,
    submit: Submit,
    finished: Finished,
    client: JobClient,
    redis_node: RedisContainer,
) -> None:
    worker = container(celery_setup)
    worker.kill("SIGSTOP")
    job_id = submit(source, count=2, min_length=3, max_length=6, aspect="1:1", fit="pad")
    redis_node.client.delete("topclip:control")  # handed to a worker that will never write down that it has it
    assert nothing_unacknowledged(redis_node)
    worker.kill()
    worker.restart()
    status = finished(job_id, 60)
    assert status.state is JobState.SUCCEEDED
    assert status.attempts == 2


@pytest.mark.faults
def test_a_job_started_again_while_it_runs_ends_once_and_as_the_newer_attempt(
    celery_setup: CeleryTestSetup,
    source: Path,
    submit: Submit,
    finished: Finished,
    client: JobClient,
    app: Celery,
    scripts: Scripts,
) -> None:
    seen: list[tuple[int, str]] = []
    job_id = submit(source, count=2, min_length=3, max_length=6, aspect="1:1", fit="pad")
    in_stage(client, job_id, Stage.ANALYSE)
    assert redrive(app, scripts, job_id, 1, "nothing works on it")

    def ended() -> bool:
        status = client.read(job_id)
        seen.append((status.epoch, status.state))
        return status.state.is_terminal

    until(ended, 60)
    assert client.read(job_id).state is JobState.SUCCEEDED
    assert [epoch for epoch, _ in seen] == sorted(epoch for epoch, _ in seen)
    assert client.read(job_id).attempts == 2
    assert not redrive(app, scripts, job_id, 2, "nothing works on it")


@pytest.mark.faults
def test_a_task_whose_process_is_killed_is_run_again(
    celery_setup: CeleryTestSetup, source: Path, submit: Submit, finished: Finished, client: JobClient
) -> None:
    job_id = submit(source, count=2, min_length=3, max_length=6, aspect="1:1", fit="pad")
    in_stage(client, job_id, Stage.ANALYSE)
    victims = [p for p in psutil.Process(container(celery_setup).process.pid).children() if p.is_running()]
    for victim in victims:
        os.kill(victim.pid, signal.SIGKILL)
    assert finished(job_id).state is JobState.SUCCEEDED


@pytest.mark.faults
def test_a_task_that_kills_its_process_again_and_again_fails_the_job_with_that_reason(
    celery_setup: CeleryTestSetup, slow_chunk: Path, submit: Submit, client: JobClient, redis_node: RedisContainer
) -> None:
    job_id = submit(slow_chunk, count=2, min_length=3, max_length=6, aspect="1:1", fit="pad")
    main = psutil.Process(container(celery_setup).process.pid)

    def ended() -> bool:
        status = client.read(job_id)
        if status.stage is Stage.ANALYSE and "leased" in redis_node.client.hvals(f"topclip:job:{job_id}:parts"):
            for child in main.children():
                with suppress(psutil.NoSuchProcess):
                    child.kill()
        return status.state.is_terminal

    until(ended, 90, lambda: container(celery_setup).logs(), step_s=0.3)
    status = client.read(job_id)
    assert status.state is JobState.FAILED
    assert status.error
    assert (status.error.code, status.error.stage) == ("KILLED", Stage.SELECT)
    assert status.error.hint
    assert container(celery_setup).status == "running"


@pytest.mark.faults
def test_a_cancelled_task_that_does_not_listen_is_killed(
    celery_setup: CeleryTestSetup,
    source: Path,
    submit: Submit,
    finished: Finished,
    client: JobClient,
    redis_node: RedisContainer,
) -> None:
    job_id = submit(source, count=2, min_length=3, max_length=6, aspect="1:1", fit="pad")
    in_stage(client, job_id, Stage.ANALYSE)

    def both_at_work() -> bool:
        return redis_node.client.hvals(f"topclip:job:{job_id}:parts").count("leased") == 2

    def freeze() -> list[psutil.Process]:
        """The two processes, stopped amid their tasks; none when one of them had ended its task before it was stopped."""
        processes = psutil.Process(container(celery_setup).process.pid).children() if both_at_work() else []
        for process in processes:
            process.suspend()
        if processes and not both_at_work():
            for process in processes:
                process.resume()
            return []
        return processes

    frozen = until(freeze, 20)
    client.cancel(job_id)
    assert finished(job_id, 15).state is JobState.CANCELLED
    until(lambda: not any(process.is_running() for process in frozen), 10)


@pytest.mark.faults
def test_copies_of_messages_of_stages_that_are_done_change_nothing(
    celery_setup: CeleryTestSetup,
    source: Path,
    submit: Submit,
    finished: Finished,
    client: JobClient,
    redis_node: RedisContainer,
) -> None:
    worker, redis = container(celery_setup), redis_node.client
    worker.kill("SIGSTOP")
    other = submit(source)  # goes to the paused worker's socket, so that the next one can be seen in its queue
    job_id = submit(source, count=2, min_length=3, max_length=6, aspect="1:1", fit="pad")
    message = next(text for text in redis.lrange("topclip:control", 0, -1) if job_id in text)
    client.cancel(other)
    worker.kill("SIGCONT")
    in_stage(client, job_id, Stage.RENDER)
    redis.lpush("topclip:control", message)
    seen = []

    def ended() -> bool:
        seen.append(client.read(job_id))
        return seen[-1].state.is_terminal

    until(ended, 60, worker.logs)
    assert (seen[-1].state, seen[-1].attempts) == (JobState.SUCCEEDED, 1)
    assert {status.stage for status in seen} <= {Stage.RENDER, Stage.FINALISE}
    assert finished(job_id).revision == client.read(job_id).revision
    assert not redis.keys("topclip:celery-taskset-meta-*.s")


@pytest.mark.faults
def test_a_copy_of_probe_while_chunks_are_analysed_lets_nothing_be_joined_too_early(
    celery_setup: CeleryTestSetup,
    source: Path,
    submit: Submit,
    finished: Finished,
    client: JobClient,
    redis_node: RedisContainer,
) -> None:
    worker, redis = container(celery_setup), redis_node.client
    worker.kill("SIGSTOP")
    client.cancel(submit(source))
    job_id = submit(source, count=1, min_length=3, max_length=6, aspect="1:1", fit="pad")
    message = next(text for text in redis.lrange("topclip:control", 0, -1) if job_id in text)
    worker.kill("SIGCONT")
    parts = f"topclip:job:{job_id}:parts"
    until(lambda: redis.hvals(parts).count("done") >= 3, 30)  # probe, and two chunks
    redis.hset(parts, "probe", "published")  # as if its worker had died before it could write down that it was done
    redis.rpush("topclip:control", message)
    status = finished(job_id)
    assert (status.state, status.attempts) == (JobState.SUCCEEDED, 1), status.error


@pytest.mark.faults
def test_one_odd_message_does_not_stop_the_reconciler(
    celery_setup: CeleryTestSetup, source: Path, submit: Submit, finished: Finished, redis_node: RedisContainer
) -> None:
    worker = container(celery_setup)
    worker.kill("SIGSTOP")
    job_id = submit(source, count=1, min_length=3, max_length=6, aspect="1:1", fit="pad")
    redis_node.client.delete("topclip:control")  # handed to a worker that will never write down that it has it
    worker.kill()
    odd_job, odd_epoch = (f'{{"headers": {{"topclip": {header}}}}}' for header in ODD_HEADERS)
    for oddity in ('{"headers": null}', "[]", "no json", b"\xff", "[" * 100_000, odd_job, odd_epoch):
        redis_node.client.hset("topclip:unacked", f"odd-{oddity!r}", oddity)
    redis_node.client.hset("topclip:unacked", "odd", '[{"headers": {"topclip": 1}}, "", ""]')
    worker.restart()
    assert finished(job_id).state is JobState.SUCCEEDED


@pytest.mark.faults
def test_jobs_that_redis_has_lost_come_back_from_the_store(
    celery_setup: CeleryTestSetup,
    source: Path,
    submit: Submit,
    finished: Finished,
    client: JobClient,
    redis_node: RedisContainer,
) -> None:
    cancelled = submit(source)
    client.cancel(cancelled)
    finished(cancelled)
    done = submit(source, count=1, min_length=3, max_length=6, aspect="1:1", fit="pad")
    made = finished(done)
    before = client.read(done)
    redis_node.client.flushall()
    assert client.read(done).state is JobState.QUEUED
    again = finished(done)
    assert (again.epoch, again.revision) > (before.epoch, before.revision)
    assert (again.state, again.manifest_key) == (JobState.SUCCEEDED, made.manifest_key)
    assert again.created_at == made.created_at
    assert finished(cancelled).state is JobState.CANCELLED
    for key in redis_node.client.keys(f"*{done}*"):  # one job alone, as an old backup would leave it out
        redis_node.client.delete(key)
    with pytest.raises(QueueUnavailable):
        client.delete(done)
    assert finished(done).manifest_key == made.manifest_key


def test_cancelling_a_running_job_ends_it_for_good(
    celery_setup: CeleryTestSetup, source: Path, submit: Submit, finished: Finished, client: JobClient
) -> None:
    job_id = submit(source, count=2, min_length=3, max_length=6, aspect="1:1", fit="pad")
    in_stage(client, job_id, Stage.ANALYSE)
    assert client.cancel(job_id).state in (JobState.CANCELLING, JobState.CANCELLED)
    assert finished(job_id, 10).state is JobState.CANCELLED
    with pytest.raises(JobConflict):
        client.cancel(job_id)


def test_cancelling_a_queued_job_ends_it_at_once(
    celery_setup: CeleryTestSetup, source: Path, submit: Submit, client: JobClient, redis_node: RedisContainer
) -> None:
    worker = container(celery_setup)
    worker.kill("SIGSTOP")
    job_id = submit(source)
    assert client.cancel(job_id).state is JobState.CANCELLED
    worker.kill("SIGCONT")
    until(lambda: redis_node.client.llen("topclip:control") == 0, 10)
    until(lambda: nothing_unacknowledged(redis_node), 10)
    assert client.read(job_id).state is JobState.CANCELLED


def test_a_deleted_job_is_gone_with_its_files_and_known_to_have_been(
    celery_setup: CeleryTestSetup,
    source: Path,
    submit: Submit,
    finished: Finished,
    client: JobClient,
    store: ArtifactStore,
) -> None:
    job_id = submit(source, count=1, min_length=3, max_length=6, aspect="1:1", fit="pad")
    finished(job_id)
    assert store.list(f"jobs/{job_id}")
    client.delete(job_id)
    assert not store.list(f"jobs/{job_id}")
    with pytest.raises(JobExpired):
        client.read(job_id)
    with pytest.raises(UnknownJob):
        client.read("00000000-0000-4000-8000-000000000000")
    assert client.list().jobs == ()


@pytest.mark.faults
class TestTwoWorkers:
    """Two workers share a job, and one hands back what it cannot finish."""

    @pytest.fixture
    def n_workers(self) -> int:
        return 2

    def test_a_worker_that_is_told_to_stop_hands_its_tasks_back(
        self, celery_setup: CeleryTestSetup, source: Path, submit: Submit, finished: Finished, client: JobClient
    ) -> None:
        job_id = submit(source, count=2, min_length=3, max_length=6, aspect="1:1", fit="pad")
        in_stage(client, job_id, Stage.ANALYSE)
        container(celery_setup).kill("SIGQUIT")
        status = finished(job_id)
        assert status.state is JobState.SUCCEEDED
        assert status.attempts == 1
        until(lambda: container(celery_setup).status == "exited", 20)
        assert container(celery_setup).process.returncode == 0

    def test_a_paused_worker_loses_its_tasks_and_publishes_nothing(
        self,
        celery_setup: CeleryTestSetup,
        source: Path,
        submit: Submit,
        finished: Finished,
        client: JobClient,
        redis_node: RedisContainer,
        store: ArtifactStore,
    ) -> None:
        job_id = submit(source, count=2, min_length=3, max_length=6, aspect="1:1", fit="pad")
        in_stage(client, job_id, Stage.ANALYSE)
        paused = container(celery_setup)
        family = [psutil.Process(paused.process.pid), *paused.children()]
        for process in family:
            process.suspend()
        assert finished(job_id).state is JobState.SUCCEEDED
        for process in family:
            process.resume()
        until(lambda: nothing_unacknowledged(redis_node), 20)
        assert has_clips(store, job_id, 2)
        status = client.read(job_id)
        assert status.state is JobState.SUCCEEDED
        assert status.attempts <= 2  # a message that lay in the paused worker's socket is published again


@pytest.mark.faults
class TestOneWorkerWithRoom:
    """A worker that was paused past its leases takes its own messages back."""

    def test_its_old_runs_do_not_acknowledge_the_new_deliveries(
        self,
        celery_setup: CeleryTestSetup,
        source: Path,
        submit: Submit,
        finished: Finished,
        client: JobClient,
        redis_node: RedisContainer,
    ) -> None:
        job_id = submit(source, count=2, min_length=3, max_length=6, aspect="1:1", fit="pad")
        in_stage(client, job_id, Stage.ANALYSE)
        redis = redis_node.client
        until(lambda: redis.hlen("topclip:unacked") >= 2, 10)
        for tag in redis.hkeys("topclip:unacked"):  # as if the leases had ended: due now, whoever renews them
            redis.hset("topclip:unacked_lease", tag, "somebody")
            redis.zadd("topclip:unacked_index", {tag: 1})
        status = finished(job_id)
        assert (status.state, status.attempts) == (JobState.SUCCEEDED, 1)
        until(lambda: nothing_unacknowledged(redis_node), 10)
