"""The breaker by a clock that stands still, and before a real Redis that falls silent."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.nodes import RedisContainer
from tests.proxy import Proxy
from tests.waiting import until
from topclip.config import Settings
from topclip.errors import QueueUnavailable, UnknownJob
from topclip.storage.local import LocalStore
from workers.breaker import FAILURES, OPEN_S, Breaker, BreakerOpen
from workers.client import JobClient

JOB = "11111111-1111-4111-8111-111111111111"


class Bench:
    """A breaker and its time."""

    def __init__(self) -> None:
        self.s = 0.0
        self.breaker = Breaker(lambda: self.s)

    def fail(self, n: int = 1) -> None:
        for _ in range(n):
            self.breaker.failed(self.breaker.enter(), RedisConnectionError("gone"))

    def goes(self) -> bool:
        try:
            self.breaker.enter()
        except BreakerOpen:
            return False
        return True


def test_it_opens_after_failures_in_a_row_and_no_sooner() -> None:
    bench = Bench()
    bench.fail(FAILURES - 1)
    bench.breaker.succeeded()
    bench.fail(FAILURES - 1)
    assert bench.goes()
    bench.fail()
    assert not bench.goes()


def test_one_may_try_when_it_was_open_for_long_enough_and_the_rest_waits_for_what_comes_of_it() -> None:
    bench = Bench()
    bench.fail(FAILURES)
    bench.s += OPEN_S
    assert [bench.goes() for _ in range(3)] == [True, False, False]
    bench.breaker.succeeded()
    assert [bench.goes() for _ in range(3)] == [True] * 3


def test_a_try_that_fails_keeps_it_open() -> None:
    bench = Bench()
    bench.fail(FAILURES)
    bench.s += OPEN_S
    bench.fail()
    bench.s += OPEN_S - 0.01
    assert not bench.goes()


def test_a_try_that_was_never_heard_of_is_followed_by_another() -> None:
    bench = Bench()
    bench.fail(FAILURES)
    bench.s += OPEN_S
    assert bench.goes()
    bench.s += OPEN_S
    assert bench.goes()


def test_calls_from_before_the_last_answer_do_not_open_it_again() -> None:
    bench = Bench()
    begun = [bench.breaker.enter() for _ in range(FAILURES)]
    bench.s += 1
    bench.breaker.succeeded()
    for begun_s in begun:
        bench.breaker.failed(begun_s, RedisConnectionError("gone"))
    assert bench.goes()


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    redis = RedisContainer(tmp_path)
    assert redis.ready()
    proxy = Proxy(redis.port)
    yield proxy
    proxy.close()
    redis.teardown()


@pytest.fixture
def client(proxy: Proxy, tmp_path: Path) -> Iterator[JobClient]:
    settings = Settings(redis_url=proxy.redis_url, data_dir=tmp_path)
    client = JobClient(settings, LocalStore(settings.store_dir))
    yield client
    client.close()


def _refusal(client: JobClient) -> BaseException | None:
    with pytest.raises(QueueUnavailable) as caught:
        client.read(JOB)
    return caught.value.__cause__


def test_a_client_asks_a_silent_redis_no_more_until_the_watch_hears_of_it(client: JobClient, proxy: Proxy) -> None:
    with pytest.raises(UnknownJob):
        client.read(JOB)
    proxy.is_silent = True
    causes = [type(_refusal(client)) for _ in range(FAILURES + 2)]
    assert [cause is BreakerOpen for cause in causes] == [False] * FAILURES + [True] * 2
    watch = client.watch(lambda event: None, lambda: None)
    watch.start()
    try:
        assert isinstance(_refusal(client), BreakerOpen)
        proxy.is_silent = False
        until(lambda: watch.is_up, 10)
        with pytest.raises(UnknownJob):
            client.read(JOB)
    finally:
        watch.stop()
