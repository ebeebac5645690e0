"""What Redis says of itself and of us, for `/health`, `/metrics` and `topclip doctor`."""

import time
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from topclip.model.job import JobState
from workers import keys, names
from workers.budget import read_use
from workers.links import redis_now
from workers.refusal import reason

PROBE_KEPT_S = 60


def report(redis: Redis, prefix: str) -> dict[str, Any]:
    """One report. Raises: RedisError."""
    started = time.perf_counter()
    redis.ping()
    latency_ms = round((time.perf_counter() - started) * 1000, 2)
    live = [state for state in JobState if state is not JobState.EXPIRED]
    with redis.pipeline(transaction=False) as pipe:
        pipe.info()
        for state in live:
            pipe.zcard(f"{prefix}state:{state}")
        for queue in names.QUEUES:
            pipe.llen(prefix + queue)
        for queue in names.TURN_QUEUES:
            pipe.lrange(f"{prefix}turns:{queue}", 0, -1)
        pipe.hgetall(prefix + keys.STORE)
        pipe.hlen(prefix + "unacked")
        pipe.zrangebyscore(prefix + keys.WORKERS, redis_now(redis) - 10, "+inf")
        info, *found, store, unacked, nodes = pipe.execute()
    states, found = found[: len(live)], found[len(live) :]
    queues = dict(zip(names.QUEUES, found, strict=False))
    for queue, jobs in zip(names.TURN_QUEUES, found[len(queues) :], strict=True):
        queues[queue] += _held(redis, prefix, queue, jobs)
    return {
        "redis": {"latency_ms": latency_ms, **redis_facts(info, _refusal(redis, prefix))},
        "jobs": dict(zip([str(state) for state in live], states, strict=True)),
        "queue_depth": sum(queues.values()),
        "queues": queues,
        "unacked": unacked,
        "store_use": read_use(store),
        "workers": _workers(redis, prefix, nodes),
    }


def _held(redis: Redis, prefix: str, queue: str, jobs: list[str]) -> int:
    """Messages of these jobs that wait for their turn in the queue."""
    with redis.pipeline(transaction=False) as pipe:
        for job in jobs:
            pipe.llen(f"{prefix}job:{job}:held:{queue}")
        return sum(pipe.execute()) if jobs else 0


def _refusal(redis: Redis, prefix: str) -> str | None:
    """Why Redis does not write, in words, by trying; None if it does."""
    try:
        redis.set(prefix + keys.PROBE, 1, ex=PROBE_KEPT_S)
    except ResponseError as err:
        return reason(err)
    return None


def redis_facts(info: dict[str, Any], refusal: str | None) -> dict[str, Any]:
    """Version, memory, persistence, whether it writes, and warnings that say what to do."""
    is_aof = bool(info.get("aof_enabled"))
    facts = {
        "version": info["redis_version"],
        "writes": refusal is None,
        "used_memory": info["used_memory"],
        "maxmemory": info["maxmemory"],
        "maxmemory_policy": info["maxmemory_policy"],
        "aof": {
            "enabled": is_aof,
            "last_write_ok": info.get("aof_last_write_status", "ok") == "ok",
            "rewrite_in_progress": bool(info.get("aof_rewrite_in_progress")),
        },
        "uptime_s": info["uptime_in_seconds"],
    }
    return facts | {"warnings": [*([f"Redis {refusal}."] if refusal else []), *_warnings(facts)]}


def live_workers(redis: Redis, prefix: str) -> list[dict[str, Any]]:
    """The workers that were heard of in the last seconds. Raises: RedisError."""
    return _workers(redis, prefix, redis.zrangebyscore(prefix + keys.WORKERS, redis_now(redis) - 10, "+inf"))


def _workers(redis: Redis, prefix: str, nodes: list[str]) -> list[dict[str, Any]]:
    with redis.pipeline(transaction=False) as pipe:
        for node in nodes:
            pipe.hgetall(f"{prefix}worker:{node}")
        found = pipe.execute() if nodes else []
    return [
        {
            "name": node,
            **{key: int(says[key]) for key in ("concurrency", "active", "pid")},
            "queues": [queue for queue in says["queues"].split(",") if queue],
            "run": says.get("run", says["pid"]),  # a worker of an older version says none
            "leaving": not says["queues"],  # it takes no more tasks
            "clock_ahead_s": float(says.get("clock_ahead_s", 0)),  # one of an older version does not say
        }
        for node, says in zip(nodes, found, strict=True)
        if says
    ]


def _warnings(facts: dict[str, Any]) -> list[str]:
    found = []
    if not facts["aof"]["enabled"]:
        found.append("AOF is off: jobs of the last minutes are lost if Redis stops. Set `appendonly yes`.")
    elif not facts["aof"]["last_write_ok"]:
        found.append("Redis cannot write its AOF: look at its disk.")
    if facts["maxmemory_policy"] != "noeviction":
        found.append(f"maxmemory-policy is {facts['maxmemory_policy']}: Redis may drop jobs. Set `noeviction`.")
    if facts["maxmemory"] and facts["used_memory"] > 0.9 * facts["maxmemory"]:
        found.append("Redis has used over 90 % of its memory limit: raise `maxmemory` or lower RETENTION_DAYS.")
    return found
