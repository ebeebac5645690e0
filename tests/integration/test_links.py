"""Leases and jobs over links to Redis of every kind: a prefix of one's own with a password, TLS. Sentinel: test_sentinel.py."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytest_celery import CeleryTestSetup

from tests.integration.conftest import LEASE_S, PatientClient
from tests.integration.faults import CLIP, container, nothing_unacknowledged, survives_its_worker
from tests.nodes import RedisContainer, free_port, program
from tests.waiting import until
from topclip.config import Settings
from topclip.errors import QueueUnavailable
from topclip.model.job import JobStatus
from topclip.storage.base import ArtifactStore
from workers.client import JobClient

pytestmark = pytest.mark.faults

Submit = Callable[..., str]
Finished = Callable[..., JobStatus]
PASSWORD = "s3cret@:odd"
IN_URL = "s3cret%40%3Aodd"


class TestPrefixAndPassword:
    @pytest.fixture
    def redis_node(self, tmp_path: Path) -> Iterator[RedisContainer]:
        (tmp_path / "redis").mkdir()
        node = RedisContainer(tmp_path / "redis", password=PASSWORD)
        assert node.ready()
        yield node
        node.teardown()

    @pytest.fixture
    def settings(self, redis_node: RedisContainer, tmp_path: Path) -> Settings:
        url = f"redis://:{IN_URL}@127.0.0.1:{redis_node.port}/3"
        return Settings(redis_url=url, key_prefix="my-clips:", data_dir=tmp_path, lease_s=LEASE_S)

    def test_a_job_survives_its_worker(
        self,
        celery_setup: CeleryTestSetup,
        source: Path,
        submit: Submit,
        finished: Finished,
        redis_node: RedisContainer,
    ) -> None:
        survives_its_worker(celery_setup, submit(source, **CLIP), finished)
        redis_node.client.select(3)
        assert {key.partition(":")[0] for key in redis_node.client.scan_iter()} <= {
            "my-clips",
            "_kombu.binding.celery.pidbox",
        }
        assert PASSWORD not in container(celery_setup).logs()
        assert IN_URL not in container(celery_setup).logs()


class TestTls:
    @pytest.fixture
    def certificate(self, tmp_path: Path) -> Path:
        """A certificate for localhost that signs itself, and its key beside it."""
        (tmp_path / "tls").mkdir()
        path = tmp_path / "tls/redis.crt"
        names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
        new = [program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names]
        subprocess.run(
            [*new, "-keyout", str(path.with_suffix(".key")), "-out", str(path)], check=True, capture_output=True
        )
        return path

    @pytest.fixture
    def tls_port(self) -> int:
        return free_port()

    @pytest.fixture
    def redis_node(self, tmp_path: Path, certificate: Path, tls_port: int) -> Iterator[RedisContainer]:
        (tmp_path / "redis").mkdir()
        files = ["--tls-cert-file", str(certificate), "--tls-key-file", str(certificate.with_suffix(".key"))]
        tls = ["--tls-port", str(tls_port), *files, "--tls-ca-cert-file", str(certificate), "--tls-auth-clients", "no"]
        node = RedisContainer(tmp_path / "redis", more=tls, binary=program("redis-server"))
        assert node.ready()
        yield node
        node.teardown()

    @pytest.fixture
    def settings(self, redis_node: RedisContainer, tls_port: int, certificate: Path, tmp_path: Path) -> Settings:
        assert redis_node.status == "running"
        url = f"rediss://localhost:{tls_port}/0"
        return Settings(redis_url=url, redis_ca=certificate, data_dir=tmp_path, lease_s=LEASE_S)

    def test_a_job_survives_its_worker(
        self,
        celery_setup: CeleryTestSetup,
        source: Path,
        submit: Submit,
        finished: Finished,
        redis_node: RedisContainer,
    ) -> None:
        survives_its_worker(celery_setup, submit(source, **CLIP), finished)
        until(lambda: nothing_unacknowledged(redis_node), 10)

    def test_a_server_that_cannot_prove_who_it_is_is_not_talked_to(
        self, settings: Settings, store: ArtifactStore, redis_node: RedisContainer
    ) -> None:
        client = PatientClient(settings, store)
        assert client.health()["redis"]["version"]
        client.close()
        for change in ({"redis_ca": None}, {"redis_url": settings.redis_url.replace("localhost", "127.0.0.1")}):
            client = JobClient(settings.model_copy(update=change), store)
            with pytest.raises(QueueUnavailable):
                client.health()
            client.close()
