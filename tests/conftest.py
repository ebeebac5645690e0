"""Servers that tests of several folders ask for."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nodes import RedisContainer
from tests.proxy import Proxy
from tests.s3 import S3Container


@pytest.fixture
def redis_node(tmp_path: Path) -> Iterator[RedisContainer]:
    """A Redis server of this test alone."""
    (tmp_path / "redis").mkdir()
    node = RedisContainer(tmp_path / "redis")
    assert node.ready()
    yield node
    node.teardown()


@pytest.fixture
def proxy(redis_node: RedisContainer) -> Iterator[Proxy]:
    """A line to that server which can be cut."""
    found = Proxy(redis_node.port)
    yield found
    found.close()


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[S3Container]:
    """An S3 server of this test alone."""
    node = S3Container(tmp_path)
    assert node.ready()
    yield node
    node.teardown()


@pytest.fixture(scope="session")
def shared_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Container]:
    """One that nobody stops; each test has a prefix of its own in it."""
    node = S3Container(tmp_path_factory.mktemp("s3"))
    assert node.ready()
    yield node
    node.teardown()
