"""What a fleet asks of Redis: a part, or a worker without work, costs the same however many workers there are."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from tests.nodes import RedisContainer
from tests.workers.conftest import P, works
from tests.workers.test_turns import JOB, start, submitted
from workers.backend import revoked_meta
from workers.keeper import Keeper
from workers.lease import LEASES, LOOKERS, LeasedQoS, Leases
from workers.scripts import Scripts

N_WORKERS = 300


def calls(redis: Any) -> int:
    """Commands so far, those in scripts too."""
    return sum(stats["calls"] for stats in redis.info("commandstats").values())


@pytest.fixture
def fleet(redis: Any) -> None:
    for n in range(N_WORKERS):
        works(redis, f"w{n}", 1, "control,analyse,render,callback")


@pytest.mark.usefixtures("fleet")
def test_workers_are_not_counted_for_each_part(scripts: Scripts, redis: Any) -> None:
    submitted(scripts, JOB, 4 * N_WORKERS)
    assert redis.llen(P + "analyse") == N_WORKERS // 2
    before = calls(redis)
    for n in range(30):
        assert start(scripts, JOB, f"analyse/{n}") == "OK"
        scripts("finish", JOB, 1, "", "", f"analyse/{n}", "done", revoked_meta(JOB, 1))
    assert calls(redis) - before < 10 * N_WORKERS  # 60 scripts; a count or two of all workers may fall among them


@pytest.mark.usefixtures("fleet")
def test_a_worker_that_looks_for_callbacks_does_not_count_the_others(scripts: Scripts, redis: Any) -> None:
    before = calls(redis)
    for _ in range(30):
        assert scripts("claim_callbacks", "", 600, 60) == []
    assert calls(redis) - before < 2 * N_WORKERS


@pytest.mark.usefixtures("fleet")
def test_a_worker_that_comes_is_counted_within_seconds(scripts: Scripts, redis: Any) -> None:
    submitted(scripts, JOB, 4 * N_WORKERS)
    seconds, _ = redis.time()
    redis.hset(P + "worker:more", mapping={"concurrency": 100, "queues": "analyse"})
    redis.zadd(P + "workers", {"more": seconds})
    redis.hset(P + "slots", "analyse:at", seconds - 2)
    start(scripts, JOB, "analyse/0")
    assert redis.llen(P + "analyse") == (N_WORKERS + 100) // 2


def test_the_status_of_a_job_of_many_parts_asks_for_them_at_once(scripts: Scripts, redis: Any) -> None:
    n_parts = 1200
    tasks = [f"{JOB}.1.analyse/{n}" for n in range(n_parts)]
    submitted(scripts, JOB, 1)
    redis.set(f"{P}celery-task-meta-{JOB}", json.dumps({"result": {"tasks": tasks}}))
    redis.set(f"{P}celery-task-meta-{tasks[1100]}", "its result")
    before = calls(redis)
    _, _, found, _ = scripts("read", JOB)
    assert calls(redis) - before < 20
    assert (len(found), found[1100], found[1099]) == (n_parts, "its result", "")


def test_of_a_large_fleet_some_look_for_what_any_may_do() -> None:
    assert all(Leases(n_workers=LOOKERS).is_our_turn() for _ in range(1000))
    looks = sum(Leases(n_workers=1000 * LOOKERS).is_our_turn() for _ in range(10_000))
    assert looks < 100  # 10 are to be expected


@pytest.mark.usefixtures("fleet")
def test_a_keeper_hears_how_many_workers_there_are(redis_node: RedisContainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", redis_node.url)
    monkeypatch.setattr(LEASES, "n_workers", 1)
    amqp = SimpleNamespace(queues=SimpleNamespace(consume_from=["control"]))
    leaving, footprint = SimpleNamespace(run="r"), dict[str, int]()
    keeper = Keeper(None)
    keeper._worker = SimpleNamespace(
        hostname="w", concurrency=1, leaving=leaving, footprint=footprint, app=SimpleNamespace(amqp=amqp)
    )
    keeper._say_alive()
    keeper._redis.close()
    assert LEASES.n_workers == N_WORKERS + 1


@pytest.mark.usefixtures("fleet")
def test_a_sweep_that_is_not_our_turn_asks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LEASES, "is_kept", True)
    monkeypatch.setattr(LEASES, "n_workers", 10**9)
    LeasedQoS(None).restore_visible()  # which has no channel to ask by
