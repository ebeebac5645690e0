"""Files that may not be read or removed, another user's as after a restore: their job alone is left as it is."""

import os
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery

from topclip.config import Settings
from topclip.errors import StorageUnavailable
from topclip.model.job import JobRecord
from topclip.model.request import Change, ClipOptions, ClipRequest, MediaPath
from topclip.storage.base import ArtifactStore, change_key, record_key
from workers import figures, reconciler, restore
from workers.figures import Figures, field_of
from workers.links import WORKER, make_app
from workers.reconciler import KEPT_S, Rounds

REQUEST = ClipRequest(source=MediaPath(path="/nowhere/talk.mp4", name="talk.mp4"), options=ClipOptions())


@pytest.fixture
def leader(redis: Any, settings: Settings, store: ArtifactStore) -> Iterator[Rounds]:
    app: Celery = make_app(settings, WORKER)
    found = Rounds(app, settings)
    found._store = store
    yield found
    app.close()


def written(store: ArtifactStore, job: str, expires_in: timedelta) -> None:
    """A job's record and source, which Redis has lost."""
    now = datetime.now(UTC)
    record = JobRecord(id=job, request=REQUEST, created_at=now - timedelta(hours=1), expires_at=now + expires_in)
    store.put_bytes(record_key(job), record.model_dump_json().encode())


def keep(monkeypatch: pytest.MonkeyPatch, *jobs: str) -> None:
    """Let nothing of these jobs be removed."""
    unlink = os.unlink

    def refuse(path: str) -> None:
        if any(job in str(path) for job in jobs):
            raise PermissionError(13, "Permission denied", str(path))
        unlink(path)

    monkeypatch.setattr(os, "unlink", refuse)


def test_a_lost_job_comes_back_whatever_stands_before_it(
    leader: Rounds, store: ArtifactStore, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expired, unreadable, gone, lost = (f"{n:08}-0000-4000-8000-000000000000" for n in range(4))
    written(store, expired, -timedelta(seconds=10))
    for job in (unreadable, lost):
        written(store, job, timedelta(days=1))
    store.put_bytes(change_key(gone, 1), Change(options=ClipOptions()).model_dump_json().encode())
    keep(monkeypatch, expired, gone)
    get_bytes = store.get_bytes

    def read(key: str) -> bytes:
        if unreadable in key:
            raise StorageUnavailable("Permission denied") from PermissionError(13, "Permission denied")
        return get_bytes(key)

    monkeypatch.setattr(store, "get_bytes", read)
    counted = Figures()
    monkeypatch.setattr(restore, "FIGURES", counted)
    redis.sadd("topclip:lost", lost, expired)
    assert set(leader.bring_back()) == {lost}
    assert redis.exists(f"topclip:job:{lost}")
    assert not redis.smembers("topclip:lost")
    counted.write(redis, "topclip:")
    assert redis.hgetall("topclip:figures") == {field_of(figures.REPAIRS, "restored"): "1"}
    assert store.exists(record_key(expired))
    assert store.exists(change_key(gone, 1))


def test_a_store_that_is_away_is_no_fault_of_one_job(
    leader: Rounds, store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        written(store, str(uuid4()), timedelta(days=1))
    asked = []

    def away(key: str) -> bytes:
        asked.append(key)
        raise StorageUnavailable("Stale file handle") from OSError(116, "Stale file handle")

    monkeypatch.setattr(store, "get_bytes", away)
    with pytest.raises(StorageUnavailable):
        leader.bring_back()
    assert len(asked) == 1


def test_expired_jobs_that_stay_hold_up_no_others(
    leader: Rounds, store: ArtifactStore, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, due = [str(uuid4()) for _ in range(3)], str(uuid4())
    for n, job in enumerate([*kept, due]):
        written(store, job, -timedelta(seconds=10))
        redis.zadd("topclip:expiry", {job: n})
    keep(monkeypatch, *kept)
    monkeypatch.setattr(reconciler, "PAGE", len(kept))
    before = float(redis.time()[0])
    leader.clear_away()
    assert store.exists(record_key(due))
    leader.clear_away()
    assert not store.exists(record_key(due))
    assert redis.exists(f"topclip:gone:{due}")
    again = dict(redis.zrange("topclip:expiry", 0, -1, withscores=True))
    assert set(again) == set(kept)
    assert all(at >= before + KEPT_S for at in again.values())
    assert all(store.exists(record_key(job)) for job in kept)


def test_staging_is_cleared_of_all_that_may_be(
    leader: Rounds, store: ArtifactStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    staging = store.staging()
    kept, ours, old = str(uuid4()), str(uuid4()), time.time() - 3 * 86_400
    (staging / "old").mkdir()
    for path in (staging / "old" / "x", staging / f"{kept}-left", staging / f"{ours}-left", staging / "put-1"):
        path.write_bytes(b"x")
        os.utime(path, (old, old))
    os.utime(staging / "old", (old, old))
    keep(monkeypatch, kept, "old")
    monkeypatch.setattr(shutil, "rmtree", lambda path: os.unlink(os.path.join(path, "x")))
    leader.clear_staging()
    assert store.staged() == sorted([f"{kept}-left", "old"])
    assert "old is left as it is" in caplog.text


def test_what_may_not_be_looked_at_is_not_measured(store: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for job in ("a", "b"):
        store.put_bytes(f"jobs/{job}/source.mp4", b"xx")
    look = os.stat

    def refuse(path: str, **how: bool) -> os.stat_result:
        if "jobs/a/" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return look(path, **how)

    monkeypatch.setattr(os, "stat", refuse)
    assert store.sizes() == {"jobs/b": 2}
