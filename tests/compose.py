"""The stack of docker-compose.yml, and of the overrides in docker/, as somebody starts it who has just cloned the project."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import yaml
from dotenv import dotenv_values

from tests.engine import IMAGE
from tests.guides import SHELL, adapted
from tests.nodes import ROOT, free_port, missing, program
from tests.waiting import until

SOURCE = (
    "Dockerfile",
    ".dockerignore",
    "docker-compose.yml",
    "docker",
    "deploy",
    "demo",
    "Makefile",
    "README.md",
    "pyproject.toml",
    "requirements.lock",
    "requirements-build.lock",
    "celeryconfig.py",
    "topclip",
    "workers",
    "web",
    "cli",
    "stack",
)
QUICK = {"TOPCLIP_LEASE_S": "4"}
UP_S = 120.0
JOB_S = 120.0
COMMAND_S = 170.0
COMPOSE = """#!/bin/sh
# `docker compose` of the guides where there is the older docker-compose alone.
[ "$1" = compose ] || exec {docker} "$@"
shift
exec {compose} "$@"
"""


@lru_cache
def compose_command() -> tuple[str, ...]:
    """Compose v2, or else the older docker-compose."""
    newer = ("docker", "compose")
    if shutil.which("docker") and not subprocess.run([*newer, "version"], capture_output=True, check=False).returncode:
        return newer
    return (shutil.which("docker-compose") or missing("neither docker compose nor docker-compose"),)


class Stack:
    """A project of its own: a copy of the files, secrets made by `make env`, ports that are free."""

    def __init__(self, folder: Path, *overrides: str, **env: str) -> None:
        self.folder, self.project = folder, f"topclip-{uuid4().hex[:8]}"
        for name in SOURCE:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, folder / name)
        subprocess.run(["make", "env"], cwd=folder, check=True, capture_output=True)
        ports = {"TOPCLIP_PORT": str(free_port()), "TOPCLIP_FLOWER_PORT": str(free_port())}
        self.values = {k: v or "" for k, v in dotenv_values(folder / ".env").items()} | ports
        own = {k: v for k, v in os.environ.items() if not k.startswith(("TOPCLIP_", "COMPOSE_"))}
        # COMPOSE_DOCKER_CLI_BUILD: the older Compose builds as `docker build` does, from what that has built before.
        project = {"IMAGE": IMAGE, "COMPOSE_PROJECT_NAME": self.project, "COMPOSE_DOCKER_CLI_BUILD": "1"}
        self._env = own | project | QUICK | ports | env | {"PATH": f"{self._programs()}:{own['PATH']}"}
        files = ["docker-compose.yml", *(f"docker/compose.{name}.yml" for name in overrides)]
        self.files = " -f ".join(files)
        self._argv = [*compose_command(), *(word for file in files for word in ("-f", file))]
        key = self.values["TOPCLIP_API_KEYS"].partition(":")[2]
        base = f"http://127.0.0.1:{ports['TOPCLIP_PORT']}"
        self.http = httpx.Client(base_url=base, headers={"Authorization": f"Bearer {key}"}, timeout=20)
        self.here = {"127.0.0.1:8000": f"127.0.0.1:{ports['TOPCLIP_PORT']}"}
        self.flower = f"http://127.0.0.1:{ports['TOPCLIP_FLOWER_PORT']}"

    def _programs(self) -> Path:
        """A folder with what the guides' commands want and this machine may lack."""
        folder = self.folder / ".programs"
        folder.mkdir()
        if compose_command()[0] != "docker":
            shim = folder / "docker"
            shim.write_text(COMPOSE.format(docker=program("docker"), compose=compose_command()[0]))
            shim.chmod(0o755)
        return folder

    def compose(self, *args: str) -> str:
        """Run a command of Compose's; its output."""
        return self._run([*self._argv, *args])

    def follow(self, block: str, instead: dict[str, str] | None = None) -> str:
        """Run a block of the guides on this stack; what it printed. instead: values of ours in place of the guide's own."""
        return self._run([*SHELL, adapted(block, instead or {})])

    def _run(self, argv: list[str]) -> str:
        done = subprocess.run(
            argv, cwd=self.folder, env=self._env, capture_output=True, text=True, check=False, timeout=COMMAND_S
        )
        assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout

    def up(self, *args: str) -> None:
        """Start what is not there yet, and wait for an answer and a worker."""
        self.compose("up", "-d", *args)
        self.is_up()

    def is_up(self) -> None:
        """Wait for an answer and a worker."""
        until(self.workers, UP_S, self.logs)

    def workers(self) -> int:
        """How many the server hears of; 0 where it does not answer."""
        try:
            answer = self.http.get("/health")
            return len(answer.json().get("workers") or []) if answer.is_success else 0
        except httpx.TransportError:
            return 0

    def worker_env(self) -> dict[str, str]:
        """What a worker is told."""
        services = yaml.safe_load(self.compose("config"))["services"]
        return {name: str(value) for name, value in services["worker"]["environment"].items()}

    def ids(self, service: str) -> list[str]:
        """The containers of a service."""
        return self.compose("ps", "-q", service).split()

    def logs(self, *services: str) -> str:
        """What they have said."""
        return self.compose("logs", "--no-color", *services)

    def submit(self, **options: Any) -> str:
        """A job on the footage that the project ships; asked for again where a busy machine's Redis was slow to answer."""

        def taken() -> httpx.Response | None:
            with (ROOT / "demo/footage.mp4").open("rb") as file:
                answer = self.http.post("/api/jobs", files={"file": file}, data={"options": json.dumps(options)})
            return None if answer.status_code == 503 else answer

        answer = until(taken, UP_S, self.logs)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def status(self, job: str) -> dict[str, Any]:
        """As the server tells it; an empty one while it does not."""
        try:
            answer = self.http.get(f"/api/job-status/{job}")
            found: dict[str, Any] = answer.json() if answer.is_success else {}
        except httpx.TransportError:
            return {}
        assert answer.status_code != 404
        return found

    def in_stage(self, job: str, stage: str) -> None:
        """Wait until the job has come so far."""
        until(lambda: self.status(job).get("stage") == stage, JOB_S, self.logs)

    def succeeded(self, job: str) -> dict[str, Any]:
        """Its manifest, once it has ended well."""
        until(lambda: self.status(job).get("state") not in {None, "QUEUED", "RUNNING"}, JOB_S, self.logs)
        assert self.status(job)["state"] == "SUCCEEDED", self.status(job)
        return dict(self.http.get(f"/api/jobs/{job}/manifest").json())

    def close(self) -> None:
        """Remove all that was made."""
        self.http.close()
        self.compose("down", "-v", "--remove-orphans", "-t", "2")


@contextmanager
def stack(folder: Path, *overrides: str, **env: str) -> Iterator[Stack]:
    """A stack that is not up yet; whatever happens, nothing of it is left."""
    found = Stack(folder, *overrides, **env)
    try:
        yield found
    finally:
        found.close()


def docker(*args: str) -> str:
    """Run the client of the Engine's."""
    return subprocess.run(["docker", *args], check=True, capture_output=True, text=True, timeout=60).stdout
