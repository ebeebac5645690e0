"""Leases and jobs over Sentinel, with fail-overs and with sentinels and masters that are not as they should be."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import ClassVar
from uuid import uuid4

import pytest
from celery import Celery
from pytest_celery import CeleryTestSetup

from tests.integration.conftest import LEASE_S
from tests.integration.faults import (
    CLIP,
    container,
    frozen_ffmpeg,
    has_clips,
    nothing_unacknowledged,
    survives_its_worker,
)
from tests.nodes import ROOT, RedisContainer, SentinelContainer, free_port, program
from tests.waiting import until
from topclip.config import Settings
from topclip.model.job import JobState, JobStatus
from topclip.model.request import ClipRequest, MediaPath
from topclip.storage.base import ArtifactStore
from workers import keys
from workers.client import JobClient
from workers.links import KEEPER, make_app, redis_now

pytestmark = pytest.mark.faults

Submit = Callable[..., str]
Finished = Callable[..., JobStatus]
PASSWORD = "s3cret@:odd"
IN_URL = "s3cret%40%3Aodd"


def n_replicas(node: RedisContainer) -> int:
    """How many replicas a master has; 0 where it is none."""
    return int(node.client.info("replication")["connected_slaves"])


class Sentinels:
    """A master, its replicas and a Sentinel over them."""

    more: ClassVar[tuple[str, ...]] = ()
    of_sentinel = ""
    """Further lines of its configuration."""
    n_replicas = 1

    @pytest.fixture
    def binary(self) -> str:
        """The server; the wheel's if empty."""
        return ""

    @pytest.fixture
    def redis_node(self, tmp_path: Path, binary: str) -> Iterator[RedisContainer]:
        (tmp_path / "redis").mkdir()
        node = RedisContainer(tmp_path / "redis", more=self.more, password="secret", binary=binary)
        assert node.ready()
        yield node
        node.teardown()

    @pytest.fixture
    def replicas(self, redis_node: RedisContainer, tmp_path: Path, binary: str) -> Iterator[list[RedisContainer]]:
        of = [*self.more, "--replicaof", "127.0.0.1", str(redis_node.port)]
        nodes = []
        for i in range(self.n_replicas):
            (tmp_path / f"replica{i}").mkdir()
            node = RedisContainer(tmp_path / f"replica{i}", f"replica{i}", more=of, password="secret", binary=binary)
            nodes.append(node)
        until(lambda: n_replicas(redis_node) == self.n_replicas, 20)
        yield nodes
        for node in nodes:
            node.teardown()

    @pytest.fixture
    def sentinel(
        self, redis_node: RedisContainer, replicas: list[RedisContainer], tmp_path: Path
    ) -> Iterator[SentinelContainer]:
        (tmp_path / "sentinel").mkdir()
        node = SentinelContainer(tmp_path / "sentinel", redis_node, "secret", self.of_sentinel)
        assert node.ready()
        until(lambda: node.logs().count("+slave") == len(replicas), 20)
        yield node
        node.teardown()

    @pytest.fixture
    def settings(self, sentinel: SentinelContainer, tmp_path: Path) -> Settings:
        url = f"sentinel://:secret@127.0.0.1:{sentinel.port}/0"
        return Settings(redis_url=url, data_dir=tmp_path, lease_s=LEASE_S)


class TestSentinel(Sentinels):
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

    def test_a_job_survives_the_master(
        self,
        celery_setup: CeleryTestSetup,
        source: Path,
        submit: Submit,
        finished: Finished,
        redis_node: RedisContainer,
        replicas: list[RedisContainer],
        store: ArtifactStore,
    ) -> None:
        (replica,) = replicas
        job_id = submit(source, **CLIP)
        ffmpeg = frozen_ffmpeg(celery_setup)
        redis_node.kill()
        until(lambda: replica.client.info("replication")["role"] == "master", 20)
        ffmpeg.resume()
        assert finished(job_id, 90).state is JobState.SUCCEEDED
        assert has_clips(store, job_id)
        assert container(celery_setup).status == "running"
        until(lambda: nothing_unacknowledged(replica), 20)


class Silent:
    """A server that takes connections, counts them, and never says a word."""

    def __init__(self) -> None:
        self.n_asked = 0
        self._held: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                self._held.append(self._server.accept()[0])
                self.n_asked += 1

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        for one in (self._server, *self._held):
            one.close()


class TestSentinelsOfWhichSomeAreAway(Sentinels):
    """Those of a machine that is off, and of one that hangs: asked once each, and the next one then."""

    @pytest.fixture
    def silent(self) -> Iterator[Silent]:
        server = Silent()
        yield server
        server.close()

    @pytest.fixture
    def settings(self, sentinel: SentinelContainer, silent: Silent, tmp_path: Path) -> Settings:
        ports = (free_port(), silent.port, sentinel.port)
        url = ";".join(f"sentinel://:secret@127.0.0.1:{port}/0" for port in ports)
        return Settings(redis_url=url, data_dir=tmp_path, lease_s=LEASE_S)

    def test_a_job_is_taken_all_the_same(
        self, settings: Settings, store: ArtifactStore, silent: Silent, source: Path
    ) -> None:
        client = JobClient(settings, store)
        request = ClipRequest(source=MediaPath(path=str(source), name=source.name))
        try:
            client.health()
            assert client.submit(str(uuid4()), request).state is JobState.QUEUED
        finally:
            client.close()
        assert silent.n_asked == 1  # all others know


class TestSentinelAndAUser(Sentinels):
    """A user of the master's ACL, with the rights that deploy/redis/users.acl gives a worker, on the system's Redis 7."""

    @pytest.fixture
    def binary(self) -> str:
        return program("redis-server")

    @pytest.fixture
    def settings(self, redis_node: RedisContainer, sentinel: SentinelContainer, tmp_path: Path) -> Settings:
        (line,) = [x for x in (ROOT / "deploy/redis/users.acl").read_text().splitlines() if x.startswith("user worker")]
        rights = line.replace("WORKER_PASSWORD", PASSWORD).split()[1:]
        redis_node.client.execute_command("ACL", "SETUSER", *rights)
        url = f"sentinel://worker:{IN_URL}@127.0.0.1:{sentinel.port}/0"
        return Settings(redis_url=url, data_dir=tmp_path, lease_s=LEASE_S)

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
        assert {who["user"] for who in redis_node.client.client_list()} >= {"worker"}
        assert redis_node.client.acl_log() == []


class TestSentinelWithAPasswordOfItsOwn(Sentinels):
    of_sentinel = f"requirepass {PASSWORD}\n"

    @pytest.fixture
    def settings(self, sentinel: SentinelContainer, tmp_path: Path) -> Settings:
        url = f"sentinel://:secret@127.0.0.1:{sentinel.port}/0"
        return Settings(redis_url=url, sentinel_password=PASSWORD, data_dir=tmp_path, lease_s=LEASE_S)

    def test_a_job_survives_its_worker(
        self,
        celery_setup: CeleryTestSetup,
        source: Path,
        submit: Submit,
        finished: Finished,
        settings: Settings,
        redis_node: RedisContainer,
    ) -> None:
        survives_its_worker(celery_setup, submit(source, **CLIP), finished)
        until(lambda: nothing_unacknowledged(redis_node), 10)
        asked = make_app(settings, KEEPER).control.inspect(timeout=5)
        for shown in (asked.conf(), asked.stats()):  # as Flower does
            assert shown
            assert PASSWORD not in str(shown) + container(celery_setup).logs()


class TestSentinelWhoseMastersAskForReplicas(Sentinels):
    """As docs/redis.md has it."""

    more = ("--min-replicas-to-write", "1", "--min-replicas-max-lag", "2")
    n_replicas = 2

    @pytest.fixture
    def binary(self) -> str:
        """Redis 7: the wheel's lets scripts write."""
        return program("redis-server")

    def test_a_master_that_was_frozen_takes_no_jobs_when_it_wakes(
        self,
        celery_setup: CeleryTestSetup,
        one_chunk: Path,
        submit: Submit,
        finished: Finished,
        redis_node: RedisContainer,
        replicas: list[RedisContainer],
    ) -> None:
        asked = {"mode": "ranges", "ranges": [[1.0, 4.0]]}
        assert finished(submit(one_chunk, **asked)).state is JobState.SUCCEEDED  # all connections are to this master
        redis_node.kill("SIGSTOP")
        until(lambda: any(n_replicas(node) == 1 for node in replicas), 30)
        redis_node.kill("SIGCONT")
        assert redis_node.client.info("replication")["role"] == "master"  # Sentinel comes to it some seconds later
        jobs = [submit(one_chunk, **asked) for _ in range(3)]
        for job_id in jobs:
            status = finished(job_id)
            assert (status.state, status.attempts) == (JobState.SUCCEEDED, 1)

    def test_idle_workers_go_over_to_the_new_master_where_the_old_one_speaks_to_them_again(
        self,
        celery_setup: CeleryTestSetup,
        one_chunk: Path,
        submit: Submit,
        finished: Finished,
        redis_node: RedisContainer,
        replicas: list[RedisContainer],
        app: Celery,
        settings: Settings,
    ) -> None:
        """Kombu must not read of another connection than of the one that had something to read."""
        asked = {"mode": "ranges", "ranges": [[1.0, 4.0]]}
        assert finished(submit(one_chunk, **asked)).state is JobState.SUCCEEDED
        self.cut_off(redis_node)
        until(lambda: any(n_replicas(node) == 1 for node in replicas), 30)
        master = next(node for node in replicas if n_replicas(node) == 1).client
        said_at = redis_now(master)
        until(lambda: master.zrangebyscore(settings.key_prefix + keys.WORKERS, said_at, "+inf"), 30)
        redis_node.kill("SIGCONT")
        until(lambda: redis_node.client.publish(f"{settings.key_prefix}/0.celery.pidbox", "no json"), 20)
        for _ in range(2):
            status = finished(submit(one_chunk, **asked))
            assert (status.state, status.attempts) == (JobState.SUCCEEDED, 1)
        assert redis_node.client.info("replication")["role"] == "master"
        until(lambda: app.control.ping(timeout=2), 30)

    @staticmethod
    def cut_off(node: RedisContainer) -> None:
        """Freeze a master; Sentinel cannot tell it what happened meanwhile."""
        node.client.config_set("requirepass", "another")
        node.kill("SIGSTOP")

    def test_results_follow_where_a_master_cannot_be_told_that_it_is_none(
        self,
        celery_setup: CeleryTestSetup,
        source: Path,
        submit: Submit,
        finished: Finished,
        redis_node: RedisContainer,
        replicas: list[RedisContainer],
        client: JobClient,
    ) -> None:
        """As where it is cut off from replicas and Sentinel, and not from workers: those who are connected stay so."""
        watch = client.watch(lambda _: None, lambda: None)  # as the web's
        watch.start()
        job_id = submit(source, **CLIP)
        ffmpeg = frozen_ffmpeg(celery_setup)
        self.cut_off(redis_node)
        until(lambda: any(n_replicas(node) == 1 for node in replicas), 30)
        redis_node.kill("SIGCONT")
        ffmpeg.resume()
        assert finished(job_id, 90).state is JobState.SUCCEEDED
        assert finished(submit(source, **CLIP), 90).state is JobState.SUCCEEDED  # nor does it wait there for tasks
        assert redis_node.client.info("replication")["role"] == "master"
        watch.stop()
