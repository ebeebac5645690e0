"""A worker whose store is not the web server's does not start: it would fail every job that it touched."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from stack.doctor import examine
from stack.findings import Check
from tests.nodes import RedisContainer, WebContainer, WorkerContainer
from tests.stack.running import TOPCLIP
from tests.waiting import until
from topclip.config import Settings
from topclip.storage.factory import store_for
from topclip.storage.mark import mark_of

REASON = "is not the one that the web server uses"


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisContainer]:
    (tmp_path / "redis").mkdir()
    node = RedisContainer(tmp_path / "redis")
    assert node.ready()
    yield node
    node.teardown()


@pytest.fixture
def settings(redis: RedisContainer, tmp_path: Path) -> Settings:
    """Those of the web server."""
    return Settings(redis_url=redis.url, data_dir=tmp_path / "data", store=str(tmp_path / "shared"), concurrency=1)


@pytest.fixture
def web(settings: Settings, redis: RedisContainer, tmp_path: Path) -> Iterator[WebContainer]:
    """A web server that has named its store."""
    node = WebContainer(tmp_path, settings)
    try:
        until(lambda: redis.client.hget("topclip:store", "mark"), 60, node.logs)
        yield node
    finally:
        node.teardown()


def same_store(settings: Settings) -> Check | None:
    """What the doctor says of it."""
    found = examine(settings.to_env()).checks
    return next((check for check in found if check.name == "same store"), None)


@pytest.mark.faults  # for the length of three starts
def test_a_worker_with_another_store_ends_and_says_why(web: WebContainer, settings: Settings, tmp_path: Path) -> None:
    forgotten = settings.model_copy(update={"store": "", "data_dir": tmp_path / "elsewhere"})
    wrong, right = (
        WorkerContainer(tmp_path, name, one.to_env(), 1)
        for name, one in (("wrong", forgotten), ("right", settings.model_copy(update={"data_dir": tmp_path / "own"})))
    )
    try:
        assert until(wrong.process.poll, 60, wrong.logs) == 1
        assert f"{tmp_path / 'elsewhere/store'} {REASON}" in wrong.logs()
        assert not (tmp_path / "elsewhere/store/.staging").exists()  # or a web server on it would take it for its own
        assert "TOPCLIP_STORE is to name the same store" in wrong.logs()
        assert "Traceback" not in wrong.logs()
        assert right.ready()
        assert right.process.poll() is None
    finally:
        for node in (wrong, right):
            node.teardown()


def test_the_doctor_finds_another_store(web: WebContainer, settings: Settings, tmp_path: Path) -> None:
    assert (found := same_store(settings))
    assert found.grade == "ok"
    another = settings.model_copy(update={"store": str(tmp_path / "other")})
    assert (found := same_store(another))
    assert (found.grade, "one folder that all of them mount" in str(found.advice)) == ("warn", True)
    assert not (tmp_path / "other/store").exists()  # no mark is made by asking
    mark_of(store_for(another))
    assert (found := same_store(another))
    assert found.grade == "fail"


def test_after_a_move_the_web_server_names_the_store_anew(
    web: WebContainer, settings: Settings, redis: RedisContainer, tmp_path: Path
) -> None:
    first = redis.client.hget("topclip:store", "mark")
    web.teardown()
    moved = settings.model_copy(update={"store": str(tmp_path / "moved")})
    again = WebContainer(tmp_path, moved, "again")
    try:
        until(lambda: redis.client.hget("topclip:store", "mark") != first, 60, again.logs)
        assert (found := same_store(moved))
        assert found.grade == "ok"
    finally:
        again.teardown()


def test_a_redis_that_lost_its_data_is_told_again(web: WebContainer, redis: RedisContainer) -> None:
    first = redis.client.hget("topclip:store", "mark")
    redis.kill()
    for path in redis._folder.rglob("*.aof"):
        path.unlink()
    redis.restart()
    assert redis.ready()
    until(lambda: redis.client.hget("topclip:store", "mark") == first, 60, web.logs)


@pytest.mark.faults  # for the length of a start
def test_a_store_that_cannot_be_made_ends_both_and_is_told(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    wrong = settings.model_copy(update={"store": str(tmp_path / "file/store")})
    nodes = (WebContainer(tmp_path, wrong, "web"), WorkerContainer(tmp_path, "worker", wrong.to_env(), 1))
    try:
        for node in nodes:
            assert until(lambda node=node: node.process.poll(), 60, node.logs) not in (None, 0)  # type: ignore[misc]
            assert f"the store failed at {tmp_path / 'file/store'}" in node.logs()
            assert "Traceback" not in node.logs()
            assert ": None" not in node.logs()
    finally:
        for node in nodes:
            node.teardown()


def test_no_command_makes_a_store_of_a_mount_point(redis: RedisContainer, settings: Settings, tmp_path: Path) -> None:
    redis.client.hset("topclip:store", "mark", "of another")
    mount = tmp_path / "mount"
    mount.mkdir()
    env = {**os.environ, **settings.model_copy(update={"store": str(mount)}).to_env()}
    told = subprocess.run([TOPCLIP, "keys", "list"], env=env, capture_output=True, text=True, check=False)
    assert told.returncode == 2
    assert "is the share mounted?" in told.stderr
    assert list(mount.iterdir()) == []
