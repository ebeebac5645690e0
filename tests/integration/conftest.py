"""pytest-celery's clusters over processes of this machine or over containers, and the door to the jobs that run on them."""

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from celery import Celery
from pytest_celery import (
    CeleryBackendCluster,
    CeleryBrokerCluster,
    CeleryTestBackend,
    CeleryTestBroker,
    CeleryTestSetup,
    CeleryWorkerCluster,
)

from tests.nodes import ROOT, Processes, ProcessWorker, RedisContainer
from tests.waiting import until
from topclip.config import Settings
from topclip.errors import QueueUnavailable
from topclip.media.binary import find_ffmpeg
from topclip.model.job import JobStatus
from topclip.model.request import ClipOptions, ClipRequest, MediaPath
from topclip.storage.base import ArtifactStore
from topclip.storage.factory import store_for
from workers.client import JobClient, is_undecided
from workers.links import WEB, WORKER, make_app, redis_client
from workers.scripts import Scripts

LEASE_S = 4.0
T = TypeVar("T")


@pytest.fixture
def celery_broker_cluster(redis_node: RedisContainer) -> CeleryBrokerCluster:
    return CeleryBrokerCluster(CeleryTestBroker(redis_node))


@pytest.fixture
def celery_backend_cluster(redis_node: RedisContainer) -> CeleryBackendCluster:
    return CeleryBackendCluster(CeleryTestBackend(redis_node))


@pytest.fixture
def settings(redis_node: RedisContainer, tmp_path: Path) -> Settings:
    """What the workers and the client of this test run with."""
    return Settings(redis_url=redis_node.url, data_dir=tmp_path, lease_s=LEASE_S)


@pytest.fixture
def n_workers() -> int:
    """Workers of the cluster; a test module may say otherwise."""
    return 1


@pytest.fixture
def worker_env() -> dict[int, dict[str, str]]:
    """Variables of single workers, by their number; a test may say some."""
    return {}


@pytest.fixture
def celery_worker_cluster(
    nodes: Processes, settings: Settings, tmp_path: Path, n_workers: int, worker_env: dict[int, dict[str, str]]
) -> Iterator[CeleryWorkerCluster]:
    (tmp_path / "logs").mkdir()
    with contextlib.ExitStack() as stack:
        workers = []
        for i in range(n_workers):
            env = settings.to_env() | worker_env.get(i, {})
            workers.append(nodes.worker(tmp_path / "logs", f"worker{i}", env))
            stack.callback(workers[-1].teardown)
        for worker in workers:
            assert worker.ready()
        yield CeleryWorkerCluster(*(ProcessWorker(worker, None) for worker in workers))


@pytest.fixture
def celery_worker_cluster_config(
    celery_broker_cluster: CeleryBrokerCluster, celery_backend_cluster: CeleryBackendCluster
) -> dict[str, dict[str, object]]:
    return {
        "celery_broker_cluster_config": celery_broker_cluster.config(),
        "celery_backend_cluster_config": celery_backend_cluster.config(),
    }


@pytest.fixture
def store(settings: Settings) -> ArtifactStore:
    return store_for(settings)


class PatientClient(JobClient):
    """Asks again where a busy machine was slow to answer: these tests are not about the web's patience."""

    def read(self, job_id: str) -> JobStatus:
        return _patiently(partial(super().read, job_id))

    def health(self) -> dict[str, Any]:
        return _patiently(super().health)


def _patiently(ask: Callable[[], T]) -> T:
    end = time.monotonic() + 20
    while True:
        try:
            return ask()
        except QueueUnavailable:
            if time.monotonic() > end:
                raise


@pytest.fixture
def client(settings: Settings, store: ArtifactStore) -> Iterator[JobClient]:
    """The door that web and command use."""
    found = PatientClient(settings, store)
    yield found
    found.close()


@pytest.fixture
def app(settings: Settings) -> Iterator[Celery]:
    """Any Celery client."""
    found = make_app(settings, WEB)
    yield found
    found.close()
    found.backend.client.close()


@pytest.fixture
def scripts(settings: Settings) -> Iterator[Scripts]:
    """The scripts, as the reconciler has them."""
    redis = redis_client(settings, WORKER)
    yield Scripts(redis, settings.key_prefix)
    redis.close()


@pytest.fixture
def submit(client: JobClient) -> Callable[..., str]:
    """submit(path, **options) -> job id. audience: file of an audience's curve."""

    def submit_job(path: Path, audience: Path | None = None, **options: object) -> str:
        source = MediaPath(path=str(path), name=path.name)
        curve = None if audience is None else MediaPath(path=str(audience), name=audience.name)
        request = ClipRequest(source=source, options=ClipOptions.model_validate(options), audience=curve)
        end = time.monotonic() + 10
        while True:
            job_id = str(uuid4())  # as the web does: one that was refused is not submitted again
            try:
                client.submit(job_id, request)
            except QueueUnavailable as err:  # a busy machine; nothing is left of it
                if is_undecided(err) or time.monotonic() > end:
                    raise
            else:
                return job_id

    return submit_job


@pytest.fixture
def finished(client: JobClient, celery_setup: CeleryTestSetup) -> Callable[..., JobStatus]:
    """finished(job id, seconds) -> the status at its end."""

    def wait(job_id: str, seconds: float = 60) -> JobStatus:
        def logs() -> str:
            return str(client.read(job_id)) + "\n".join(node.logs() for node in celery_setup.worker_cluster)

        until(lambda: client.read(job_id).state.is_terminal, seconds, logs)
        status = client.read(job_id)
        if status.error:
            print(status.error, logs())  # shown where a test did not expect it
        return status

    return wait


@pytest.fixture
def source() -> Path:
    """The footage that the project ships: two minutes of real video, of at least six chunks."""
    return ROOT / "demo/footage.mp4"


@pytest.fixture(scope="session")
def one_chunk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 24 seconds of it: a source of one chunk."""
    path = tmp_path_factory.mktemp("one") / "one.mp4"
    argv = [find_ffmpeg(""), "-v", "error", "-t", "24", "-i", str(ROOT / "demo/footage.mp4"), "-c", "copy", str(path)]
    subprocess.run(argv, check=True)
    return path


@pytest.fixture(scope="module")
def slow_chunk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source of one chunk whose analysis takes seconds: large pictures, each of which others rest on."""
    path = tmp_path_factory.mktemp("slow") / "slow.mp4"
    encode = ["-vf", "scale=1920:1080", "-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-c:a", "copy"]
    argv = [find_ffmpeg(""), "-v", "error", "-t", "24", "-i", str(ROOT / "demo/footage.mp4"), *encode, str(path)]
    subprocess.run(argv, check=True)
    return path
