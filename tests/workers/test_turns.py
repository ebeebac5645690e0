"""Jobs take turns: whose parts are let into a queue, how many, and what becomes of those that wait."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.workers.conftest import JOB, P
from topclip.config import Settings
from workers.backend import result_meta, revoked_meta
from workers.drive import redrive
from workers.links import WEB, make_app
from workers.pulse import STARTS_ALLOWED
from workers.scripts import Scripts

pytestmark = pytest.mark.over_containers

OTHER = JOB.replace("1111", "2222")
N_LONG = 40


@pytest.fixture
def worker(redis: Any) -> str:
    """A worker of four processes that takes from all queues."""
    now, _ = redis.time()
    redis.zadd(P + "workers", {"w1": now})
    redis.hset(P + "worker:w1", mapping={"concurrency": 4, "queues": "control,analyse,render"})
    return "w1"


@pytest.fixture
def job(scripts: Scripts, redis: Any) -> str:
    """A job that analyses a long source, with nothing let in yet but what fits."""
    return submitted(scripts, JOB, N_LONG)


def submitted(scripts: Scripts, job: str, n: int, created_at: str = "1000.5") -> str:
    meta = result_meta(job, 1, "QUEUED", {})
    assert scripts("submit", job, "{}", created_at, 4_000_000_000, "a", meta, "probe", 10, 1, "") == "OK"
    start(scripts, job, "probe", "probe")
    parts = [f"analyse/{i}" for i in range(n)]
    scripts("advance", job, 1, "", "", "analyse", result_meta(job, 1, "RUNNING", {}), *parts)
    for part in parts:
        assert scripts("hold", job, 1, "analyse", f"{job} {part}") == "OK"
    scripts("finish", job, 1, "", "", "probe", "done", revoked_meta(job, 1))
    return job


def start(scripts: Scripts, job: str, part: str, stage: str = "") -> str:
    return str(scripts("start", job, 1, "", "", part, stage, revoked_meta(job, 1), STARTS_ALLOWED))


def taken(scripts: Scripts, redis: Any, n: int) -> list[str]:
    """The jobs of the next n parts, taken and begun as workers do."""
    jobs = []
    for _ in range(n):
        job, part = redis.rpop(P + "analyse").split()
        assert start(scripts, job, part) == "OK"
        jobs.append(job)
    return jobs


@pytest.mark.usefixtures("worker")
def test_only_what_keeps_the_processes_busy_is_let_in(scripts: Scripts, job: str, redis: Any) -> None:
    assert redis.llen(P + "analyse") == 2
    taken(scripts, redis, 6)
    assert (redis.llen(P + "analyse"), redis.llen(f"{P}job:{job}:held:analyse")) == (2, N_LONG - 8)


@pytest.mark.usefixtures("worker")
def test_a_job_that_comes_later_takes_every_other_turn(scripts: Scripts, job: str, redis: Any) -> None:
    submitted(scripts, OTHER, 6, "2000.5")
    order = taken(scripts, redis, 14)
    assert order[2:] == [job, OTHER] * 6  # two of the first were in the queue already


@pytest.mark.usefixtures("worker")
def test_every_part_is_let_in_once_and_in_order(scripts: Scripts, job: str, redis: Any) -> None:
    seen = []
    while text := redis.rpop(P + "analyse"):
        seen.append(text.split()[1])
        start(scripts, job, seen[-1])
    assert seen == [f"analyse/{i}" for i in range(N_LONG)]
    assert not redis.exists(P + "turns:analyse", f"{P}job:{job}:held:analyse")


def test_without_a_word_from_any_worker_the_queue_is_not_empty(scripts: Scripts, job: str, redis: Any) -> None:
    assert taken(scripts, redis, 5) == [job] * 5
    assert redis.llen(P + "analyse") == 2


@pytest.mark.usefixtures("worker")
def test_workers_that_take_from_another_queue_are_not_counted(scripts: Scripts, redis: Any) -> None:
    redis.hset(P + "worker:w1", mapping={"concurrency": 100, "queues": "render"})
    submitted(scripts, JOB, N_LONG)
    assert redis.llen(P + "analyse") == 2


def test_a_cancelled_job_waits_for_nothing_that_has_not_begun(scripts: Scripts, job: str, redis: Any) -> None:
    taken(scripts, redis, 1)
    assert scripts("cancel", job, revoked_meta(job, 1)) == "RUNNING"
    assert not redis.exists(P + "turns:analyse", f"{P}job:{job}:held:analyse")
    assert redis.hget(f"{P}job:{job}", "state") == "CANCELLING"
    scripts("finish", job, 1, "", "", "analyse/0", "done", revoked_meta(job, 1))
    assert redis.hget(f"{P}job:{job}", "state") == "CANCELLED"
    assert start(scripts, job, "analyse/1") == "DONE"


def test_parts_of_an_older_attempt_are_neither_held_nor_let_in(scripts: Scripts, job: str, redis: Any) -> None:
    assert scripts("redrive", job, 1, "probe", revoked_meta(job, 1)) == [2, 2]
    assert not redis.exists(P + "turns:analyse", f"{P}job:{job}:held:analyse")
    assert scripts("hold", job, 1, "analyse", "late") == "OLD"
    assert not redis.exists(f"{P}job:{job}:held:analyse")


def test_a_forgotten_turn_is_given_again(scripts: Scripts, job: str, redis: Any) -> None:
    redis.delete(P + "turns:analyse", P + "analyse")
    assert scripts("waits", job) == 1
    assert redis.llen(P + "analyse") == 2
    assert scripts("waits", OTHER) == 0


def test_a_job_that_is_begun_anew_again_and_again_waits_the_longer(
    scripts: Scripts, job: str, redis: Any, settings: Settings
) -> None:
    app, due = make_app(settings, WEB), []
    for epoch in (1, 2):
        assert redrive(app, scripts, job, epoch, "of another version", pause_s=lambda n: n * 1000.0)
        eta = json.loads(redis.lindex(P + "control", 0))["headers"]["eta"]
        due.append(datetime.fromisoformat(eta) - datetime.now(UTC))
    assert redrive(app, scripts, job, 3, "nothing works on it")
    assert json.loads(redis.lindex(P + "control", 0))["headers"]["eta"] is None
    app.close()
    assert timedelta(seconds=1900) < due[0] < timedelta(seconds=2000) < due[1]
