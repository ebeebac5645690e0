"""The job client on a real Redis and a real store: what a repeated submission, a full queue and a death in between leave."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery

from tests.nodes import RedisContainer
from topclip.config import Settings
from topclip.errors import InvalidRequest, JobConflict, QueueFull, QueueUnavailable, StorageUnavailable, UnknownJob
from topclip.model.job import JobState, JobStatus, SubmissionKey
from topclip.model.request import ClipRequest, MediaPath, Upload
from topclip.storage.base import cancelled_key, job_folder, record_key, upload_key
from topclip.storage.local import LocalStore
from workers import restore
from workers.backend import result_meta
from workers.client import JobClient, is_undecided
from workers.links import WEB, make_app, redis_now
from workers.restore import bring_back, find_lost
from workers.scripts import Scripts

pytestmark = pytest.mark.over_containers

KEY = SubmissionKey(digest="d" * 64, body="b" * 64)
Submit = Callable[..., JobStatus]


@pytest.fixture
def settings(redis_node: RedisContainer, tmp_path: Path) -> Settings:
    return Settings(redis_url=redis_node.url, data_dir=tmp_path, max_queued_jobs=5, max_queued_jobs_per_owner=2)


@pytest.fixture
def store(settings: Settings) -> LocalStore:
    return LocalStore(settings.store_dir)


@pytest.fixture
def app(settings: Settings) -> Iterator[Celery]:
    found = make_app(settings, WEB)
    yield found
    found.close()
    found.backend.client.close()


@pytest.fixture
def client(settings: Settings, store: LocalStore, redis: Any) -> Iterator[JobClient]:
    found = JobClient(settings, store)
    yield found
    found.close()


@pytest.fixture
def submit(client: JobClient, store: LocalStore) -> Submit:
    """submit(owner=, key=) -> status; the upload lies in the store before, as the web puts it there."""

    def submit_job(**kw: Any) -> JobStatus:
        job_id = str(uuid4())
        store.put_bytes(upload_key(job_id, ".mp4"), b"video")
        return client.submit(job_id, request_of(job_id), **kw)

    return submit_job


def request_of(job_id: str) -> ClipRequest:
    return ClipRequest(source=Upload(key=upload_key(job_id, ".mp4"), name="a.mp4"))


def messages(redis: Any) -> int:
    n: int = redis.llen("topclip:control")
    return n


def test_twenty_at_once_with_one_key_are_one_job(
    submit: Submit, client: JobClient, redis: Any, store: LocalStore
) -> None:
    found: list[str] = []
    barrier = threading.Barrier(20)

    def once() -> None:
        barrier.wait()
        while True:
            try:
                found.append(submit(key=KEY).id)
                return
            except QueueUnavailable:  # a busy machine; whoever gets a 503 comes again
                continue

    threads = [threading.Thread(target=once) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20
    assert len(set(found)) == 1
    assert messages(redis) == client.list().total == 1
    assert [job for job in store.folders("jobs") if store.exists(record_key(job))] == [found[0]]


def test_another_body_under_the_same_key_is_refused_by_the_fields_name(submit: Submit, redis: Any) -> None:
    submit(key=KEY)
    with pytest.raises(InvalidRequest) as caught:
        submit(key=KEY.model_copy(update={"body": "c" * 64}))
    assert caught.value.detail["field"] == "Idempotency-Key"
    assert messages(redis) == 1


def test_a_key_is_free_again_when_its_job_is_deleted_or_was_refused(submit: Submit, client: JobClient) -> None:
    first = submit(key=KEY, owner="ann")
    client.cancel(first.id)
    client.delete(first.id)
    kept = submit(owner="ann"), submit(owner="ann")
    with pytest.raises(QueueFull):
        submit(key=KEY, owner="ann")
    client.cancel(kept[0].id)
    second = submit(key=KEY, owner="ann")
    assert second.id != first.id
    assert submit(key=KEY, owner="ann").id == second.id  # although the owner's bound is reached


def test_a_full_queue_takes_nothing_and_leaves_nothing(
    submit: Submit, client: JobClient, redis: Any, store: LocalStore
) -> None:
    submit(owner="ann")
    submit(owner="ann")
    before = sorted(redis.keys("*"))
    for _ in range(3):
        with pytest.raises(QueueFull, match="this API key") as caught:
            submit(owner="ann")
        assert caught.value.detail["retry_after_s"] > 0
    with pytest.raises(QueueFull):
        client.has_room(owner="ann")
    assert sorted(redis.keys("*")) == before
    assert sum(store.exists(record_key(job)) for job in store.folders("jobs")) == 2
    assert client.has_room(owner="ben")
    for _ in range(3):
        submit()
    for owner in ("ben", ""):
        with pytest.raises(QueueFull, match="5 jobs"):
            client.has_room(owner=owner)


class Dies(BaseException):
    """Stands for the process's end."""


@pytest.fixture
def died(client: JobClient, submit: Submit, store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> str:
    """A job of which only the files are left: its web process died before the record was in Redis."""

    def die(*_: object) -> None:
        raise Dies

    with monkeypatch.context() as patch:
        patch.setattr(client, "_write_and_publish", die)
        with pytest.raises(Dies):
            submit(key=KEY)
    (job,) = store.folders("jobs")
    assert store.exists(record_key(job))
    return job


def rescue(app: Celery, redis: Any, settings: Settings, store: LocalStore, later_s: float = 100) -> list[str]:
    """What the reconciler does with jobs that are in the store alone, some time later."""
    lost = find_lost(redis, "topclip:", store)
    scripts = Scripts(redis, "topclip:")
    now = redis_now(redis) + later_s
    return [job for job in lost if restore._bring_back(app, scripts, store, job, now)]


def test_a_key_outlives_a_web_process_that_died_in_the_submission(
    died: str,
    submit: Submit,
    app: Celery,
    redis: Any,
    settings: Settings,
    store: LocalStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert rescue(app, redis, settings, store) == []
    assert store.exists(record_key(died))  # it may yet go on
    again = submit(key=KEY)
    assert again.id != died
    monkeypatch.setattr(restore, "DEAD_AFTER_S", 0)
    assert rescue(app, redis, settings, store) == []
    assert store.folders("jobs") == [again.id]
    assert messages(redis) == 1
    assert submit(key=KEY).id == again.id


def test_what_redis_may_have_accepted_before_it_lost_its_tail_is_a_job(
    died: str,
    submit: Submit,
    app: Celery,
    client: JobClient,
    redis: Any,
    settings: Settings,
    store: LocalStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The intent is there, the job is not: so it looks, too, when the job was accepted a moment after the last thing kept."""
    assert rescue(app, redis, settings, store) == []
    monkeypatch.setattr(restore, "DEAD_AFTER_S", 0)
    record = restore.record_of(store, died)
    assert record
    assert rescue(app, redis, settings, store) == [died]
    assert submit(key=KEY).id == died
    assert client._write_and_publish(record) is None  # its web process was only frozen
    assert store.exists(record_key(died))
    assert messages(redis) == 1


@pytest.mark.parametrize("refusal", ["FULL", "store"])
def test_a_submission_that_was_refused_is_no_job_even_if_its_files_stayed(
    refusal: str,
    submit: Submit,
    app: Celery,
    client: JobClient,
    redis: Any,
    settings: Settings,
    store: LocalStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The store was away when they were to be removed, or took the record although its answer was lost."""
    put = store.put_bytes

    def put_and_fail(key: str, content: bytes) -> bool:
        made = put(key, content)
        if key.endswith("job.json"):
            raise StorageUnavailable("no answer")
        return made

    def fill(key: str, content: bytes) -> bool:
        if key.endswith("job.json"):
            redis.zadd(f"topclip:state:{JobState.QUEUED}", {f"other-{n}": 1 for n in range(settings.max_queued_jobs)})
        return put(key, content)

    with monkeypatch.context() as patch:
        patch.setattr(store, "put_bytes", put_and_fail if refusal == "store" else fill)
        patch.setattr(store, "delete", lambda _: None)
        with pytest.raises((StorageUnavailable, QueueFull)):
            submit()
    redis.delete(f"topclip:state:{JobState.QUEUED}")
    (job,) = store.folders("jobs")
    assert store.exists(record_key(job))
    monkeypatch.setattr(restore, "DEAD_AFTER_S", 0)
    assert rescue(app, redis, settings, store) == []
    assert store.folders("jobs") == []
    assert messages(redis) == 0


def test_files_without_a_record_are_cleared_away_when_nobody_comes_for_them(
    submit: Submit, app: Celery, redis: Any, settings: Settings, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A web process died between the file and the record, or a late task wrote to a job that was deleted long ago."""
    job, left = submit().id, str(uuid4())
    store.put_bytes(upload_key(left, ".mp4"), b"x")
    assert rescue(app, redis, settings, store) == []
    assert store.exists(upload_key(left, ".mp4"))  # its submission may yet go on
    monkeypatch.setattr(restore, "DEAD_AFTER_S", 0)
    assert rescue(app, redis, settings, store) == []
    assert store.folders("jobs") == [job]


def test_a_submission_whose_file_was_cleared_away_does_not_go_on(
    client: JobClient, redis: Any, store: LocalStore
) -> None:
    job = str(uuid4())
    for _ in range(2):
        Scripts(redis, "topclip:")("drop", job, 0, 0, "")
    with pytest.raises(QueueUnavailable):
        client.submit(job, ClipRequest(source=MediaPath(path="/x.mp4", name="x.mp4")))
    assert store.list("jobs") == []
    assert messages(redis) == 0


def test_a_submission_that_was_given_up_meanwhile_does_not_go_on(
    died: str, client: JobClient, redis: Any, store: LocalStore
) -> None:
    Scripts(redis, "topclip:")("drop", died, 0, 0, "")
    record = restore.record_of(store, died)
    assert record
    with pytest.raises(QueueUnavailable):
        client._write_and_publish(record)
    assert messages(redis) == 0
    store.delete(job_folder(died))
    with pytest.raises(UnknownJob):
        client.read(died)


def test_a_job_that_redis_lost_comes_back_with_its_key(
    submit: Submit, app: Celery, redis: Any, settings: Settings, store: LocalStore
) -> None:
    job = submit(key=KEY).id
    redis.flushall()
    assert rescue(app, redis, settings, store) == [job]
    assert submit(key=KEY).id == job
    assert messages(redis) == 1


def test_a_job_that_redis_lost_comes_back_although_its_key_was_used_again(
    submit: Submit, app: Celery, client: JobClient, redis: Any, settings: Settings, store: LocalStore
) -> None:
    job = submit(key=KEY).id
    redis.flushall()
    again = submit(key=KEY).id
    assert rescue(app, redis, settings, store) == [job]
    assert {status.id for status in client.list().jobs} == {job, again}
    client.cancel(job)
    client.delete(job)
    assert submit(key=KEY).id == again


def test_a_job_that_is_in_redis_by_now_is_not_started_a_second_time(
    submit: Submit, app: Celery, redis: Any, settings: Settings, store: LocalStore
) -> None:
    job = submit().id
    assert not restore._bring_back(app, Scripts(redis, "topclip:"), store, job, redis_now(redis) + 100)
    assert messages(redis) == 1
    assert bring_back(app, redis, settings, store, [job]) == []


def test_a_keyed_submission_that_redis_left_undecided_keeps_its_files(
    client: JobClient, submit: Submit, redis: Any, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reply is lost, or the publishing fails and so does the withdrawal: a repetition may have been told of the job."""
    ask = client._scripts.__call__

    def lose(name: str, *args: Any, **kw: Any) -> Any:
        reply = ask(name, *args, **kw)
        if name == "submit":
            raise OSError("the reply is lost")
        return reply

    with monkeypatch.context() as patch:
        patch.setattr(client, "_scripts", lose)
        with pytest.raises(QueueUnavailable) as keyed:
            submit(key=KEY)
        with pytest.raises(QueueUnavailable) as plain:
            submit()
    assert (is_undecided(keyed.value), is_undecided(plain.value)) == (True, False)
    (job,) = [job for job in store.folders("jobs") if store.exists(record_key(job))]
    assert submit(key=KEY).id == job


def test_a_retry_needs_room_files_and_an_end(submit: Submit, client: JobClient, redis: Any, store: LocalStore) -> None:
    job = submit(owner="ann").id
    with pytest.raises(JobConflict):
        client.retry(job)
    client.cancel(job)
    assert store.exists(cancelled_key(job))
    others = submit(owner="ann").id, submit(owner="ann").id
    with pytest.raises(QueueFull):
        client.retry(job)
    assert store.exists(cancelled_key(job))
    client.cancel(others[0])
    before = client.read(job)
    status = client.retry(job)
    assert (status.state, status.epoch, status.attempts) == (JobState.QUEUED, 2, 2)
    assert status.expires_at == before.expires_at
    assert not store.exists(cancelled_key(job))
    assert messages(redis) == 4
    with pytest.raises(JobConflict):
        client.retry(job)
    client.cancel(job)
    store.delete(job_folder(job))
    with pytest.raises(JobConflict, match="gone"):
        client.retry(job)
    with pytest.raises(UnknownJob):
        client.retry(str(uuid4()))


def test_a_job_with_all_its_clips_is_not_retried(submit: Submit, client: JobClient, redis: Any) -> None:
    job = submit().id
    scripts = Scripts(redis, "topclip:")
    scripts("store", job, 1, "", "", job, result_meta(job, 1, "SUCCESS", {"state": "SUCCEEDED"}), "SUCCEEDED")
    with pytest.raises(JobConflict):
        client.retry(job)
    assert client.read(job).state is JobState.SUCCEEDED
