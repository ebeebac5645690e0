"""What Redis says of itself and of us, for `/health`, `/metrics` and `topclip doctor`."""

import json
import time
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from topclip.model.job import JobState
from workers import keys, names
from workers.budget import read_use
from workers.figures import Counted
from workers.links import redis_now
from workers.message import UNREADABLE
from workers.refusal import reason

PROBE_KEPT_S = 60
UNFINISHED = (JobState.QUEUED, JobState.RUNNING, JobState.CANCELLING)


def report(redis: Redis, prefix: str) -> dict[str, Any]:
    """One report. Raises: RedisError."""
    started = time.perf_counter()
    redis.ping()
    latency_ms = round((time.perf_counter() - started) * 1000, 2)
    now = redis_now(redis)
    live = [state for state in JobState if state is not JobState.EXPIRED]
    with redis.pipeline(transaction=False) as pipe:
        pipe.info()
        for state in live:
            pipe.zcard(f"{prefix}state:{state}")
        for unfinished in UNFINISHED:
            pipe.zrange(f"{prefix}state:{unfinished}", 0, 0, withscores=True)
        for queue in names.QUEUES:
            pipe.llen(prefix + queue)
        for queue in names.TURN_QUEUES:
            pipe.lrange(f"{prefix}turns:{queue}", 0, -1)
        for queue in names.QUEUES:
            pipe.lindex(prefix + queue, -1)
            pipe.zrange(f"{prefix}waiting:{queue}", 0, 0, withscores=True)
        pipe.hgetall(prefix + keys.FIGURES)
        pipe.zrange(prefix + keys.UNACKED_INDEX, 0, 0, withscores=True)
        pipe.hgetall(prefix + keys.STORE)
        pipe.hlen(prefix + keys.UNACKED)
        pipe.zrangebyscore(prefix + keys.WORKERS, now - 10, "+inf")
        replies = iter(pipe.execute())
    info = next(replies)
    states = {str(state): next(replies) for state in live}
    oldest = {str(unfinished): _age_s(next(replies), now) for unfinished in UNFINISHED}
    queues = {queue: next(replies) for queue in names.QUEUES}
    for queue in names.TURN_QUEUES:
        queues[queue] += _held(redis, prefix, queue, next(replies))
    waits = {queue: max(_wait_s(next(replies), now), _age_s(next(replies), now)) for queue in names.QUEUES}
    counted = Counted({field: float(n) for field, n in next(replies).items()})
    lease_age_s = _age_s(next(replies), now)
    store, unacked, nodes = replies
    return {
        "redis": {"latency_ms": latency_ms, **redis_facts(info, _refusal(redis, prefix))},
        "jobs": states,
        "oldest_s": oldest,
        "queue_depth": sum(queues.values()),
        "queues": queues,
        "waits_s": waits,
        "unacked": unacked,
        "lease_age_s": lease_age_s,
        "figures": counted,
        "store_use": read_use(store),
        "workers": _workers(redis, prefix, nodes),
    }


def _age_s(first: list[tuple[str, float]], now: float) -> float:
    """Age of what is first in a set by time, 0 if there is none."""
    return max(0.0, now - first[0][1]) if first else 0.0


def _wait_s(message: str | None, now: float) -> float:
    """Since when a message could have been taken; 0 if there is none, or it does not say: of an older version, or none."""
    try:
        return max(0.0, now - float(json.loads(message or "")["headers"][names.READY_AT]))
    except UNREADABLE:
        return 0.0


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
        "clients": info["connected_clients"],
        "commands": info["total_commands_processed"],
        "evicted_keys": info["evicted_keys"],
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
            **{key: int(says[key]) for key in ("memory_bytes", "memory_limit_bytes", "disk_free_bytes") if key in says},
            "clock_ahead_s": float(says.get("clock_ahead_s", 0)),  # one of an older version does not say
            **({"lease_s": float(says["lease_s"])} if "lease_s" in says else {}),
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
