"""What a retry cannot help ends the job with its reason, what it can is tried again: on a real worker."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_celery import CeleryTestSetup

from tests.integration.test_survival import container
from tests.nodes import RedisContainer
from tests.waiting import until
from topclip.config import Settings
from topclip.model.job import JobState, JobStatus
from topclip.storage.local import LocalStore
from workers.request import KILLS_ALLOWED

Submit = Callable[..., str]
Finished = Callable[..., JobStatus]
OPTIONS = {"count": 1, "min_length": 3, "max_length": 6}


@pytest.fixture
def settings(redis_node: RedisContainer, tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    """What the workers run with; a test's parameter is the line that stands for ffmpeg."""
    ffmpeg = tmp_path / "ffmpeg.sh"
    ffmpeg.write_text(f"#!/bin/sh\necho run >>{tmp_path}/runs\n{getattr(request, 'param', 'exit 1')}\n")
    ffmpeg.chmod(0o755)
    named = str(ffmpeg) if hasattr(request, "param") else ""
    return Settings(redis_url=redis_node.url, data_dir=tmp_path, lease_s=4.0, ffmpeg=named)


def staging(tmp_path: Path) -> list[str]:
    return LocalStore(tmp_path / "store").staged()


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ("kill -9 $$", "KILLED"),
        ("echo 'x264 [error]: malloc of size 99999999 failed' >&2; exit 187", "MEDIA_LIMIT"),
    ],
    indirect=["settings"],
    ids=["killed by the kernel", "refused by its limit"],
)
@pytest.mark.faults
def test_an_ffmpeg_without_memory_ends_the_job_with_that_reason(
    celery_setup: CeleryTestSetup, one_chunk: Path, submit: Submit, finished: Finished, tmp_path: Path, code: str
) -> None:
    status = finished(submit(one_chunk, **OPTIONS), 60)
    assert status.state is JobState.FAILED
    assert status.error is not None
    assert status.error.code == code
    assert "memory" in str(status.error.hint)
    assert len((tmp_path / "runs").read_text().split()) <= KILLS_ALLOWED
    assert staging(tmp_path) == []
    assert container(celery_setup).status == "running"


def retries(redis: RedisContainer) -> list[str]:
    """What Flower is to show of the messages that are tries anew."""
    hashes = [key for key in redis.client.keys("topclip:*") if redis.client.type(key) == "hash"]
    values = (value for key in hashes for value in redis.client.hvals(key))
    found = (re.search(r'"retries": [1-9].*?"kwargsrepr": "([^"]*)"', value) for value in values)
    return [match[1] for match in found if match]


@pytest.mark.faults
def test_a_job_waits_for_a_store_that_fails_for_a_while(
    celery_setup: CeleryTestSetup,
    one_chunk: Path,
    submit: Submit,
    finished: Finished,
    tmp_path: Path,
    redis_node: RedisContainer,
) -> None:
    in_the_way = tmp_path / "store" / "analysis"
    in_the_way.write_text("no folder")
    job_id = submit(one_chunk, **OPTIONS)
    worker = container(celery_setup)
    until(lambda: "will be tried again: the store failed" in worker.logs(), 30, worker.logs)
    assert staging(tmp_path) == []
    shown = until(lambda: retries(redis_node), 10)
    assert all(job_id in one for one in shown), shown
    assert "{" not in "".join(shown)
    in_the_way.unlink()
    assert finished(job_id).state is JobState.SUCCEEDED
    assert staging(tmp_path) == []


def test_the_processes_of_a_worker_have_the_limit_that_the_settings_say(
    celery_setup: CeleryTestSetup, settings: Settings
) -> None:
    children = container(celery_setup).children()
    limits = [
        Path(f"/proc/{child.pid}/limits").read_text() for child in children if "celery" in " ".join(child.cmdline())
    ]
    assert limits
    for text in limits:
        soft = next(line.split()[3] for line in text.splitlines() if line.startswith("Max data size"))
        assert soft.isdigit()
