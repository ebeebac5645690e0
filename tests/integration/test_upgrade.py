"""Workers of two releases that analyse differently, for as long as an upgrade takes."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.nodes import ROOT, RedisContainer, WorkerContainer
from tests.waiting import until
from topclip.config import Settings
from topclip.model.job import JobState
from topclip.model.request import ClipOptions, ClipRequest, MediaPath
from topclip.storage.factory import store_for
from workers import names
from workers.client import JobClient

OLDER = "import topclip.analysers.tracks as tracks\ntracks.ANALYSIS_VERSION = '0'\n"


class PartWorker(WorkerContainer):
    """A worker of some queues alone."""

    def __init__(self, folder: Path, name: str, env: dict[str, str], queues: str) -> None:
        self._queues = queues
        super().__init__(folder, name, env, 1)

    def argv(self) -> list[str]:
        return [*super().argv(), "-Q", self._queues]


@pytest.fixture
def redis_node(tmp_path: Path) -> Iterator[RedisContainer]:
    (tmp_path / "redis").mkdir()
    node = RedisContainer(tmp_path / "redis")
    assert node.ready()
    yield node
    node.teardown()


@pytest.mark.faults
def test_a_job_whose_source_an_older_release_analyses_is_begun_anew_until_that_is_gone(
    redis_node: RedisContainer, tmp_path: Path
) -> None:
    settings = Settings(redis_url=redis_node.url, data_dir=tmp_path / "data", lease_s=4)
    client = JobClient(settings, store_for(settings))
    (tmp_path / "older").mkdir()
    (tmp_path / "older/sitecustomize.py").write_text(OLDER)
    env = settings.to_env()
    parts = f"{names.ANALYSE_QUEUE},{names.RENDER_QUEUE}"
    older = PartWorker(tmp_path, "older", env | {"PYTHONPATH": str(tmp_path / "older")}, parts)
    newer = PartWorker(tmp_path, "newer", env, names.CONTROL_QUEUE)
    nodes = [older, newer]
    try:
        footage = ROOT / "demo/footage.mp4"
        options = ClipOptions(count=1, min_length=3, max_length=5, aspect="9:16", quality="draft")
        request = ClipRequest(source=MediaPath(path=str(footage), name=footage.name), options=options)
        job = client.submit(str(uuid4()), request).id
        until(lambda: client.read(job).attempts > 1, 60, newer.logs)
        assert "/0/chunk" in "".join(str(path) for path in (tmp_path / "data").rglob("chunk-*"))
        older.teardown()
        nodes.append(PartWorker(tmp_path, "after", env, parts))
        until(lambda: client.read(job).state.is_terminal, 120, lambda: newer.logs() + nodes[-1].logs())
        status = client.read(job)
        assert status.state is JobState.SUCCEEDED, status.error
        assert "failed" not in newer.logs()
    finally:
        client.close()
        for node in nodes:
            node.teardown()
