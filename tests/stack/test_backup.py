"""The backups that docs/operations.md shows, by its very commands: taken under load, everything destroyed, all jobs end."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.guides import run_shown, run_text, shown
from tests.integration.faults import is_ffmpeg, redis_up
from tests.nodes import ROOT, RedisContainer, WebContainer, WorkerContainer, program, redis_server
from tests.stack.running import stack
from tests.waiting import until
from topclip.config import Settings

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]

SHORT = {"mode": "ranges", "ranges": [[1.0, 4.0]], "quality": "draft"}
LONG = {"mode": "ranges", "ranges": [[1.0, 21.0]], "aspect": "1:1", "fit": "pad"}


class Site:
    """Redis, a worker that runs one task at a time, and a web server; places as the page names them."""

    def __init__(self, folder: Path, binary: str) -> None:
        self.redis_dir, self.backup, self.data = folder / "redis", folder / "backup", folder / "data"
        for path in (self.redis_dir, self.backup, folder / "logs", folder / "bin"):
            path.mkdir()
        (folder / "bin/redis-server").symlink_to(binary)  # the restore is done by the same server
        self.redis = RedisContainer(self.redis_dir, password="secret", binary=binary)
        assert self.redis.ready()
        settings = Settings(redis_url=self.redis.url, data_dir=self.data, lease_s=4.0)
        self.worker = WorkerContainer(folder / "logs", "worker", settings.to_env(), 1)
        self.web = WebContainer(folder / "logs", settings)
        self.env = {
            "REDIS_URL": self.redis.url,
            "REDIS_DIR": str(self.redis_dir),
            "STORE": str(self.data / "store"),
            "BACKUP": str(self.backup),
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        }
        assert self.web.ready()
        assert self.worker.ready()

    def run(self, *names: str) -> None:
        for name in names:
            run_shown(name, **self.env)

    def submit(self, **options: object) -> str:
        return str(self.web.submit(ROOT / "demo/footage.mp4", **options).json()["id"])

    def status(self, job: str) -> dict[str, object]:
        document: dict[str, object] = self.web.get(f"/api/job-status/{job}").json()
        return document

    def frozen_ffmpeg(self) -> None:
        """Have the task that renders stand still."""

        def rendering() -> list[psutil.Process]:
            return [p for p in self.worker.children() if is_ffmpeg(p)]

        until(rendering, 60, step_s=0.005)[0].suspend()

    def destroy(self) -> None:
        """All processes are killed, all data are gone."""
        for node in (self.web, self.worker, self.redis):
            node.teardown()
        shutil.rmtree(self.redis_dir)
        shutil.rmtree(self.data)

    def start(self) -> None:
        self.redis.restart()
        until(lambda: redis_up(self.redis), 20)
        self.worker.restart()
        self.web.restart()
        until(self._is_ready, 30, self.web.logs)

    def _is_ready(self) -> bool:
        try:
            return self.web.get("/health/ready").status_code == 200
        except httpx.ConnectError:
            return False

    def teardown(self) -> None:
        for node in (self.web, self.worker, self.redis):
            node.teardown()


@pytest.fixture(params=["7", "6.2"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    program("redis-cli")
    program("rsync")
    found = Site(tmp_path, program("redis-server") if request.param == "7" else redis_server())
    yield found
    found.teardown()


@pytest.mark.parametrize(
    ("site", "backup", "restore"),
    [
        ("7", "backup-rdb", "restore-rdb"),
        ("7", "backup-bgsave", "restore-rdb"),
        ("7", "backup-aof", "restore-aof"),
        ("6.2", "backup-aof", "restore-aof"),  # its append-only file is another one
    ],
    indirect=["site"],
)
def test_what_was_finished_is_there_and_what_ran_or_waited_ends(site: Site, backup: str, restore: str) -> None:
    finished = site.submit(**SHORT)
    until(lambda: site.status(finished)["state"] == "SUCCEEDED", 60, site.worker.logs)
    clip = site.web.get(f"/api/jobs/{finished}/clips/1").content
    running = site.submit(**LONG)
    site.frozen_ffmpeg()
    queued = [site.submit(**SHORT) for _ in range(2)]
    site.run(backup)
    assert site.status(running)["state"] == "RUNNING"
    assert [site.status(job)["state"] for job in queued] == ["QUEUED"] * 2
    site.destroy()

    site.run("restore-store", restore)
    site.start()
    status = site.status(finished)
    assert (status["state"], status["attempts"]) == ("SUCCEEDED", 1)
    assert site.web.get(f"/api/jobs/{finished}/clips/1").content == clip
    for job in (running, *queued):
        until(lambda job=job: site.status(job)["state"] == "SUCCEEDED", 120, site.worker.logs)  # type: ignore[misc]
        assert site.web.get(f"/api/jobs/{job}/clips/1").status_code == 200
    assert site.web.get("/health").json()["redis"]["aof"]["enabled"]


@pytest.mark.parametrize("site", ["7"], indirect=True)
def test_what_came_between_the_two_copies_is_made_good(site: Site) -> None:
    """The store's copy has a job that Redis' has not, and one that had not ended there yet."""
    ending = site.submit(**LONG)
    site.frozen_ffmpeg()
    redis_first, then_store = shown("backup-rdb").splitlines()
    run_text(redis_first, **site.env)
    for process in site.worker.children():
        process.resume()
    late = site.submit(**SHORT)
    until(lambda: site.status(late)["state"] == site.status(ending)["state"] == "SUCCEEDED", 60, site.worker.logs)
    run_text(then_store, **site.env)
    site.destroy()
    site.run("restore-store", "restore-rdb")
    site.start()
    for job in (ending, late):
        until(lambda job=job: site.status(job)["state"] == "SUCCEEDED", 120, site.worker.logs)  # type: ignore[misc]


def test_the_data_folder_of_topclip_up(tmp_path: Path) -> None:
    data, backup = tmp_path / "data", tmp_path / "backup"
    backup.mkdir()
    with stack(data, "--no-flower") as running:
        with (ROOT / "demo/footage.mp4").open("rb") as file:
            form = {"files": {"file": file}, "data": {"options": json.dumps(SHORT)}}
            answer = httpx.post(f"{running.urls['web']}/api/jobs", timeout=20, **form).json()["id"]
        until(lambda: running.get(f"/api/job-status/{answer}").json()["state"] == "SUCCEEDED", 60)
        running.terminate()
    run_shown("backup-folder", DATA_DIR=str(data), BACKUP=str(backup))
    shutil.rmtree(data)
    shutil.copytree(backup / "data", data, symlinks=True)
    with stack(data, "--no-flower") as running:
        until(lambda: running.get(f"/api/job-status/{answer}").json()["state"] == "SUCCEEDED", 60)
        assert running.get(f"/api/jobs/{answer}/clips/1").status_code == 200
