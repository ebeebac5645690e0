"""The scripts on a real Redis: who may start, go on, and write, and what ends a job."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.workers.conftest import JOB, P
from topclip.errors import Killed
from topclip.model.job import Stage
from workers.backend import result_meta, revoked_meta
from workers.pulse import STARTS_ALLOWED, Pulse, Run
from workers.scripts import Scripts

Call = Callable[..., Any]


def start(scripts: Scripts, part: str, epoch: int = 1, tag: str = "", lease: str = "") -> str:
    stage = part if "/" not in part else ""
    verdict: str = scripts("start", JOB, epoch, tag, lease, part, stage, revoked_meta(JOB, epoch), STARTS_ALLOWED)
    return verdict


def finish(scripts: Scripts, part: str, state: str = "done", epoch: int = 1) -> str:
    verdict: str = scripts("finish", JOB, epoch, part, state, revoked_meta(JOB, epoch))
    return verdict


def state_of(redis: Any) -> tuple[str, str]:
    """The record's state, and Celery's."""
    meta = json.loads(redis.get(f"{P}celery-task-meta-{JOB}"))
    return redis.hget(f"{P}job:{JOB}", "state"), meta["status"]


def test_a_submission_is_taken_once_and_within_the_bound(scripts: Scripts, job: str, redis: Any) -> None:
    assert scripts("submit", job, "{}", "1", 4_000_000_000, "a", "{}", "probe", 10, 1, "") == "EXISTS"
    other = job.replace("1", "2")
    assert scripts("submit", other, "{}", "1", 4_000_000_000, "a", "{}", "probe", 1, 1, "") == "FULL"
    assert not redis.exists(f"{P}job:{other}")
    assert state_of(redis) == ("QUEUED", "QUEUED")


def test_all_keys_of_a_job_expire_with_it(scripts: Scripts, job: str, redis: Any) -> None:
    start(scripts, "probe")
    scripts("pulse", job, 1, "", "", f"{job}.1.analyse/0", result_meta("x", 1, "PROGRESS", {}), "analyse/0")
    assert all(redis.ttl(key) > 0 for key in redis.keys(f"*{job}*"))


def test_an_old_epoch_may_nothing(scripts: Scripts, job: str, redis: Any) -> None:
    assert scripts("redrive", job, 1, "probe", "{}") == 2
    assert start(scripts, "probe", epoch=1) == "OLD"
    assert finish(scripts, "probe", epoch=1) == "OLD"
    assert scripts("store", job, 1, job, result_meta(job, 1, "FAILURE", None), "FAILED") == "OLD"
    assert scripts("advance", job, 1, "", "", "analyse", "{}", "analyse/0") == "OLD"
    assert state_of(redis) == ("QUEUED", "QUEUED")
    assert start(scripts, "probe", epoch=2) == "OK"
    assert scripts("redrive", job, 1, "probe", "{}") == 0


def test_a_run_without_its_lease_may_nothing(scripts: Scripts, job: str, redis: Any) -> None:
    redis.hset(f"{P}unacked_lease", "tag", "mine")
    assert start(scripts, "probe", tag="tag", lease="mine") == "OK"
    redis.hset(f"{P}unacked_lease", "tag", "another's")
    assert start(scripts, "probe", tag="tag", lease="mine") == "LOST"
    assert scripts("pulse", job, 1, "tag", "mine", job, "", "probe") == "LOST"
    assert scripts("advance", job, 1, "tag", "mine", "analyse", "{}", "analyse/0") == "LOST"


def test_an_ended_job_stays_as_it_is(scripts: Scripts, job: str, redis: Any) -> None:
    start(scripts, "probe")
    assert scripts("store", job, 1, job, result_meta(job, 1, "SUCCESS", {}), "SUCCEEDED") == "OK"
    assert scripts("store", job, 1, job, result_meta(job, 1, "FAILURE", None), "FAILED") == "DONE"
    assert start(scripts, "analyse/0") == "DONE"
    assert scripts("cancel", job, "{}") == "TERMINAL"
    assert scripts("redrive", job, 1, "probe", "{}") == 0
    assert state_of(redis) == ("SUCCEEDED", "SUCCESS")


def test_the_last_part_of_a_cancelled_job_ends_it(scripts: Scripts, job: str, redis: Any) -> None:
    start(scripts, "probe")
    scripts("advance", job, 1, "", "", "analyse", result_meta(job, 1, "RUNNING", {}), "analyse/0", "analyse/1")
    finish(scripts, "probe")
    assert start(scripts, "analyse/0") == "OK"
    assert scripts("cancel", job, revoked_meta(job, 1)) == "RUNNING"
    assert scripts("pulse", job, 1, "", "", "x", "", "analyse/0") == "CANCELLED"
    assert start(scripts, "analyse/1") == "CANCELLED"
    assert state_of(redis)[0] == "CANCELLING"
    finish(scripts, "analyse/0")
    assert state_of(redis) == ("CANCELLED", "REVOKED")


def test_a_queued_job_is_cancelled_at_once(scripts: Scripts, job: str, redis: Any) -> None:
    assert scripts("cancel", job, revoked_meta(job, 1)) == "QUEUED"
    assert state_of(redis) == ("CANCELLED", "REVOKED")
    assert start(scripts, "probe") == "DONE"


def test_a_copy_of_a_stage_that_handed_on_is_ignored(scripts: Scripts, job: str, redis: Any) -> None:
    start(scripts, "probe")
    finish(scripts, "probe")
    assert start(scripts, "probe") == "DONE"
    assert start(scripts, "select") == "OK"
    assert start(scripts, "select") == "OK"  # its worker died before it handed on
    finish(scripts, "select")
    assert start(scripts, "select") == "DONE"
    assert redis.hget(f"{P}job:{job}", "stage") == "select"


def test_a_part_that_was_done_is_not_queued_again_by_a_copy(scripts: Scripts, job: str, redis: Any) -> None:
    start(scripts, "probe")
    scripts("advance", job, 1, "", "", "analyse", "{}", "analyse/0")
    start(scripts, "analyse/0")
    finish(scripts, "analyse/0")
    scripts("advance", job, 1, "", "", "analyse", "{}", "analyse/0", "analyse/1")
    assert redis.hgetall(f"{P}job:{job}:parts") == {"probe": "leased", "analyse/0": "done", "analyse/1": "published"}


def test_told_success_is_not_made_progress_again(scripts: Scripts, job: str, redis: Any) -> None:
    task = f"{job}.1.analyse/0"
    start(scripts, "analyse/0")
    scripts("store", job, 1, task, result_meta(task, 1, "SUCCESS", {}), "")
    scripts("pulse", job, 1, "", "", task, result_meta(task, 1, "PROGRESS", {}), "analyse/0")
    assert json.loads(redis.get(f"{P}celery-task-meta-{task}"))["status"] == "SUCCESS"


def test_a_part_whose_workers_die_is_given_up_but_not_one_that_is_merely_unlucky(scripts: Scripts, job: str) -> None:
    run = Run(job, 1, "analyse/0", f"{job}.1.analyse/0", "", "")
    for _ in range(STARTS_ALLOWED):
        Pulse(scripts, run).start(None)
    with pytest.raises(Killed) as caught:
        Pulse(scripts, run).start(None)
    assert caught.value.hint
    finish(scripts, "analyse/1")  # something of the job was done meanwhile
    Pulse(scripts, run).start(None)
    for _ in range(STARTS_ALLOWED * 2):  # handed back each time: a drain, or Redis away
        Pulse(scripts, run).start(None)
        finish(scripts, "analyse/0", "published")


def test_a_withdrawn_submission_leaves_nothing(scripts: Scripts, job: str, redis: Any) -> None:
    assert scripts("withdraw", job, "0") == 1
    assert not redis.keys("*")


def test_only_what_has_not_begun_is_withdrawn(scripts: Scripts, job: str, redis: Any) -> None:
    start(scripts, "probe")
    assert scripts("withdraw", job, "0") == 0
    scripts("fail", job, result_meta(job, 1, "FAILURE", None))
    assert state_of(redis) == ("FAILED", "FAILURE")


@pytest.mark.parametrize("script", ["start", "pulse", "advance", "store", "finish", "killed", "redrive", "fail"])
def test_nothing_is_written_for_a_job_that_is_no_more(scripts: Scripts, redis: Any, script: str) -> None:
    args = {"redrive": (1, "probe", "{}"), "fail": ("{}",)}.get(script, (1, "a", "", "b", "c", "d", 9))
    scripts(script, JOB, *args)
    assert not redis.keys("*")


def test_a_deleted_job_leaves_a_tombstone_and_tells(scripts: Scripts, job: str, redis: Any) -> None:
    assert scripts("forget", job, 60, "0") == "BUSY"
    start(scripts, "probe")
    task = f"{job}.1.{Stage.ANALYSE}/0"
    scripts("advance", job, 1, "", "", "analyse", "{}", "analyse/0")
    scripts("store", job, 1, task, result_meta(task, 1, "SUCCESS", {}), "")
    scripts("store", job, 1, job, result_meta(job, 1, "SUCCESS", {}), "SUCCEEDED")
    channel = redis.pubsub(ignore_subscribe_messages=True)
    channel.subscribe(f"{P}job-events")
    channel.get_message(timeout=1)
    assert scripts("forget", job, 60, "0") == "OK"
    assert json.loads(channel.get_message(timeout=5)["data"])["deleted"] is True
    channel.close()
    assert redis.keys("*") == [f"{P}gone:{job}"]
    assert scripts("read", job) == "EXPIRED"
    assert scripts("read", job.replace("1", "3")) == "UNKNOWN"
