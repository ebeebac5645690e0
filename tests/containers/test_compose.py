"""docker-compose.yml, with and without its overrides, on a real Engine."""

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.compose import Stack, docker, stack
from tests.engine import IMAGE, LABEL, engine
from tests.nodes import program
from tests.s3 import ACCESS, BUCKET, SECRET
from tests.waiting import until
from workers import names

pytestmark = pytest.mark.containers

OPTIONS = {"count": 3, "min_length": 5, "max_length": 10, "aspect": "1:1", "fit": "pad", "quality": "draft"}
ONE = {"mode": "ranges", "ranges": [[1, 4]]}


@pytest.fixture(autouse=True)
def _an_engine() -> None:
    engine().close()


def clips_are_whole(running: Stack, job: str, manifest: dict[str, Any]) -> bool:
    """Whether what is handed out is what was made."""
    got = [running.http.get(f"/api/jobs/{job}/clips/{clip['n']}", follow_redirects=True) for clip in manifest["clips"]]
    return [hashlib.sha256(answer.content).hexdigest() for answer in got] == [c["sha256"] for c in manifest["clips"]]


def ends(running: Stack, job: str) -> int:
    """How often the last stage of a job was run."""
    return running.logs("worker").count(f"Task {names.FINALISE}[{job}] succeeded")


def test_a_job_outlives_scaling_a_killed_worker_a_restart_of_redis_and_all_containers(tmp_path: Path) -> None:
    with stack(tmp_path) as running:
        running.up()
        (first,) = running.ids("worker")
        assert httpx.get(f"{running.http.base_url}/api/jobs").status_code == 401
        job = running.submit(**OPTIONS)
        running.in_stage(job, "analyse")
        running.up("--scale", "worker=3")
        until(lambda: running.workers() == 3, 60, running.logs)
        docker("kill", first)
        running.compose("restart", "redis")
        manifest = running.succeeded(job)
        assert len(manifest["clips"]) == 3
        assert ends(running, job) == 1
        running.compose("down")
        running.up()
        assert running.http.get(f"/api/jobs/{job}/manifest").json() == manifest
        assert clips_are_whole(running, job, manifest)
        flower_is_guarded_and_remembers(running, job)


def flower_is_guarded_and_remembers(running: Stack, job: str) -> None:
    auth = ("topclip", running.values["FLOWER_PASSWORD"])

    def tasks() -> dict[str, dict[str, str]]:
        try:
            return dict(httpx.get(f"{running.flower}/api/tasks", params={"limit": 1000}, auth=auth).json())
        except httpx.TransportError:
            return {}

    until(lambda: job in tasks(), 60, lambda: running.logs("flower"))
    assert all(job in task["kwargs"] for task in tasks().values())
    assert all(secret not in str(tasks()) for name, secret in running.values.items() if "PORT" not in name)
    assert httpx.get(f"{running.flower}/tasks").status_code == 401
    assert httpx.post(f"{running.flower}/api/worker/shutdown/any", auth=auth).status_code == 403


def test_a_job_outlives_the_master(tmp_path: Path) -> None:
    with stack(tmp_path, "sentinel") as running:
        running.up()
        job = running.submit(**OPTIONS)
        running.in_stage(job, "analyse")
        (master,) = running.ids("redis")
        docker("kill", master)
        manifest = running.succeeded(job)
        assert clips_are_whole(running, job, manifest)
        assert ends(running, job) == 1
        docker("start", master)
        until(lambda: "role:slave" in docker("exec", master, "redis-cli", "info", "replication"), 60, running.logs)
        running.compose("down")  # who is the master is remembered
        running.up()
        assert running.succeeded(job) == manifest
        (master,) = running.ids("redis")
        assert "role:slave" in docker("exec", master, "redis-cli", "info", "replication")


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    found = tmp_path / "buckets" / BUCKET
    found.mkdir(parents=True)
    return found


@pytest.fixture
def running(tmp_path: Path, bucket: Path) -> Iterator[Stack]:
    """TLS, a bucket and the source of the folder in one, and the server that the bucket is on."""
    keys = {"TOPCLIP_S3_ACCESS_KEY": ACCESS, "TOPCLIP_S3_SECRET_KEY": SECRET, "TOPCLIP_S3_ENDPOINT": "http://s3:9000"}
    (tmp_path / "clone").mkdir()
    with stack(tmp_path / "clone", "dev", "tls", "s3", **keys, TOPCLIP_STORE=f"s3://{BUCKET}/clips") as found:
        subprocess.run(["docker/make_tls.sh", "docker/tls"], cwd=found.folder, check=True)
        found.compose("up", "--no-start", "redis")  # for the network
        served = ["-v", f"{program('s3s-fs')}:/s3s-fs:ro", "-v", f"{bucket.parent}:/buckets"]
        run = ["run", "-d", "--rm", "--label", LABEL, "--network", f"{found.project}_default", "--network-alias", "s3"]
        argv = ["/s3s-fs", "--access-key", ACCESS, "--secret-key", SECRET, "--host", "0.0.0.0", "--port", "9000"]
        server = docker(*run, *served, "--user", f"{os.getuid()}", IMAGE, *argv, "/buckets").strip()
        try:
            yield found
        finally:
            docker("rm", "-f", server)


def test_redis_speaks_tls_the_store_is_a_bucket_and_the_source_is_that_of_the_folder(
    running: Stack, bucket: Path
) -> None:
    (running.folder / "web/__init__.py").write_text('print("from the folder")\n')
    running.up()
    assert "from the folder" in running.logs("web")
    assert running.http.get("/health").json()["redis"]["url"] == "rediss://:***@redis:6379/0"
    job = running.submit(**ONE)
    manifest = running.succeeded(job)
    assert clips_are_whole(running, job, manifest)
    assert list(bucket.glob(f"clips/jobs/{job}/clips/*.mp4"))
    assert "store" not in running.compose("exec", "-T", "worker", "ls", "/data").split()
