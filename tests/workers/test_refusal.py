"""Why Redis does not serve us, in words, by a real one that refuses in every way."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError, ResponseError

from tests.nodes import RedisContainer
from tests.waiting import until
from topclip.config import Settings
from topclip.errors import QueueUnavailable
from topclip.storage.local import LocalStore
from workers.breaker import FAILURES
from workers.client import JobClient
from workers.health import report
from workers.refusal import reason, refuses_writes

P = "topclip:"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RedisContainer]:
    """A server that a test may spoil."""
    found = RedisContainer(tmp_path)
    assert found.ready()
    yield found
    found.teardown()


def full(redis: Any) -> None:
    redis.config_set("maxmemory-policy", "noeviction")
    redis.config_set("maxmemory", "100kb")


def replica(redis: Any) -> None:
    redis.replicaof("127.0.0.1", 1)


def forsaken(redis: Any) -> None:
    redis.config_set("min-replicas-to-write", 1)


def narrowed(redis: Any) -> None:
    redis.execute_command("ACL", "SETUSER", "default", "-@write")


@pytest.mark.parametrize(
    ("spoil", "code"), [(full, "OOM"), (replica, "READONLY"), (forsaken, "NOREPLICAS"), (narrowed, "NOPERM")]
)
def test_health_says_that_and_why_it_does_not_write(
    node: RedisContainer, spoil: Callable[[Any], None], code: str
) -> None:
    well = report(node.client, P)["redis"]
    assert (well["writes"], well["warnings"]) == (True, [])
    spoil(node.client)
    told = report(node.client, P)["redis"]
    assert told["writes"] is False
    assert told["warnings"][0].startswith("Redis refuses to write: ")
    assert f"({code})" in told["warnings"][0]
    with pytest.raises(RedisError) as caught:
        node.client.set("a", 1)
    assert refuses_writes(caught.value)


def test_who_is_refused_is_told_why_also_while_the_breaker_is_open(node: RedisContainer, tmp_path: Path) -> None:
    node.client.config_set("requirepass", "one")
    url = f"redis://:hunter2@127.0.0.1:{node.port}/0"
    client = JobClient(Settings(redis_url=url, data_dir=tmp_path), LocalStore(tmp_path / "store"))
    for _ in range(FAILURES + 2):
        with pytest.raises(QueueUnavailable) as caught:
            client.health()
        assert caught.value.message == "Redis refuses our password: see REDIS_URL"
    client.close()


def test_a_script_that_does_not_end_is_a_refusal(node: RedisContainer) -> None:
    node.client.config_set("lua-time-limit", 1)
    with Redis(port=node.port) as other, Redis(port=node.port) as killer:
        pipe = other.connection_pool.get_connection()
        pipe.send_command("EVAL", "while true do end", 0)
        with pytest.raises(ResponseError) as caught:
            until(lambda: not node.client.ping(), 10)
        killer.execute_command("SCRIPT", "KILL")
        pipe.disconnect()
        other.connection_pool.release(pipe)
    assert refuses_writes(caught.value)
    assert reason(caught.value) == "refuses to write: a script runs in it and does not end (BUSY)"


def test_too_many_clients_are_told_so(node: RedisContainer) -> None:
    assert node.client.ping()
    node.client.config_set("maxclients", 1)
    with Redis(port=node.port) as other, pytest.raises(RedisError) as caught:
        other.ping()
    assert reason(caught.value) == "takes no more connections (maxclients)"
