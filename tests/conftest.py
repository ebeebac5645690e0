"""Servers that tests of several folders ask for, and what they are: processes, or with `--containers` containers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine import Containers
from tests.nodes import Processes, RedisContainer
from tests.proxy import Proxy
from tests.s3 import S3Container


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--containers",
        action="store_true",
        help="run the tests that need a Docker Engine, and over containers those that can be; `make test-docker`",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose by the markers: tests of containers run with `--containers` only, and with it nothing else does."""
    over = config.getoption("containers")
    chosen = [
        item
        for item in items
        if (over and item.get_closest_marker("over_containers")) or over == bool(item.get_closest_marker("containers"))
    ]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


@pytest.fixture(scope="session")
def nodes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes | Containers]:
    """What makes the servers and workers of the tests."""
    found = Containers(tmp_path_factory.getbasetemp()) if request.config.getoption("containers") else Processes()
    yield found
    found.close()


@pytest.fixture
def redis_node(nodes: Processes, tmp_path: Path) -> Iterator[RedisContainer]:
    """A Redis server of this test alone."""
    (tmp_path / "redis").mkdir()
    node = nodes.redis(tmp_path / "redis")
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
