"""Receivers of callbacks take turns, however many each is owed."""

import time
from typing import Any

import pytest
from redis.exceptions import RedisError

from tests.workers.conftest import P, works
from tests.workers.test_callbacks import claim, job_ids
from workers.scripts import Scripts

pytestmark = pytest.mark.usefixtures("worker")


def owe(redis: Any, host: str, jobs: list[str]) -> None:
    """Callbacks that are due, as the end of a job writes them."""
    with redis.pipeline(transaction=False) as pipe:
        for job in jobs:
            pipe.hset(f"{P}job:{job}", "expires_at", 4_000_000_000)
            pipe.hset(f"{P}job:{job}:callback", mapping={"epoch": 1, "tries": 0, "outcome": "PENDING", "host": host})
            pipe.zadd(f"{P}callbacks", {job: time.time() - 100})
        pipe.execute()


def test_a_receiver_with_thousands_due_takes_nobodys_turn(scripts: Scripts, redis: Any) -> None:
    busy = job_ids(2500)
    owe(redis, "busy.test", busy)
    assert [job for job, _, _ in claim(scripts)] == busy[:1]
    owe(redis, "other.test", ["other"])
    found = [job for _ in range(3) for job, _, _ in claim(scripts)]
    assert found == ["other"]
    for job in busy[:5]:  # and it is told of each, in order, as soon as it is free
        assert scripts("end_callback", job, 1, 0, "{}", "DELIVERED", 0, 0, 1, 1) is None
        assert [job for job, _, _ in claim(scripts)] == [busy[busy.index(job) + 1]]


def test_receivers_that_answer_take_turns_however_many_they_are_owed(scripts: Scripts, redis: Any) -> None:
    owe(redis, "a.test", ["a1", "a2", "a3"])
    owe(redis, "b.test", ["b1", "b2"])
    told = []
    works(redis, "w", 2)
    while found := claim(scripts):
        told.append(found[0][0])
        scripts("end_callback", told[-1], 1, 0, "{}", "DELIVERED", 0, 0, 1, 1)
    assert told == ["a1", "b1", "a2", "b2", "a3"]
    assert not redis.keys(f"{P}callback*")


def test_a_line_goes_on_behind_jobs_that_are_gone_and_tries_that_were_lost(scripts: Scripts, redis: Any) -> None:
    owe(redis, "a.test", ["a1", "a2", "a3", "a4"])
    assert claim(scripts) == [("a1", 1, 0)]
    redis.delete(f"{P}job:a2:callback")
    redis.zadd(f"{P}callbacks-out", {"a.test": 1})  # its try was given up
    assert claim(scripts) == [("a3", 1, 0)]
    redis.zadd(f"{P}callbacks", {"a1": 1})  # the message of the first one was lost
    assert claim(scripts) == []
    redis.zadd(f"{P}callbacks-out", {"a.test": 1})
    assert claim(scripts) == [("a1", 1, 0)]
    redis.zadd(f"{P}callbacks-out", {"a.test": 1})
    assert claim(scripts) == [("a4", 1, 0)]


def test_a_full_redis_claims_no_try_that_could_not_be_published(scripts: Scripts, redis: Any) -> None:
    owe(redis, "a.test", ["a1"])
    redis.config_set("maxmemory", "100kb")
    try:
        with pytest.raises(RedisError):
            claim(scripts)
    finally:
        redis.config_set("maxmemory", "0")
    assert claim(scripts) == [("a1", 1, 0)]
