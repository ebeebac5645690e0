"""How often what fails is tried."""

from pathlib import Path
from uuid import uuid4

from tests.nodes import ROOT, RedisContainer, WorkerContainer
from tests.waiting import until
from topclip.config import Settings
from topclip.model.job import JobState
from topclip.model.request import ClipOptions, ClipRequest, MediaPath
from topclip.storage.factory import store_for
from workers.client import JobClient

AWAY = """
import workers.base
import topclip.pipeline.analyse
from topclip.errors import StorageUnavailable

def away(*_):
    raise StorageUnavailable("the source cannot be read now")

workers.base.STORE_RETRIES = 1
topclip.pipeline.analyse.measure_chunk = away
"""
"""Read at the start of a worker: analysing fails as where the store is away, and is tried twice."""


def test_what_failed_as_often_as_it_is_tried_is_not_tried_again_by_who_waits_for_it(
    redis_node: RedisContainer, tmp_path: Path
) -> None:
    settings = Settings(redis_url=redis_node.url, data_dir=tmp_path / "data")
    client = JobClient(settings, store_for(settings))
    (tmp_path / "away").mkdir()
    (tmp_path / "away/sitecustomize.py").write_text(AWAY)
    worker = WorkerContainer(tmp_path, "worker", settings.to_env() | {"PYTHONPATH": str(tmp_path / "away")}, 1)
    try:
        footage = ROOT / "demo/footage.mp4"
        request = ClipRequest(
            source=MediaPath(path=str(footage), name=footage.name), options=ClipOptions(count=1, mode="plan")
        )
        job = client.submit(str(uuid4()), request).id
        until(lambda: client.read(job).state.is_terminal, 60, worker.logs)
        status = client.read(job)
        assert (status.state, status.error.code) == (JobState.FAILED, "STORAGE_UNAVAILABLE")
        assert "topclip.analyse will be tried again" in worker.logs()
        assert "topclip.select will be tried again" not in worker.logs()
    finally:
        client.close()
        worker.teardown()
