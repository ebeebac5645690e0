"""Jobs of owners on a real Redis: lists, tombstones, and what is left after Redis has lost everything."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from topclip.config import Settings
from topclip.errors import JobExpired, NotRemoved
from topclip.model.job import JobRecord, JobState
from topclip.model.request import ClipOptions, ClipRequest, MediaPath
from topclip.storage.base import ArtifactStore, record_key
from workers.client import JobClient
from workers.links import WEB, WORKER, make_app, redis_client
from workers.restore import bring_back

REQUEST = ClipRequest(source=MediaPath(path="/nowhere/talk.mp4", name="talk.mp4"), options=ClipOptions())


@pytest.fixture
def client(redis: Any, settings: Settings, store: ArtifactStore) -> Iterator[JobClient]:
    found = JobClient(settings, store, make_app(settings, WORKER))
    yield found
    found.close()


def submit(client: JobClient, owner: str) -> str:
    return client.submit(str(uuid4()), REQUEST, owner=owner).id


def ids(client: JobClient, owner: str | None, state: JobState | None = None) -> list[str]:
    """All of an owner's jobs, by pages of two."""
    found: list[str] = []
    cursor = None
    while True:
        page = client.list(limit=2, cursor=cursor, owner=owner, state=state)
        found += [job.id for job in page.jobs]
        if (cursor := page.next_cursor) is None:
            assert page.total == len(found)
            return found


def test_an_owner_pages_through_his_own_jobs_alone(client: JobClient) -> None:
    alices, bobs = [], []
    for _ in range(3):
        alices.append(submit(client, "alice"))
        bobs.append(submit(client, "bob"))
    client.cancel(alices[1])
    assert ids(client, "alice") == alices[::-1]
    assert ids(client, "bob") == bobs[::-1]
    assert ids(client, "alice", JobState.CANCELLED) == [alices[1]]
    assert ids(client, "alice", JobState.QUEUED) == [alices[2], alices[0]]
    assert ids(client, "nobody") == []
    assert len(ids(client, None)) == 6
    assert client.read(alices[0]).owner == "alice"


def test_what_a_delete_could_not_remove_the_next_one_does(
    client: JobClient, store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit(client, "alice")
    client.cancel(job)
    delete = store.delete

    def refuse(prefix: str) -> None:
        raise NotRemoved("it is another user's")

    monkeypatch.setattr(store, "refuse_kept", refuse)
    with pytest.raises(NotRemoved):
        client.delete(job)
    assert client.read(job).state is JobState.CANCELLED  # it is not forgotten
    monkeypatch.undo()
    monkeypatch.setattr(store, "delete", refuse)
    for _ in range(2):
        with pytest.raises(NotRemoved):
            client.delete(job)
    monkeypatch.setattr(store, "delete", delete)
    client.delete(job)
    assert store.list(f"jobs/{job}") == []
    with pytest.raises(JobExpired):
        client.delete(job)


def test_a_deleted_job_leaves_the_lists_and_its_tombstone_knows_the_owner(client: JobClient) -> None:
    job = submit(client, "alice")
    client.cancel(job)
    client.delete(job)
    assert ids(client, "alice") == []
    assert client.owner(job) == "alice"
    assert client.owner(str(uuid4())) is None


def test_a_job_that_redis_has_lost_comes_back_as_its_owners(
    client: JobClient, settings: Settings, store: ArtifactStore
) -> None:
    now = datetime.now(UTC)
    job = str(uuid4())
    times = {"created_at": now - timedelta(hours=1), "expires_at": now + timedelta(days=1)}
    record = JobRecord(id=job, request=REQUEST, owner="alice", **times)
    store.put_bytes(record_key(job), record.model_dump_json().encode())
    assert client.owner(job) == "alice"
    assert client.read(job).owner == "alice"
    redis, app = redis_client(settings, WEB), make_app(settings, WORKER)
    assert bring_back(app, redis, settings, store, [job]) == [job]
    assert ids(client, "alice") == [job]
    assert ids(client, "bob") == []
    app.close()
    redis.close()
