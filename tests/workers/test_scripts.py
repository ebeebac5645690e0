"""The scripts on a real Redis: who may start, go on, and write, and what ends a job."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.workers.conftest import JOB, P
from topclip.model.job import Stage
from workers.backend import result_meta, revoked_meta
from workers.pulse import STARTS_ALLOWED
from workers.scripts import Scripts

pytestmark = pytest.mark.over_containers

Call = Callable[..., Any]


def start(scripts: Scripts, part: str, epoch: int = 1, tag: str = "", lease: str = "") -> str:
    stage = part if "/" not in part else ""
    verdict: str = scripts("start", JOB, epoch, tag, lease, part, stage, revoked_meta(JOB, epoch), STARTS_ALLOWED)
    return verdict


def finish(scripts: Scripts, part: str, state: str = "done", epoch: int = 1) -> str:
    verdict: str = scripts("finish", JOB, epoch, "", "", part, state, revoked_meta(JOB, epoch))
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
    assert scripts("redrive", job, 1, "probe", "{}") == [2, 2]
    assert start(scripts, "probe", epoch=1) == "OLD"
    assert finish(scripts, "probe", epoch=1) == "OLD"
    assert scripts("store", job, 1, "", "", job, result_meta(job, 1, "FAILURE", None), "FAILED") == "OLD"
    assert scripts("advance", job, 1, "", "", "analyse", "{}", "analyse/0") == "OLD"
    assert state_of(redis) == ("QUEUED", "QUEUED")
    assert start(scripts, "probe", epoch=2) == "OK"
    assert scripts("redrive", job, 1, "probe", "{}") == [0, 0]


def test_a_run_without_its_lease_may_nothing(scripts: Scripts, job: str, redis: Any) -> None:
    redis.hset(f"{P}unacked_lease", "tag", "mine")
    assert start(scripts, "probe", tag="tag", lease="mine") == "OK"
    redis.hset(f"{P}unacked_lease", "tag", "another's")
    assert start(scripts, "probe", tag="tag", lease="mine") == "LOST"
    assert scripts("pulse", job, 1, "tag", "mine", job, "", "probe") == "LOST"
    assert scripts("advance", job, 1, "tag", "mine", "analyse", "{}", "analyse/0") == "LOST"
    assert scripts("current", job, 1, "tag", "mine") == "LOST"
    assert scripts("finish", job, 1, "tag", "mine", "probe", "done", "{}") == "LOST"
    assert scripts("store", job, 1, "tag", "mine", job, result_meta(job, 1, "FAILURE", None), "FAILED") == "LOST"
    assert scripts("killed", job, 1, "tag", "mine", "probe") == 0
    assert state_of(redis) == ("RUNNING", "QUEUED")
    assert redis.hgetall(f"{P}job:{job}:parts") == {"probe": "leased"}
    redis.hdel(f"{P}unacked_lease", "tag")  # handed back, or acknowledged
    assert scripts("store", job, 1, "tag", "mine", job, result_meta(job, 1, "FAILURE", None), "FAILED") == "LOST"


def test_an_ended_job_stays_as_it_is(scripts: Scripts, job: str, redis: Any) -> None:
    start(scripts, "probe")
    assert scripts("store", job, 1, "", "", job, result_meta(job, 1, "SUCCESS", {}), "SUCCEEDED") == "OK"
    assert scripts("store", job, 1, "", "", job, result_meta(job, 1, "FAILURE", None), "FAILED") == "DONE"
    assert start(scripts, "analyse/0") == "DONE"
    assert scripts("cancel", job, "{}") == "TERMINAL"
    assert scripts("redrive", job, 1, "probe", "{}") == [0, 0]
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
    scripts("store", job, 1, "", "", task, result_meta(task, 1, "SUCCESS", {}), "")
    scripts("pulse", job, 1, "", "", task, result_meta(task, 1, "PROGRESS", {}), "analyse/0")
    assert json.loads(redis.get(f"{P}celery-task-meta-{task}"))["status"] == "SUCCESS"


def test_a_withdrawn_submission_leaves_nothing(scripts: Scripts, job: str, redis: Any) -> None:
    assert scripts("withdraw", job, "0") == 1
    assert redis.keys("*") == [f"{P}dropped:{job}"]  # lest files that could not be removed are taken for a job


def test_only_what_has_not_begun_is_withdrawn(scripts: Scripts, job: str, redis: Any) -> None:
    start(scripts, "probe")
    assert scripts("withdraw", job, "0") == 0
    scripts("fail", job, result_meta(job, 1, "FAILURE", None))
    assert state_of(redis) == ("FAILED", "FAILURE")


@pytest.mark.parametrize("script", ["start", "pulse", "advance", "store", "finish", "killed", "redrive", "fail"])
def test_nothing_is_written_for_a_job_that_is_no_more(scripts: Scripts, redis: Any, script: str) -> None:
    args = {"redrive": (1, "probe", "{}"), "fail": ("{}",)}.get(script, (1, "tag", "", "b", "c", "d", 9))
    scripts(script, JOB, *args)
    assert not redis.keys("*")


def test_a_deleted_job_leaves_a_tombstone_and_tells(scripts: Scripts, job: str, redis: Any) -> None:
    assert scripts("forget", job, 60, "0") == "BUSY"
    start(scripts, "probe")
    task = f"{job}.1.{Stage.ANALYSE}/0"
    scripts("advance", job, 1, "", "", "analyse", "{}", "analyse/0")
    scripts("store", job, 1, "", "", task, result_meta(task, 1, "SUCCESS", {}), "")
    scripts("store", job, 1, "", "", job, result_meta(job, 1, "SUCCESS", {}), "SUCCEEDED")
    channel = redis.pubsub(ignore_subscribe_messages=True)
    channel.subscribe(f"{P}job-events")
    channel.get_message(timeout=1)
    assert scripts("forget", job, 60, "0") == "OK"
    assert json.loads(channel.get_message(timeout=5)["data"])["deleted"] is True
    channel.close()
    assert set(redis.keys("*")) == {f"{P}gone:{job}", f"{P}figures"}
    assert scripts("read", job) == "EXPIRED"
    assert scripts("read", job.replace("1", "3")) == "UNKNOWN"


KEYED = ("10", "digest", "body")
"""What a submission has beside the usual: its owner's bound, and what its key and body are known by."""


def submit(
    scripts: Scripts, job: str, *more: str, owner: str = "", bound: int = 10, expires_at: int = 4_000_000_000
) -> str:
    meta = result_meta(job, 1, "QUEUED", {})
    verdict: str = scripts(
        "submit", job, '{"options": {}}', "1000.5", expires_at, "a", meta, "probe", bound, 1, owner, *more
    )
    return verdict


def end(scripts: Scripts, job: str, state: str, result: dict[str, Any] | None = None, epoch: int = 1) -> None:
    meta = result_meta(job, epoch, "FAILURE" if state == "FAILED" else "SUCCESS", result)
    assert scripts("store", job, epoch, "", "", job, meta, state) == "OK"


OTHER = JOB.replace("1", "2")
THIRD = JOB.replace("1", "3")


def test_a_key_stands_for_one_job_as_long_as_there_is_that_job(scripts: Scripts, redis: Any) -> None:
    assert submit(scripts, JOB, *KEYED) == "OK"
    assert scripts("room", "", "", "digest", 0, 0) == "KNOWN"
    assert scripts("intend", OTHER, "", "digest", "body", 0, 0)[0] == f"SAME {JOB}"
    assert submit(scripts, OTHER, *KEYED, bound=1) == f"SAME {JOB}"
    assert submit(scripts, OTHER, "10", "digest", "another body") == "OTHER"
    assert not redis.exists(f"{P}job:{OTHER}", f"{P}intent:{OTHER}")
    assert redis.ttl(f"{P}idem:digest") == redis.ttl(f"{P}job:{JOB}")
    end(scripts, JOB, "FAILED")
    assert submit(scripts, OTHER, *KEYED) == f"SAME {JOB}"
    assert scripts("forget", JOB, 60, "0") == "OK"
    assert submit(scripts, OTHER, *KEYED) == "OK"
    assert redis.get(f"{P}idem:digest") == f"{OTHER} body"


def test_a_key_whose_job_is_lost_is_free(scripts: Scripts, redis: Any) -> None:
    submit(scripts, JOB, *KEYED)
    redis.delete(f"{P}job:{JOB}")
    assert submit(scripts, OTHER, *KEYED) == "OK"
    scripts("forget", JOB, 60, "1")
    assert redis.get(f"{P}idem:digest") == f"{OTHER} body"


def test_a_submission_that_was_told_to_another_is_not_withdrawn(scripts: Scripts, redis: Any) -> None:
    submit(scripts, JOB, *KEYED)
    assert scripts("withdraw", JOB, "2") == 1
    assert redis.keys("*") == [f"{P}dropped:{JOB}"]
    submit(scripts, JOB, *KEYED)
    submit(scripts, OTHER, *KEYED)
    assert scripts("withdraw", JOB, "2") == 0
    assert scripts("withdraw", JOB, "1") == 1


def test_a_submission_that_died_is_told_from_a_job_that_was_lost(scripts: Scripts, redis: Any) -> None:
    intended = ("10", "", "", "1")
    assert scripts("drop", JOB, 0, 1, "") == "NONE"
    assert scripts("intend", JOB, "", "", "", 10, 10)[0] == "OK"
    assert redis.ttl(f"{P}intent:{JOB}") > 0
    assert scripts("drop", JOB, 30, 1, "") == "YOUNG"
    assert scripts("drop", JOB, 0, 1, "") == "NONE"  # it may have been accepted
    assert scripts("drop", JOB, 0, 0, "") == "DROPPED"
    assert submit(scripts, JOB, *intended) == "LATE"
    assert scripts("intend", JOB, "", "", "", 10, 10)[0] == "LATE"
    assert redis.keys("*") == [f"{P}dropped:{JOB}"]
    assert redis.ttl(f"{P}dropped:{JOB}") > 0
    scripts("intend", OTHER, "", "", "", 10, 10)
    assert submit(scripts, OTHER, *intended) == "OK"
    assert scripts("drop", OTHER, 0, 1, "") == "NONE"


def test_files_that_nobody_intended_are_dropped_when_they_are_still_there_later(scripts: Scripts, redis: Any) -> None:
    assert scripts("drop", JOB, 30, 0, "") == "YOUNG"
    assert scripts("drop", JOB, 30, 0, "") == "YOUNG"
    assert scripts("drop", JOB, 0, 0, "") == "DROPPED"
    assert redis.ttl(f"{P}dropped:{JOB}") > 0


def test_an_owner_has_a_bound_of_its_own_that_ended_and_expired_jobs_do_not_count_in(
    scripts: Scripts, redis: Any
) -> None:
    now = int(redis.time()[0])
    assert submit(scripts, JOB, "2", owner="ann") == "OK"
    assert submit(scripts, OTHER, "2", owner="ann") == "OK"
    before = redis.keys("*")
    assert submit(scripts, THIRD, "2", owner="ann") == "OWNER_FULL"
    assert scripts("intend", THIRD, "ann", "", "", 10, 2)[0] == "OWNER_FULL"
    assert scripts("room", "", "ann", "", 10, 2) == "OWNER_FULL"
    assert sorted(redis.keys("*")) == sorted(before)
    assert scripts("room", "", "ben", "", 10, 2) == "OK"
    assert scripts("room", "", "ben", "", 2, 2) == "FULL"
    start(scripts, "probe")
    assert scripts("room", "", "ann", "", 10, 2) == "OWNER_FULL"
    end(scripts, JOB, "FAILED")
    assert scripts("room", "", "ann", "", 10, 2) == "OK"
    redis.zadd(f"{P}live:ann", {"expired": now - 1, THIRD: now + 60})
    assert scripts("room", "", "ann", "", 10, 2) == "OWNER_FULL"
    assert scripts("room", "", "ann", "", 10, 3) == "OK"
    assert redis.zrange(f"{P}live:ann", 0, -1) == [THIRD, OTHER]
    assert scripts("withdraw", OTHER, "1") == 1
    assert redis.zrange(f"{P}live:ann", 0, -1) == [THIRD]


def test_the_set_of_an_owners_live_jobs_goes_with_the_last_of_them(scripts: Scripts, redis: Any) -> None:
    submit(scripts, JOB, "9", owner="ann")
    submit(scripts, OTHER, "9", owner="ann", expires_at=3_000_000_000)
    until_s = redis.ttl(f"{P}live:ann") + int(redis.time()[0])
    assert abs(until_s - 4_000_000_000) <= 1
    for job in (JOB, OTHER):
        scripts("cancel", job, revoked_meta(job, 1))
    assert not redis.exists(f"{P}live:ann")


def retry(scripts: Scripts, epoch: int = 1, bound: int = 10, owner_bound: int = 10) -> str:
    meta = result_meta(JOB, epoch + 1, "QUEUED", {})
    verdict: str = scripts("retry", JOB, epoch, meta, "probe", bound, owner_bound)
    return verdict


@pytest.mark.parametrize("ending", ["PARTIAL", "FAILED", "CANCELLED"])
def test_an_ended_job_is_started_again_as_if_nothing_had_gone_wrong(scripts: Scripts, redis: Any, ending: str) -> None:
    submit(scripts, JOB, "9", owner="ann")
    start(scripts, "probe")
    progress = result_meta(JOB, 1, "RUNNING", {"stage": "render", "tasks": [f"{JOB}.1.render/1"]})
    scripts("advance", JOB, 1, "", "", "render", progress, "render/1")
    scripts("store", JOB, 1, "", "", f"{JOB}.1.render/1", result_meta("x", 1, "SUCCESS", {}), "")
    scripts("killed", JOB, 1, "", "", "render/1")
    expiry = redis.ttl(f"{P}job:{JOB}")
    if ending == "CANCELLED":
        scripts("cancel", JOB, revoked_meta(JOB, 1))
        for part in ("probe", "render/1"):
            finish(scripts, part)
    else:
        end(scripts, JOB, ending, {"manifest": "jobs/a/manifest-a.json"})
    assert redis.hget(f"{P}job:{JOB}", "state") == ending
    revision = int(redis.hget(f"{P}job:{JOB}", "revision"))

    assert retry(scripts) == "OK"
    record = redis.hgetall(f"{P}job:{JOB}")
    assert (record["epoch"], record["attempts"], record["cancel"]) == ("2", "2", "0")
    assert int(record["revision"]) > revision
    assert not {"stage", "started_at", "finished_at", "last"} & set(record)
    assert state_of(redis) == ("QUEUED", "QUEUED")
    assert redis.hgetall(f"{P}job:{JOB}:parts") == {"probe": "published"}
    left = set(redis.keys(f"*{JOB}*"))
    assert left == {f"{P}job:{JOB}", f"{P}job:{JOB}:parts", f"{P}celery-task-meta-{JOB}"}
    assert all(0 < redis.ttl(key) <= expiry for key in left)
    assert redis.zrange(f"{P}state:{ending}", 0, -1) == []
    assert redis.zrange(f"{P}live:ann", 0, -1) == [JOB]

    assert start(scripts, "probe", epoch=1) == "OLD"
    assert start(scripts, "probe", epoch=2) == "OK"
    assert retry(scripts, epoch=2) == "BUSY"


def test_only_an_ended_job_that_lacks_something_is_started_again(scripts: Scripts, redis: Any) -> None:
    assert retry(scripts) == "UNKNOWN"
    submit(scripts, JOB)
    assert retry(scripts) == "BUSY"
    start(scripts, "probe")
    assert retry(scripts) == "BUSY"
    scripts("cancel", JOB, revoked_meta(JOB, 1))
    assert state_of(redis)[0] == "CANCELLING"
    assert retry(scripts) == "BUSY"
    finish(scripts, "probe")
    assert retry(scripts, epoch=0) == "BUSY"  # somebody else has started it again meanwhile
    assert retry(scripts, bound=0) == "FULL"
    assert state_of(redis)[0] == "CANCELLED"
    assert retry(scripts) == "OK"
    start(scripts, "probe", epoch=2)
    end(scripts, JOB, "SUCCEEDED", epoch=2)
    assert retry(scripts, epoch=2) == "DONE"
    scripts("forget", JOB, 60, "0")
    assert retry(scripts, epoch=2) == "EXPIRED"


def submit_for(scripts: Scripts, job: str, owner: str, created_at: str = "1000.5") -> str:
    meta = result_meta(job, 1, "QUEUED", {})
    assert (
        scripts("submit", job, '{"options": {}}', created_at, 4_000_000_000, "a.mp4", meta, "probe", 10, 1, owner)
        == "OK"
    )
    return job


def test_an_owners_jobs_are_listed_by_state_and_leave_no_key_when_they_are_gone(scripts: Scripts, redis: Any) -> None:
    submit_for(scripts, JOB, "alice")
    other = submit_for(scripts, JOB.replace("1", "2"), "bob")
    assert redis.zrange(f"{P}jobs:alice", 0, -1) == redis.zrange(f"{P}state:QUEUED:alice", 0, -1) == [JOB]
    start(scripts, "probe")
    assert redis.zrange(f"{P}state:RUNNING:alice", 0, -1) == [JOB]
    assert not redis.exists(f"{P}state:QUEUED:alice")
    scripts("store", JOB, 1, "", "", JOB, result_meta(JOB, 1, "SUCCESS", {}), "SUCCEEDED")
    assert redis.zrange(f"{P}state:SUCCEEDED:alice", 0, -1) == [JOB]
    assert scripts("forget", JOB, 60, "0") == "OK"
    assert redis.keys("*alice*") == []
    assert redis.hgetall(f"{P}owners") == {other: "bob"}
    assert scripts("owner", JOB) == "alice"  # the tombstone knows
    assert scripts("owner", other) == "bob"
    assert scripts("owner", JOB.replace("1", "3")) is None


def test_an_expired_record_is_still_its_owners_until_it_is_cleared_away(scripts: Scripts, redis: Any) -> None:
    submit_for(scripts, JOB, "alice")
    redis.delete(f"{P}job:{JOB}")  # as at its expiry
    assert scripts("owner", JOB) == "alice"
    scripts("forget", JOB, 60, "1")
    assert redis.keys("*") == [f"{P}gone:{JOB}"]
    assert scripts("owner", JOB) == "alice"


def test_jobs_of_nobody_cost_no_index(scripts: Scripts, job: str, redis: Any) -> None:
    assert [key for key in redis.keys("*") if key.endswith(":")] == []
    assert not redis.exists(f"{P}owners")
    assert scripts("owner", job) == ""
