"""What `/metrics` says of real workers, jobs and queues is what they did."""

from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pytest_celery import CeleryTestSetup

from tests.integration.faults import CLIP, P, container, containers, frozen_ffmpeg, redis_up
from tests.nodes import RedisContainer, WebContainer
from tests.waiting import until
from topclip.config import Settings
from topclip.model.job import JobState, JobStatus
from workers.client import JobClient

Submit = Callable[..., str]
Finished = Callable[..., JobStatus]
Read = Callable[..., float]
PLAN = {"mode": "plan"}


@pytest.fixture
def web(settings: Settings, tmp_path: Path) -> Iterator[WebContainer]:
    found = WebContainer(tmp_path, settings)
    assert found.ready()
    yield found
    found.teardown()


@pytest.fixture
def figure(web: WebContainer) -> Read:
    """figure(name, label=value...) -> the sum of the samples with these labels; 0 if there is none."""

    def read(name: str, **labels: str) -> float:
        families = text_string_to_metric_families(web.get("/metrics").text)
        samples = [s for family in families for s in family.samples if s.name == name]
        return sum(s.value for s in samples if labels.items() <= s.labels.items())

    return read


def test_a_job_is_counted_by_stage_queue_and_end(
    celery_setup: CeleryTestSetup, one_chunk: Path, submit: Submit, finished: Finished, figure: Read
) -> None:
    options = {"count": 1, "min_length": 5, "max_length": 10, "quality": "draft"}
    assert finished(submit(one_chunk, **options)).state is JobState.SUCCEEDED

    def runs(task: str) -> float:
        return figure("topclip_task_run_seconds_count", task=task)

    until(lambda: runs("finalise"), 10)
    assert [runs(task) for task in ("probe", "select", "render", "finalise")] == [1, 1, 1, 1]
    chunks = figure("topclip_analysis_chunks_total", source="made")
    assert runs("analyse") == chunks >= 1
    assert 0 < figure("topclip_task_run_seconds_sum", task="render") < 60
    assert figure("topclip_task_run_seconds_bucket", task="render", le="60.0") == 1
    assert figure("topclip_queue_wait_seconds_count", queue="render") == 1
    assert figure("topclip_queue_wait_seconds_count", queue="control") == 3
    assert figure("topclip_queue_wait_seconds_sum") < 60
    assert figure("topclip_jobs_ended_total", state="SUCCEEDED") == 1
    assert figure("topclip_analysis_chunks_total", source="cache") == 0
    finished(submit(one_chunk, **options | {"max_length": 9}))
    assert figure("topclip_analysis_chunks_total", source="cache") == chunks
    assert figure("topclip_analysis_chunks_total", source="made") == chunks


def test_workers_tell_what_they_take_of_their_machine(
    celery_setup: CeleryTestSetup, settings: Settings, figure: Read
) -> None:
    node = container(celery_setup)
    until(lambda: figure("topclip_worker_disk_free_bytes"), 20)
    family = [psutil.Process(node.process.pid), *node.children()]
    resident = sum(process.memory_info().rss for process in family)
    assert resident / 10 < figure("topclip_worker_memory_bytes") <= resident
    assert resident < figure("topclip_worker_memory_limit_bytes") <= psutil.virtual_memory().total
    free = psutil.disk_usage(str(settings.data_dir)).free
    assert free * 0.8 < figure("topclip_worker_disk_free_bytes") < free * 1.2
    assert (figure("topclip_workers"), figure("topclip_worker_processes")) == (1, 2)
    assert figure("topclip_queue_processes", queue="render") == 2
    assert abs(figure("topclip_worker_clock_ahead_seconds")) < 5
    node.kill()
    until(lambda: figure("topclip_workers") == 0, 20)
    assert figure("topclip_queue_processes") == 0


def test_what_waits_is_told_by_number_and_time(
    submit: Submit, client: JobClient, one_chunk: Path, figure: Read, redis_node: RedisContainer
) -> None:
    """There is no worker."""
    assert figure("topclip_queue_oldest_wait_seconds") == 0
    first = submit(one_chunk)
    until(lambda: figure("topclip_queue_oldest_wait_seconds", queue="control") > 1, 10)
    submit(one_chunk)
    until(lambda: figure("topclip_queue_depth", queue="control") == 2, 20)
    assert figure("topclip_queue_oldest_wait_seconds", queue="control") > 1  # not that of the newer one
    assert (
        figure("topclip_queue_depth", queue="render")
        == figure("topclip_queue_oldest_wait_seconds", queue="render")
        == 0
    )
    assert figure("topclip_job_oldest_seconds", state="QUEUED") > 1
    assert figure("topclip_jobs", state="QUEUED") == 2
    client.cancel(first)
    assert until(lambda: figure("topclip_jobs_ended_total", state="CANCELLED"), 5) == 1
    redis_node.kill()
    until(lambda: figure("topclip_redis_up") == 0, 10)


def test_parts_that_are_held_for_their_turn_wait_too(
    celery_setup: CeleryTestSetup, submit: Submit, source: Path, figure: Read, client: JobClient
) -> None:
    many = {"mode": "ranges", "ranges": [[i, i + 20.0] for i in range(8)], "aspect": "1:1", "fit": "pad"}
    job = submit(source, **many)
    frozen_ffmpeg(celery_setup)
    until(lambda: figure("topclip_queue_oldest_wait_seconds", queue="render") > 2, 20)
    assert figure("topclip_queue_depth", queue="render") >= 5
    assert figure("topclip_leases") >= 1
    client.cancel(job)
    until(lambda: figure("topclip_queue_oldest_wait_seconds", queue="render") == 0, 10)


def test_failures_are_counted_by_code(
    celery_setup: CeleryTestSetup, submit: Submit, finished: Finished, figure: Read, tmp_path: Path
) -> None:
    (tmp_path / "no-video.mp4").write_bytes(b"no video at all" * 100)
    status = finished(submit(tmp_path / "no-video.mp4", **PLAN))
    assert status.error
    until(lambda: figure("topclip_task_failures_total", task="probe", code=status.error.code) == 1, 10)
    assert figure("topclip_task_failures_total") == 1
    assert figure("topclip_jobs_ended_total", state="FAILED") == 1


def test_what_is_tried_again_is_counted_by_code(
    celery_setup: CeleryTestSetup,
    submit: Submit,
    finished: Finished,
    figure: Read,
    one_chunk: Path,
    settings: Settings,
) -> None:
    """As where a worker's share is unmounted for a while."""
    worker = container(celery_setup)
    worker.kill("SIGSTOP")
    job = submit(one_chunk, **PLAN)
    assert figure("topclip_task_retries_total") == 0  # the web server has looked up its keys by then
    staging, aside = settings.store_dir / ".staging", settings.store_dir / "aside"
    staging.rename(aside)
    worker.kill("SIGCONT")
    until(lambda: figure("topclip_task_retries_total", task="probe", code="STORAGE_UNAVAILABLE") >= 1, 20)
    aside.rename(staging)
    assert finished(job).state is JobState.SUCCEEDED
    assert figure("topclip_task_failures_total") == 0


@pytest.mark.faults
class TestFaults:
    @pytest.fixture
    def n_workers(self) -> int:
        return 2

    def test_deaths_of_processes_and_of_workers_are_counted(
        self, celery_setup: CeleryTestSetup, submit: Submit, source: Path, finished: Finished, figure: Read
    ) -> None:
        job_id = submit(source, **CLIP)
        ffmpeg = frozen_ffmpeg(celery_setup)
        child = ffmpeg.parent()
        assert child
        child.kill()
        ffmpeg = frozen_ffmpeg(celery_setup, but=ffmpeg)
        until(lambda: figure("topclip_task_kills_total", why="died") == 1, 10)
        victim = next(node for node in containers(celery_setup) if ffmpeg in node.children())
        ages: list[float] = []
        victim.kill()

        def has_ended() -> bool:
            ages.append(figure("topclip_lease_age_seconds"))
            return figure("topclip_lease_events_total", event="ended") >= 1

        until(has_ended, 20)
        assert max(ages) > 2  # it is not renewed; the lease is one of 4 s, renewed six times as often
        assert finished(job_id).state is JobState.SUCCEEDED

    def test_an_acknowledgement_that_redis_was_away_for_is_counted(
        self, celery_setup: CeleryTestSetup, submit: Submit, source: Path, figure: Read, redis_node: RedisContainer,
        finished: Finished,
    ) -> None:  # fmt: skip
        job_id = submit(source, **CLIP)
        ffmpeg = frozen_ffmpeg(celery_setup)
        child = ffmpeg.parent()
        assert child
        redis_node.kill()
        child.kill()  # its delivery goes back, which Redis does not hear
        redis_node.restart()
        until(lambda: redis_up(redis_node), 10)
        until(lambda: figure("topclip_lease_events_total", event="late") >= 1, 20)
        assert finished(job_id).state is JobState.SUCCEEDED


@pytest.mark.faults
def test_repairs_are_counted(
    celery_setup: CeleryTestSetup, submit: Submit, one_chunk: Path, figure: Read, redis_node: RedisContainer,
    finished: Finished,
) -> None:  # fmt: skip
    worker = container(celery_setup)
    worker.kill("SIGSTOP")
    job_id = submit(one_chunk, **PLAN)
    redis_node.client.delete(P + "control")  # handed to a worker that will never write down that it has it
    worker.kill()
    worker.restart()
    assert finished(job_id).state is JobState.SUCCEEDED
    assert figure("topclip_repairs_total", kind="redriven") == 1
    redis_node.client.flushall()
    redis_node.client.sadd(P + "lost", job_id)
    until(lambda: figure("topclip_repairs_total", kind="restored") >= 1, 30)
