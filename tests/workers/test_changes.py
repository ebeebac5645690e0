"""Changes of ended jobs on a real Redis and a real store: one of two wins, the same again is nothing, and none is lost."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.workers.test_submission import Submit, app, client, messages, settings, store, submit
from topclip.config import Settings
from topclip.errors import JobConflict, QueueFull, QueueUnavailable, UnknownJob
from topclip.model.job import JobState, JobStatus
from topclip.model.request import Change, ClipOptions, ClipRequest
from topclip.storage.base import CHANGES, cancelled_key, change_key
from topclip.storage.local import LocalStore
from workers.backend import result_meta
from workers.changes import change_of, find_left, make_left
from workers.client import JobClient
from workers.restore import bring_back, find_lost
from workers.scripts import Scripts

__all__ = ["app", "client", "settings", "store", "submit"]

P = "topclip:"


def to_count(n: int) -> Callable[[ClipRequest], Change]:
    return lambda request: Change(options=request.options.model_copy(update={"count": n}))


@pytest.fixture
def done(submit: Submit, scripts: Scripts, redis: Any) -> JobStatus:
    """A job that has all its clips."""
    status = submit()
    end(scripts, status)
    redis.delete(f"{P}control")
    return status


def end(scripts: Scripts, status: JobStatus, epoch: int = 1, manifest: str = "m-1") -> None:
    """Have a job succeed."""
    meta = result_meta(status.id, epoch, "SUCCESS", {"state": "SUCCEEDED", "manifest": manifest, "clips": []})
    assert scripts("store", status.id, epoch, "", "", status.id, meta, JobState.SUCCEEDED) == "OK"


def at_once(n: int, act: Callable[[int], object]) -> None:
    barrier = threading.Barrier(n)

    def once(k: int) -> None:
        barrier.wait()
        act(k)

    threads = [threading.Thread(target=once, args=(k,)) for k in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_of_many_changes_at_once_one_is_made(client: JobClient, done: JobStatus, store: LocalStore, redis: Any) -> None:
    made: list[int] = []

    def ask(k: int) -> None:
        while True:
            try:
                client.alter(done.id, to_count(10 + k))
                made.append(10 + k)
                return
            except JobConflict:
                return
            except QueueUnavailable:  # a busy machine
                continue

    at_once(12, ask)
    (n,) = made
    status = client.read(done.id)
    assert (status.epoch, status.attempts, status.state, status.options["count"]) == (2, 2, JobState.QUEUED, n)
    assert (store.folders(CHANGES), messages(redis)) == ([f"{done.id}.1"], 1)


def test_the_same_change_many_times_at_once_is_one(client: JobClient, done: JobStatus, redis: Any) -> None:
    epochs: list[int] = []

    def ask(_: int) -> None:
        while True:
            try:
                epochs.append(client.alter(done.id, to_count(7)).epoch)
                return
            except QueueUnavailable:
                continue

    at_once(12, ask)
    assert (epochs, messages(redis)) == ([2] * 12, 1)


def test_the_old_manifest_counts_until_there_is_a_newer_one_and_if_there_never_is(
    client: JobClient, done: JobStatus, scripts: Scripts
) -> None:
    assert client.alter(done.id, to_count(2)).manifest_key == "m-1"
    scripts("fail", done.id, result_meta(done.id, 2, "FAILURE", {"exc_type": "NoHighlights", "exc_message": ["none"]}))
    failed = client.read(done.id)
    assert (failed.state, failed.manifest_key) == (JobState.FAILED, "m-1")
    assert client.alter(done.id, to_count(2)).epoch == 3  # the same after a failure is a retry
    end(scripts, done, 3, "m-3")
    assert client.alter(done.id, to_count(3)).manifest_key == "m-3"


def test_a_change_that_the_web_process_left_is_made_once(
    client: JobClient, app: Celery, done: JobStatus, store: LocalStore, redis: Any
) -> None:
    left = Change(options=ClipOptions(count=9))
    assert store.put_bytes(change_key(done.id, 1), left.model_dump_json().encode())
    assert find_left(redis, P, store) == [done.id]
    assert make_left(app, redis, P, store, [done.id, done.id]) == [done.id]
    status = client.read(done.id)
    assert (status.epoch, status.options["count"], messages(redis)) == (2, 9, 1)
    assert find_left(redis, P, store) == []


def test_an_answer_that_was_lost_is_had_by_asking_again_and_the_change_is_made_anyhow(
    client: JobClient, app: Celery, done: JobStatus, store: LocalStore, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise RedisConnectionError("gone")

    with monkeypatch.context() as patch:
        patch.setattr("workers.again.make_change", away)
        with pytest.raises(QueueUnavailable):
            client.alter(done.id, to_count(9))
    assert client.read(done.id).epoch == 1
    assert find_left(redis, P, store) == [done.id]
    assert client.alter(done.id, to_count(9)).epoch == 2
    assert make_left(app, redis, P, store, [done.id]) == []
    assert messages(redis) == 1


def test_another_change_or_a_retry_makes_the_one_that_was_left_first(
    client: JobClient, done: JobStatus, store: LocalStore, scripts: Scripts
) -> None:
    assert store.put_bytes(change_key(done.id, 1), Change(options=ClipOptions(count=9)).model_dump_json().encode())
    with pytest.raises(JobConflict, match="came first"):
        client.alter(done.id, to_count(4))
    assert client.read(done.id).options["count"] == 9
    end(scripts, done, 2, "m-2")
    assert store.put_bytes(change_key(done.id, 2), Change(options=ClipOptions(count=8)).model_dump_json().encode())
    assert client.retry(done.id).options["count"] == 8


def test_a_job_that_redis_has_lost_comes_back_with_its_newest_change(
    client: JobClient, app: Celery, done: JobStatus, store: LocalStore, scripts: Scripts, redis: Any, settings: Settings
) -> None:
    for epoch, n in ((2, 6), (3, 4)):
        client.alter(done.id, to_count(n))
        end(scripts, done, epoch, f"m-{epoch}")
    redis.flushall()
    assert client.read(done.id).options["count"] == 4
    assert find_lost(redis, P, store) == [done.id]
    record = store.get_bytes(
        f"jobs/{done.id}/job.json"
    )  # one that has just been made is left in peace, so it is an old one
    store.delete(f"jobs/{done.id}/job.json")
    store.put_bytes(f"jobs/{done.id}/job.json", record.replace(b'"created_at":"2', b'"created_at":"1'))
    assert bring_back(app, redis, settings, store, [done.id]) == [done.id]
    assert client.read(done.id).options["count"] == 4
    end(scripts, done, client.read(done.id).epoch)
    client.alter(done.id, to_count(3))
    assert change_of(store, done.id, 3) == Change(options=ClipOptions(count=3))


def test_what_cannot_begin_is_not_written_down(
    client: JobClient, done: JobStatus, submit: Submit, store: LocalStore
) -> None:
    with pytest.raises(JobConflict):
        client.alter(submit().id, to_count(3))
    for _ in range(4):
        submit()
    with pytest.raises(QueueFull):
        client.alter(done.id, to_count(3))
    with pytest.raises(UnknownJob):
        client.alter("8f14e45f-ceea-467f-9575-000000000000", to_count(3))
    assert store.folders(CHANGES) == []


def test_a_cancelled_job_that_is_planned_again_is_not_cancelled_any_more(
    client: JobClient, submit: Submit, store: LocalStore
) -> None:
    job_id = submit().id
    client.cancel(job_id)
    assert store.exists(cancelled_key(job_id))
    assert client.alter(job_id, to_count(2)).state is JobState.QUEUED
    assert not store.exists(cancelled_key(job_id))


def test_changes_go_with_their_job(
    client: JobClient, done: JobStatus, store: LocalStore, scripts: Scripts, redis: Any
) -> None:
    client.alter(done.id, to_count(2))
    end(scripts, done, 2)
    client.delete(done.id)
    assert (store.folders(CHANGES), store.folders("jobs")) == ([], [])
    store.put_bytes(change_key(done.id, 3), b"{}")  # what a death in the middle leaves
    store.put_bytes(f"{CHANGES}/notes/readme", b"not ours")
    assert find_left(redis, P, store) == []
    assert store.folders(CHANGES) == ["notes"]


def test_a_change_is_made_in_the_epoch_that_was_seen_and_once(scripts: Scripts, done: JobStatus, redis: Any) -> None:
    def make(epoch: int, n: int) -> str:
        meta = result_meta(done.id, epoch + 1, JobState.QUEUED, {})
        return str(scripts("change", done.id, epoch, meta, "probe", n, f'{{"options": {{"count": {n}}}}}'))

    assert make(7, 1) == "MOVED"
    assert [make(1, 1), make(1, 1), make(2, 1)] == ["OK", "DONE", "DONE"]
    assert redis.hget(f"{P}job:{done.id}", "request") == '{"options": {"count": 1}}'
    assert scripts("change", "8f14e45f-ceea-467f-9575-000000000000", 1, "", "probe", 1, "") == "UNKNOWN"
