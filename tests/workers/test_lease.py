"""The scripts of leases on a real Redis: whose lease ends, and when nobody's does."""

from typing import Any

import pytest
from redis.exceptions import ResponseError

from tests.waiting import until
from tests.workers.conftest import P
from workers.lease import BEAT, HAND_BACK, LATE_HAND_BACK, REAP, RENEW, TAKE, run_script

pytestmark = pytest.mark.over_containers

LEASE_S = 2.0


@pytest.fixture
def taken(redis: Any) -> Any:
    """A Redis where somebody took a delivery just now, and workers are heard of; asked(script, ...) runs one."""

    def asked(script: str, *args: Any) -> Any:
        return run_script(redis, P, script, *args)

    asked(BEAT, LEASE_S)
    asked(TAKE, "tag", "message", "mine")
    return asked


def reaped(asked: Any) -> list[str]:
    found: list[str] = asked(REAP, LEASE_S, "reaper", 10)
    return found


def age(redis: Any, of_lease: float, of_beat: float) -> None:
    """As if so many seconds had gone by since the delivery was renewed and since a worker was heard of."""
    redis.zincrby(f"{P}unacked_index", -of_lease, "tag")
    for field in ("at", "sweep_from"):
        redis.hincrbyfloat(f"{P}keepers", field, -of_beat)


def test_a_lease_that_nobody_renews_ends_while_workers_are_heard_of(redis: Any, taken: Any) -> None:
    age(redis, 10 * LEASE_S, 10 * LEASE_S)
    taken(BEAT, LEASE_S)

    def ended() -> list[str]:
        assert not taken(BEAT, LEASE_S)
        return reaped(taken)

    assert until(ended, 5 * LEASE_S) == ["tag"]
    assert taken(RENEW, "tag", "mine") == ["tag"]


def test_no_lease_ends_by_a_sweep_that_is_the_first_word_after_a_silence(redis: Any, taken: Any) -> None:
    age(redis, 10 * LEASE_S, 10 * LEASE_S)
    assert reaped(taken) == []


def test_owners_come_first_after_a_silence(redis: Any, taken: Any) -> None:
    age(redis, 10 * LEASE_S, 10 * LEASE_S)
    assert taken(BEAT, LEASE_S) == 1
    assert reaped(taken) == []
    assert taken(RENEW, "tag", "mine") == []
    assert taken(BEAT, LEASE_S) == 0


@pytest.mark.parametrize("jump_s", [3600, -3600])
def test_a_clock_that_is_set_ends_no_lease(redis: Any, taken: Any, jump_s: float) -> None:
    age(redis, jump_s, jump_s)
    assert reaped(taken) == []
    assert taken(BEAT, LEASE_S) == 1
    assert reaped(taken) == []


def test_nobody_is_reaped_before_a_worker_was_heard_of(redis: Any, taken: Any) -> None:
    redis.delete(f"{P}keepers")
    redis.zadd(f"{P}unacked_index", {"tag": 1})
    assert reaped(taken) == []


def test_a_hand_back_that_a_full_redis_refuses_is_not_half_done(redis: Any, taken: Any) -> None:
    redis.hset(f"{P}starts", "mine", "clip-1")
    redis.config_set("maxmemory", "100kb")
    try:
        with pytest.raises(ResponseError):
            taken(HAND_BACK, "tag", "mine", f"{P}starts", "return")
    finally:
        redis.config_set("maxmemory", "0")
    assert redis.hget(f"{P}unacked_lease", "tag") == "mine"
    assert redis.hget(f"{P}starts", "mine") == "clip-1"
    taken(LATE_HAND_BACK, "tag", "mine", f"{P}starts")
    assert redis.zscore(f"{P}unacked_index", "tag") == 1
