"""What several files of these tests have in common."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.nodes import RedisContainer


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., RedisContainer]]:
    """started(option, value, ...) -> a Redis with these options."""
    nodes: list[RedisContainer] = []

    def start(*more: str, password: str = "", binary: str = "") -> RedisContainer:
        folder = tmp_path / f"redis{len(nodes)}"
        folder.mkdir()
        node = RedisContainer(folder, more=more, password=password, binary=binary)
        nodes.append(node)
        assert node.ready()
        return node

    yield start
    for node in nodes:
        node.teardown()
