"""Nodes for pytest-celery's fixtures that are containers: workers of the image that the Dockerfile makes, and Redis' own.

They can do what the processes of nodes.py can, so that one test runs over both. The Engine runs on this machine: what is in
its containers is seen here as processes, too, and folders of tests are mounted under their own names.
"""

import os
import socket
import subprocess
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

import docker
import psutil
import pytest
import redis
from docker.errors import ImageNotFound
from pytest_celery import CeleryTestContainer

from tests.nodes import ROOT, WORKER_FLAGS, WorkerFacts, free_port, missing, program
from tests.waiting import until

IMAGE = os.environ.get("IMAGE", "topclip:tests")
REDIS_IMAGE = os.environ.get("REDIS_IMAGE", "redis:7-bookworm")
LABEL = "topclip.tests"
"""On all that tests make: `docker rm -fv $(docker ps -aq --filter label=topclip.tests)` removes what a killed run left."""


class DockerNode(CeleryTestContainer):
    """A container with the manners of ProcessContainer."""

    @property
    def status(self) -> str:
        self.reload()
        return str(super().status)

    def ready(self) -> bool:
        until(lambda: self.ready_prompt in self.logs() or self.status == "exited", 30, self.logs)
        return self.status == "running"

    def kill(self, signal: str | int = "SIGKILL") -> None:
        """Signals that freeze and thaw are for all of the container, the others for the process that it runs."""
        if signal == "SIGSTOP":
            self._container.pause()
        elif signal == "SIGCONT":
            self._container.unpause()
        else:
            self._container.kill(signal)
            if signal == "SIGKILL":
                until(lambda: self.status == "exited", 20)

    def restart(self, timeout: float = 10) -> None:
        self._container.restart(timeout=int(timeout))

    def teardown(self) -> None:
        if self.status == "paused":
            self._container.unpause()
        self._container.remove(force=True, v=True)


class DockerRedis(DockerNode):
    """A Redis server with AOF; its port is published on loopback, and the same after each start."""

    ready_prompt = "Ready to accept connections"

    @property
    def port(self) -> int:
        ((bound,),) = self.attrs["HostConfig"]["PortBindings"].values()
        return int(bound["HostPort"])

    @property
    def url(self) -> str:
        """For processes of this machine."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def inner_url(self) -> str:
        """For containers."""
        return f"redis://{self.attrs['Config']['Labels'][LABEL]}:6379/0"

    @cached_property
    def client(self) -> Any:
        return redis.Redis(port=self.port, decode_responses=True)

    def teardown(self) -> None:
        self.client.close()
        super().teardown()

    @property
    def celeryconfig(self) -> dict[str, str]:
        return {
            "url": self.inner_url,
            "host_url": self.url,
            "hostname": "127.0.0.1",
            "port": str(self.port),
            "vhost": "0",
        }


class DockerWorker(WorkerFacts, DockerNode):
    """A Celery worker of TopClip, guarded as docker-compose.yml guards it."""

    ready_prompt = "ready."

    @property
    def name(self) -> str:
        return str(self.attrs["Config"]["Labels"][LABEL])

    def children(self) -> list[psutil.Process]:
        """All processes below the worker, which itself is below Docker's init."""
        self.reload()
        (worker,) = psutil.Process(self.attrs["State"]["Pid"]).children()
        return worker.children(recursive=True)


class Containers:
    """Makes nodes on a network of its own. folder: what workers see of this machine, beside the footage. Ends with `close`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._inner: dict[str, str] = {}
        self._docker = engine()
        self.network = self._docker.networks.create(f"topclip-{uuid4().hex[:8]}", labels={LABEL: "network"})

    def redis(self, folder: Path) -> DockerRedis:
        """A server. Its data are in a volume, not in the folder."""
        name = f"redis-{uuid4().hex[:8]}"
        command = ["redis-server", "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
        ports = {"6379/tcp": ("127.0.0.1", free_port())}
        node = DockerRedis(self._run(REDIS_IMAGE, command, name, name=name, ports=ports))
        self._inner[node.url] = node.inner_url
        return node

    def worker(self, folder: Path, name: str, env: dict[str, str], concurrency: int = 2) -> DockerWorker:
        """A worker that runs as whoever runs the tests, since they share files."""
        env = env | {"TOPCLIP_CONCURRENCY": str(concurrency), "REDIS_URL": self._inner[env["REDIS_URL"]]}
        command = ["celery", "-A", "workers.app", "worker", "-n", f"{name}@%h", *WORKER_FLAGS]
        folders = {str(self._folder): {"bind": str(self._folder), "mode": "rw"}}
        folders[str(ROOT / "demo")] = {"bind": str(ROOT / "demo"), "mode": "ro"}
        guards = {"read_only": True, "tmpfs": {"/tmp": ""}, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"]}
        more = guards | {"user": f"{os.getuid()}:{os.getgid()}", "hostname": socket.gethostname(), "environment": env}
        return DockerWorker(self._run(IMAGE, command, name, volumes=folders, init=True, **more))

    def _run(self, image: str, command: list[str], label: str, **more: Any) -> Any:
        return self._docker.containers.run(
            image, command, detach=True, labels={LABEL: label}, network=self.network.name, **more
        )

    def close(self) -> None:
        self.network.remove()
        self._docker.close()


def engine() -> docker.DockerClient:
    """The Engine that answers, with the image that `make test-docker` builds. Without: skipped, and failed in CI."""
    asked = subprocess.run([program("docker"), "version"], capture_output=True, text=True, check=False)
    if asked.returncode:
        missing(f"no Docker Engine answers: {asked.stderr.strip()}")
    found = docker.from_env()
    try:
        found.images.get(IMAGE)
    except ImageNotFound:
        pytest.fail(f"there is no image {IMAGE}: `make test-docker` builds it")
    return found
