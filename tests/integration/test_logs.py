"""Logs as JSON: each line of web and workers that is about a job bears its id, and that of the task."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_celery import CeleryTestSetup

from tests.integration.faults import container
from tests.nodes import ProcessContainer, RedisContainer, WebContainer
from tests.waiting import until
from topclip.config import Settings
from topclip.model.job import JobState, JobStatus


@pytest.fixture
def settings(redis_node: RedisContainer, tmp_path: Path) -> Settings:
    return Settings(redis_url=redis_node.url, data_dir=tmp_path, lease_s=4.0, log_format="json")


@pytest.fixture
def web(settings: Settings, tmp_path: Path) -> Iterator[WebContainer]:
    found = WebContainer(tmp_path, settings)
    assert found.ready()
    yield found
    found.teardown()


def lines(node: ProcessContainer) -> list[dict[str, Any]]:
    """What was logged; Celery prints its banner as text."""
    return [json.loads(line) for line in node.logs().splitlines() if line.startswith("{")]


def test_a_job_can_be_followed_through_web_and_worker(
    celery_setup: CeleryTestSetup,
    web: WebContainer,
    one_chunk: Path,
    finished: Callable[..., JobStatus],
) -> None:
    bad = web.submit(one_chunk, captions="side").json()["id"]  # which it has no words for
    good = web.submit(one_chunk, mode="plan").json()["id"]
    assert finished(bad).state is JobState.FAILED
    assert finished(good).state is JobState.SUCCEEDED
    told = lines(web)
    assert [line for line in web.logs().splitlines() if not line.startswith("{")] == []
    assert {"time", "level", "logger", "message", "process"} <= set(told[0])
    submitted = [line["job"] for line in told if line["message"].startswith("POST /api/jobs")]
    assert submitted == [bad, good]
    worker = container(celery_setup)
    until(lambda: any("succeeded" in line["message"] and line.get("job") == good for line in lines(worker)), 10)
    about = [line for line in lines(worker) if "Task topclip." in line["message"] or line["logger"] == "workers.base"]
    assert {line["job"] for line in about} == {bad, good}
    assert all(line["task"].startswith(line["job"]) for line in about)
    failure = next(line for line in about if line["logger"] == "workers.base" and line["level"] == "ERROR")
    assert (failure["job"], failure["task_name"], failure["part"], failure["epoch"]) == (bad, "probe", "probe", 1)
    parts = {line["task"] for line in about if line["task_name"] == "analyse"}
    assert any(task == f"{good}.1.analyse/0" for task in parts)
