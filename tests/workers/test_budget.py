"""The store's budget over a real Redis and a real folder: which jobs go, which stay, and what is told to the web."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.s3 import S3Container
from tests.workers.conftest import P
from topclip.config import Settings
from topclip.errors import NotRemoved, StorageUnavailable
from topclip.storage.base import ArtifactStore
from topclip.storage.factory import store_for
from workers.backend import result_meta
from workers.budget import Budget, StoreUse, ask_for_room, store_grew, store_use
from workers.reconciler import lost_files_meta
from workers.scripts import Scripts

MB = 1 << 20
Made = Callable[..., str]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, store_budget_gb=10 / 1024)


@pytest.fixture
def store(settings: Settings) -> ArtifactStore:
    return store_for(settings)


@pytest.fixture
def budget(redis: Any, settings: Settings, scripts: Scripts, store: ArtifactStore) -> Budget:
    return Budget(redis, settings, scripts, store)


def made_in(
    scripts: Scripts, redis: Any, store: ArtifactStore, n: int, size_mb: int, ended_at: float | None = None
) -> str:
    """A job; one that waits if it has not ended."""
    job = f"8f14e45f-ceea-467f-9575-{n:012}"
    meta = result_meta(job, 1, "QUEUED", {})
    scripts("submit", job, '{"options": {}}', f"{2000.0 - n}", 4_000_000_000, "a.mp4", meta, "probe", 10, 1, "")
    if ended_at is not None:
        scripts("fail", job, lost_files_meta(job))
        redis.hset(f"{P}job:{job}", "finished_at", ended_at)
    store.put_bytes(f"jobs/{job}/source.mp4", b"x" * (size_mb * MB))
    return job


@pytest.fixture
def made(redis: Any, scripts: Scripts, store: ArtifactStore) -> Made:
    """made(n, MiB, ended_at=...) -> a job."""
    return partial(made_in, scripts, redis, store)


def test_those_go_that_ended_first_and_none_that_waits(
    budget: Budget, made: Made, redis: Any, store: ArtifactStore
) -> None:
    waits = made(0, 4)
    newest, oldest, middle = made(1, 3, 1003.0), made(2, 3, 1001.0), made(3, 3, 1002.0)
    assert budget.keep() == [oldest]
    assert store.folders("jobs") == sorted([waits, newest, middle])
    assert redis.exists(f"{P}gone:{oldest}")
    use = store_use(redis, P)
    assert use
    assert (use.used_bytes, use.may_go_bytes) == (10 * MB, 6 * MB)
    assert use.has_room(6 * MB, 10 * MB)
    assert not use.has_room(6 * MB + 1, 10 * MB)


def test_where_nothing_more_can_go_the_rest_stays(budget: Budget, made: Made, redis: Any, store: ArtifactStore) -> None:
    waits, ended = made(0, 11), made(1, 1, 1001.0)
    assert budget.keep() == [ended]
    assert store.folders("jobs") == [waits]
    use = store_use(redis, P)
    assert use
    assert not use.has_room(0, 10 * MB)


def test_a_job_whose_end_is_still_to_be_told_stays(budget: Budget, made: Made, redis: Any) -> None:
    owed, told = made(0, 6, 1001.0), made(1, 6, 1002.0)
    redis.zadd(f"{P}callbacks", {owed: 1})
    assert budget.keep() == [told]


def test_a_job_that_was_started_again_since_it_was_looked_at_stays(
    budget: Budget, made: Made, redis: Any, store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = made(0, 11, 1001.0)
    found = budget._ended()
    redis.hset(f"{P}job:{job}", "state", "RUNNING")
    monkeypatch.setattr(budget, "_ended", lambda: found)
    assert budget.keep() == []
    assert store.folders("jobs") == [job]


def test_what_is_deleted_while_it_is_measured_makes_room_as_well(
    budget: Budget, made: Made, scripts: Scripts, store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    deleted, oldest = made(0, 6, 1002.0), made(1, 6, 1001.0)
    found = store.sizes()
    assert scripts("forget", deleted, 60, "0") == "OK"
    store.delete(f"jobs/{deleted}")
    monkeypatch.setattr(store, "sizes", lambda: found)
    assert budget.keep() == []
    assert store.folders("jobs") == [oldest]


@pytest.mark.parametrize("ask", ["refuse_kept", "delete"])
def test_what_cannot_be_removed_holds_up_no_other_and_counts_on(
    budget: Budget, made: Made, redis: Any, store: ArtifactStore, monkeypatch: pytest.MonkeyPatch, ask: str
) -> None:
    """And is not forgotten, where that is seen before."""
    stays, goes, newest = made(0, 6, 1001.0), made(1, 6, 1002.0), made(2, 3, 1003.0)
    answer = getattr(store, ask)

    def refuse(prefix: str) -> None:
        if prefix == f"jobs/{stays}":
            raise NotRemoved("it is another user's")
        answer(prefix)

    monkeypatch.setattr(store, ask, refuse)
    assert budget.keep() == [goes]
    assert store.folders("jobs") == [stays, newest]
    assert redis.exists(f"{P}job:{stays}") == (ask == "refuse_kept")
    assert int(redis.hget(f"{P}store", "used")) == 9 * MB
    monkeypatch.undo()
    redis.hset(f"{P}store", "refused", "1")
    assert budget.keep() == []
    assert store.folders("jobs") == (
        [newest] if ask == "delete" else [stays, newest]
    )  # what was forgotten goes when it can


def test_nothing_is_forgotten_of_a_store_that_can_only_be_read(
    budget: Budget, made: Made, store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(0, 6, 1001.0), made(1, 6, 1002.0)
    before = budget._ended()

    def refuse(prefix: str) -> None:
        raise StorageUnavailable("Read-only file system")

    monkeypatch.setattr(store, "refuse_kept", refuse)
    with pytest.raises(StorageUnavailable):
        budget.keep()
    assert budget._ended() == before


def test_a_job_that_another_leader_has_just_removed_makes_room_as_well(
    budget: Budget, made: Made, scripts: Scripts, store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed, newer = made(0, 6, 1001.0), made(1, 6, 1002.0)
    found, ended = store.sizes(), budget._ended()

    def remove() -> list[str]:
        assert scripts("forget", removed, 60, "0") == "OK"
        return ended

    monkeypatch.setattr(store, "sizes", lambda: found)
    monkeypatch.setattr(budget, "_ended", remove)
    assert budget.keep() == []
    assert store.folders("jobs") == [removed, newer]  # the other leader removes its files


def test_it_is_measured_again_as_soon_as_what_was_taken_passes_it(budget: Budget, made: Made, redis: Any) -> None:
    first = made(0, 6, 1001.0)
    assert budget.keep() == []
    second = made(1, 6, 1002.0)
    assert budget.keep() == []  # a minute has not passed, and nobody said that it grew
    store_grew(redis, P, 6 * MB)
    assert budget.keep() == [first]
    assert budget.keep() == []
    assert redis.exists(f"{P}job:{second}")


def test_it_is_measured_again_where_something_was_refused(
    budget: Budget, made: Made, redis: Any, scripts: Scripts
) -> None:
    job = made(0, 9)
    assert budget.keep() == []
    scripts("fail", job, lost_files_meta(job))
    for is_refused, has_room in ((False, False), (True, True)):
        if is_refused:
            ask_for_room(redis, P)
        assert budget.keep() == []
        use = store_use(redis, P)
        assert use
        assert use.has_room(6 * MB, 10 * MB) is has_room
    assert redis.hget(f"{P}store", "refused") == "0"


def test_without_a_measurement_and_without_a_budget_nothing_is_said(
    redis: Any, scripts: Scripts, store: ArtifactStore, settings: Settings, made: Made
) -> None:
    store_grew(redis, P, 5)
    assert store_use(redis, P) is None
    made(0, 11, 1001.0)
    assert Budget(redis, settings.model_copy(update={"store_budget_gb": 0.0}), scripts, store).keep() == []
    assert StoreUse(5, 5, 0.0).has_room(10, 10)


def test_a_buckets_budget_is_kept_too(s3: S3Container, redis: Any, scripts: Scripts, tmp_path: Path) -> None:
    settings = Settings(**s3.settings | {"data_dir": tmp_path, "store_budget_gb": 10 / 1024})
    bucket = store_for(settings)
    newest, oldest = (made_in(scripts, redis, bucket, n, 6, at) for n, at in ((1, 1002.0), (2, 1001.0)))
    assert Budget(redis, settings, scripts, bucket).keep() == [oldest]
    assert bucket.folders("jobs") == [newest]
    assert int(redis.hget(f"{P}store", "used")) == 6 * MB
