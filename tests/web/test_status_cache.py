"""The cache by a clock that stands still and a read that counts."""

import itertools
import threading
from datetime import timedelta

import pytest

from tests.fakes import START, ManualClock, make_status
from tests.waiting import until
from topclip.errors import JobExpired, QueueUnavailable, StorageUnavailable, TopClipError, UnknownJob
from topclip.model.job import JobEvent, JobState, JobStatus
from web.status_cache import LIVE_S, TERMINAL_S, Clock, StatusCache

JOB = "11111111-1111-1111-1111-111111111111"
FAR = START + timedelta(days=7)


class Redis:
    """What the cache reads from: one job, or an error."""

    def __init__(self) -> None:
        self.status = make_status(JOB, expires_at=FAR)
        self.error: Exception | None = None
        self.is_up = True
        self.reads = 0

    def read(self, job_id: str) -> JobStatus:
        self.reads += 1
        if self.error:
            raise self.error
        return self.status

    def fail(self) -> None:
        self.error, self.is_up = QueueUnavailable("away"), False

    def recover(self) -> None:
        self.error, self.is_up = None, True


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def redis() -> Redis:
    return Redis()


@pytest.fixture
def cache(redis: Redis, clock: ManualClock) -> StatusCache:
    return StatusCache(redis.read, lambda: redis.is_up, clock=clock.clock)


def test_the_first_answer_is_redis_and_the_second_is_the_cache(cache: StatusCache) -> None:
    assert [cache.get(JOB).source, cache.get(JOB).source] == ["redis", "cache"]


def test_a_live_status_is_read_again_after_a_second(cache: StatusCache, redis: Redis, clock: ManualClock) -> None:
    cache.get(JOB)
    clock.pass_(LIVE_S - 0.01)
    assert cache.get(JOB).source == "cache"
    clock.pass_(0.02)
    assert (cache.get(JOB).source, redis.reads) == ("redis", 2)


def test_a_finished_status_is_verified_every_few_seconds(cache: StatusCache, redis: Redis, clock: ManualClock) -> None:
    redis.status = make_status(JOB, state=JobState.SUCCEEDED, expires_at=FAR)
    cache.get(JOB)
    clock.pass_(TERMINAL_S - 0.01)
    assert cache.get(JOB).source == "cache"
    clock.pass_(0.02)
    assert cache.get(JOB).source == "redis"


def test_a_store_that_fails_is_as_a_redis_that_is_away(cache: StatusCache, redis: Redis, clock: ManualClock) -> None:
    """It is asked of a job that Redis does not know."""
    redis.error = StorageUnavailable("no disk")
    with pytest.raises(StorageUnavailable):
        cache.get(JOB)
    redis.error = None
    cache.get(JOB)
    clock.pass_(LIVE_S)
    redis.error = StorageUnavailable("no disk")
    reading = cache.get(JOB)
    assert (reading.source, reading.stale) == ("cache", True)


def test_a_fault_that_nobody_foresaw_leaves_nobody_waiting(cache: StatusCache, redis: Redis) -> None:
    def read(job_id: str) -> JobStatus:
        begun.set()
        go_on.wait(10)
        raise KeyError("a mistake of ours")

    def ask() -> None:
        try:
            found.append(cache.get(JOB))
        except (KeyError, TopClipError) as err:
            found.append(type(err))

    begun, go_on = threading.Event(), threading.Event()
    found: list[object] = []
    cache = StatusCache(read, lambda: True)
    threads = [threading.Thread(target=ask) for _ in range(2)]
    threads[0].start()
    begun.wait(10)
    threads[1].start()
    until(threads[1].is_alive)
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert KeyError in found
    assert len(found) == 2


def test_an_event_makes_the_next_read_go_to_redis(cache: StatusCache, redis: Redis) -> None:
    cache.get(JOB)
    redis.status = make_status(JOB, revision=2, expires_at=FAR)
    cache.on_event(JobEvent(id=JOB, epoch=1, revision=2))
    reading = cache.get(JOB)
    assert (reading.source, reading.status.revision) == ("redis", 2)


def test_an_event_that_tells_nothing_new_changes_nothing(cache: StatusCache) -> None:
    cache.get(JOB)
    cache.on_event(JobEvent(id=JOB, epoch=1, revision=1))
    assert cache.get(JOB).source == "cache"


def test_a_gap_makes_everything_be_read_again(cache: StatusCache) -> None:
    cache.get(JOB)
    cache.on_gap()
    assert cache.get(JOB).source == "redis"


def test_an_older_version_never_replaces_a_newer_one(cache: StatusCache, redis: Redis, clock: ManualClock) -> None:
    redis.status = make_status(JOB, epoch=2, revision=1, expires_at=FAR)
    cache.get(JOB)
    redis.status = make_status(JOB, epoch=1, revision=9, expires_at=FAR)
    clock.pass_(2)
    assert cache.get(JOB).status.epoch == 2
    assert cache.get(JOB).status.epoch == 2


def test_redis_is_believed_when_it_comes_back_with_less_than_it_knew(cache: StatusCache, redis: Redis) -> None:
    redis.status = make_status(JOB, state=JobState.SUCCEEDED, revision=90, expires_at=FAR)
    cache.get(JOB)
    cache.on_gap()
    redis.status = make_status(JOB, state=JobState.RUNNING, revision=40, expires_at=FAR)
    assert cache.get(JOB).status.state is JobState.RUNNING
    assert cache.get(JOB).status.revision == 40


def test_while_redis_is_away_the_last_known_status_is_stale(
    cache: StatusCache, redis: Redis, clock: ManualClock
) -> None:
    told_at = cache.get(JOB).as_of
    redis.fail()
    clock.pass_(3600)
    reading = cache.get(JOB)
    assert (reading.source, reading.stale, reading.as_of) == ("cache", True, told_at)


def test_the_first_answer_was_read_when_the_cache_says_it_was(redis: Redis) -> None:
    """By a clock that goes on each time that somebody looks at it."""
    looks = itertools.count()
    clock = Clock(lambda: 0.0, lambda: START + timedelta(milliseconds=next(looks)))
    cache = StatusCache(redis.read, lambda: redis.is_up, clock=clock)
    assert cache.get(JOB).as_of == cache.get(JOB).as_of


def test_a_read_that_fails_before_the_watch_noticed_answers_stale(cache: StatusCache, redis: Redis) -> None:
    cache.get(JOB)
    cache.on_gap()
    redis.error = QueueUnavailable("away")
    assert cache.get(JOB).stale


def test_it_knows_nothing_of_an_uncached_job_while_redis_is_away(cache: StatusCache, redis: Redis) -> None:
    redis.fail()
    with pytest.raises(QueueUnavailable):
        cache.get(JOB)


def test_it_heals_when_redis_comes_back(cache: StatusCache, redis: Redis) -> None:
    cache.get(JOB)
    redis.fail()
    assert cache.get(JOB).stale
    redis.recover()
    cache.on_gap()
    reading = cache.get(JOB)
    assert (reading.source, reading.stale) == ("redis", False)


def test_a_deleted_job_leaves_at_once(cache: StatusCache, redis: Redis) -> None:
    cache.get(JOB)
    cache.on_event(JobEvent(id=JOB, epoch=1, revision=2, deleted=True))
    redis.error = JobExpired("deleted")
    with pytest.raises(JobExpired):
        cache.get(JOB)


@pytest.mark.parametrize("error", [UnknownJob("no job"), JobExpired("gone")])
def test_redis_word_that_a_job_is_gone_empties_the_cache(
    cache: StatusCache, redis: Redis, error: Exception, clock: ManualClock
) -> None:
    cache.get(JOB)
    clock.pass_(2)
    redis.error = error
    with pytest.raises(type(error)):
        cache.get(JOB)
    redis.fail()
    with pytest.raises(QueueUnavailable):
        cache.get(JOB)


def test_an_expired_job_is_expired_even_while_redis_is_away(
    cache: StatusCache, redis: Redis, clock: ManualClock
) -> None:
    cache.get(JOB)
    redis.fail()
    clock.pass_(8 * 86_400)
    with pytest.raises(JobExpired):
        cache.get(JOB)


def test_a_live_job_that_changed_is_named_once_a_second(cache: StatusCache, redis: Redis, clock: ManualClock) -> None:
    cache.get(JOB)
    cache.on_event(JobEvent(id=JOB, epoch=1, revision=2))
    assert cache.changed(9) == []  # read less than a second ago
    clock.pass_(LIVE_S)
    assert cache.changed(9) == [JOB]
    redis.status = make_status(JOB, revision=2, expires_at=FAR)
    cache.get(JOB)
    assert cache.changed(9) == []
    assert not cache.has_changed


def test_an_ended_job_that_was_started_again_is_named_too(cache: StatusCache, redis: Redis, clock: ManualClock) -> None:
    redis.status = make_status(JOB, state=JobState.PARTIAL, revision=9, expires_at=FAR)
    cache.get(JOB)
    clock.pass_(LIVE_S)
    cache.on_event(JobEvent(id=JOB, epoch=1, revision=10))
    assert cache.changed(10) == []
    cache.on_event(JobEvent(id=JOB, epoch=2, revision=11))
    assert cache.changed(10) == [JOB]
    redis.status = make_status(JOB, state=JobState.QUEUED, epoch=2, revision=11, expires_at=FAR)
    assert cache.get(JOB).status.state is JobState.QUEUED
    cache.remember(make_status(JOB, state=JobState.PARTIAL, revision=12, expires_at=FAR))  # of the older attempt
    assert cache.get(JOB).status.epoch == 2


def test_a_job_that_was_submitted_is_read_once_more(cache: StatusCache, redis: Redis, clock: ManualClock) -> None:
    cache.remember(redis.status)
    clock.pass_(LIVE_S)
    assert cache.changed(9) == [JOB]
    cache.get(JOB)
    assert cache.changed(9) == []


def test_a_list_read_before_an_event_does_not_hide_it(cache: StatusCache, redis: Redis, clock: ManualClock) -> None:
    cache.get(JOB)
    cache.on_event(JobEvent(id=JOB, epoch=1, revision=2))
    cache.remember(make_status(JOB, revision=1, expires_at=FAR))
    assert cache.get(JOB).source == "redis"


def test_many_changes_are_read_in_turn(redis: Redis, clock: ManualClock) -> None:
    cache = StatusCache(redis.read, lambda: True, clock=clock.clock)
    ids = [f"11111111-1111-1111-1111-{n:012d}" for n in range(3)]
    for job_id in ids:
        cache.remember(make_status(job_id, expires_at=FAR))
    clock.pass_(LIVE_S)
    assert [cache.changed(2), cache.changed(2)] == [ids[:2], [ids[2], ids[0]]]


def test_it_is_bounded(redis: Redis, clock: ManualClock) -> None:
    cache = StatusCache(redis.read, lambda: True, clock=clock.clock, max_entries=3)
    for n in range(10):
        cache.remember(make_status(f"11111111-1111-1111-1111-{n:012d}", expires_at=FAR))
    assert len(cache) == 3


class SlowRedis(Redis):
    """A read that waits until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.began, self.go = threading.Semaphore(0), threading.Semaphore(0)

    def read(self, job_id: str) -> JobStatus:
        self.reads += 1
        status = self.status
        self.began.release()
        assert self.go.acquire(timeout=10)
        return status


def _ask(cache: StatusCache, n: int) -> tuple[list[threading.Thread], list[int]]:
    revisions: list[int] = []
    threads = [threading.Thread(target=lambda: revisions.append(cache.get(JOB).status.revision)) for _ in range(n)]
    for thread in threads:
        thread.start()
    return threads, revisions


def test_many_readers_cause_one_read(clock: ManualClock) -> None:
    redis = SlowRedis()
    cache = StatusCache(redis.read, lambda: True, clock=clock.clock)
    threads, revisions = _ask(cache, 20)
    assert redis.began.acquire(timeout=10)
    redis.go.release()
    for thread in threads:
        thread.join(10)
    assert (redis.reads, revisions) == (1, [1] * 20)


def test_who_asks_after_an_event_does_not_get_an_answer_from_before_it(clock: ManualClock) -> None:
    redis = SlowRedis()
    cache = StatusCache(redis.read, lambda: True, clock=clock.clock)
    first, _ = _ask(cache, 1)
    assert redis.began.acquire(timeout=10)
    redis.status = make_status(JOB, revision=2, expires_at=FAR)
    cache.on_event(JobEvent(id=JOB, epoch=1, revision=2))
    late, revisions = _ask(cache, 1)
    redis.go.release(2)
    for thread in first + late:
        thread.join(10)
    assert revisions == [2]


def test_a_job_deleted_during_a_read_is_not_cached(clock: ManualClock) -> None:
    redis = SlowRedis()
    cache = StatusCache(redis.read, lambda: True, clock=clock.clock)
    threads, _ = _ask(cache, 1)
    assert redis.began.acquire(timeout=10)
    cache.on_event(JobEvent(id=JOB, epoch=1, revision=2, deleted=True))
    redis.go.release()
    threads[0].join(10)
    assert len(cache) == 0


def test_a_bug_in_the_read_lets_nobody_wait_for_ever(redis: Redis, cache: StatusCache) -> None:
    redis.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        cache.get(JOB)
    redis.error = None
    assert cache.get(JOB).source == "redis"


def test_many_threads_never_see_a_version_go_back() -> None:
    redis = Redis()
    cache = StatusCache(redis.read, lambda: True)
    seen: list[list[int]] = [[] for _ in range(8)]
    stopped = threading.Event()

    def watch(mine: list[int]) -> None:
        while not stopped.is_set():
            mine.append(cache.get(JOB).status.revision)

    threads = [threading.Thread(target=watch, args=(mine,)) for mine in seen]
    for thread in threads:
        thread.start()
    for revision in range(2, 300):
        redis.status = make_status(JOB, revision=revision, expires_at=START + timedelta(days=10_000))
        cache.on_event(JobEvent(id=JOB, epoch=1, revision=revision))
    until(lambda: all(mine and mine[-1] == 299 for mine in seen), 10)
    stopped.set()
    for thread in threads:
        thread.join(10)
    assert all(mine == sorted(mine) for mine in seen)
