"""docker-compose.yml, with and without its overrides, on a real Engine."""

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.compose import Stack, docker, stack
from tests.engine import IMAGE, LABEL, engine
from tests.guides import run_shown
from tests.nodes import ROOT, program
from tests.s3 import ACCESS, BUCKET, SECRET
from tests.waiting import until
from workers import names

pytestmark = pytest.mark.containers

OPTIONS = {"count": 3, "min_length": 5, "max_length": 10, "aspect": "1:1", "fit": "pad", "quality": "draft"}
TLS, S3, DEV = (f"docker-compose.yml -f docker/compose.{name}.yml" for name in ("tls", "s3", "dev"))
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
        running.follow("compose-up", running.here | {"worker=4": "worker=1"})
        running.is_up()
        (first,) = running.ids("worker")
        assert httpx.get(f"{running.http.base_url}/api/jobs").status_code == 401
        asked = running.here | {'{"count": 3}': json.dumps(OPTIONS)}
        job = json.loads(running.follow("compose-submit", asked))["id"]
        running.in_stage(job, "analyse")
        running.follow("compose-scale", {"worker=8": "worker=3"})
        until(lambda: running.workers() == 3, 60, running.logs)
        docker("kill", first)
        running.compose("restart", "redis")
        manifest = running.succeeded(job)
        assert len(manifest["clips"]) == 3
        assert ends(running, job) == 1
        running.compose("exec", "-T", "web", "topclip", "drain")  # Docker starts again whoever has left
        until(lambda: running.workers() == 2, 60, running.logs)
        running.compose("down")
        running.follow("compose-upgrade", {"git pull": "true", "worker=4": "worker=1"})
        running.is_up()
        told = running.follow("compose-exec", {"exec web": "exec -T web"})
        assert "FAIL" not in told
        (key,) = re.findall(r"\btopclip_\S+", told)
        alices = httpx.get(f"{running.http.base_url}/api/jobs", headers={"Authorization": f"Bearer {key}"})
        assert (alices.status_code, alices.json()["jobs"]) == (200, [])
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
    shown = [
        task["kwargs"] for task in tasks().values() if task["kwargs"]
    ]  # none of one that began before Flower listened
    assert shown
    assert all(job in kwargs for kwargs in shown)
    assert all(secret not in str(tasks()) for name, secret in running.values.items() if "PORT" not in name)
    assert httpx.get(f"{running.flower}/tasks").status_code == 401
    assert httpx.post(f"{running.flower}/api/worker/shutdown/any", auth=auth).status_code == 403


def test_a_job_outlives_the_master(tmp_path: Path) -> None:
    with stack(tmp_path, "sentinel") as running:
        on_sentinel = {"exec sentinel1": "exec -T sentinel1"}
        assert running.follow("compose-sentinel", on_sentinel).split() == ["redis", "6379"]
        running.is_up()
        job = running.submit(**OPTIONS)
        running.in_stage(job, "analyse")
        (master,) = running.ids("redis")
        docker("kill", master)
        manifest = running.succeeded(job)
        assert clips_are_whole(running, job, manifest)
        assert ends(running, job) == 1
        flower_is_guarded_and_remembers(running, job)
        docker("start", master)
        until(lambda: "role:slave" in replication(master), 60, running.logs)
        docker("restart", "-t", "5", master)  # it remembers whom it follows, before Sentinel has come to it
        assert "role:slave" in until(lambda: replication(master), 30)
        running.follow("compose-sentinel-back", on_sentinel | {"exec redis ": "exec -T redis "})
        (alone,) = running.ids("redis")
        assert "role:master" in until(lambda: replication(alone), 30)
        running.is_up()
        assert running.succeeded(job) == manifest
        assert 'topclip_repairs_total{kind="restored"} 0.0' in running.http.get("/metrics").text  # Redis knew of it


def snapshot_begins(running: Stack, redis_cli: str) -> str:
    """Of what a backup takes, where Redis is asked in another way."""
    assert f"`{redis_cli}`" in (ROOT / "docs/deploy.md").read_text()
    return running.compose("exec", "-T", "redis", "sh", "-c", f"{redis_cli} --rdb - | head -c 5")


@pytest.mark.parametrize("overrides", [[], ["sentinel"]], ids=["alone", "sentinel"])
def test_a_backup_brings_back_what_was_there(tmp_path: Path, overrides: list[str]) -> None:
    backup, clone = tmp_path / "backup", tmp_path / "clone"
    backup.mkdir()
    clone.mkdir()
    files = ["docker-compose.yml", *(f"docker/compose.{name}.yml" for name in overrides)]
    with stack(clone, *overrides, BACKUP=str(backup), COMPOSE_FILE=":".join(files)) as running:
        running.up()
        job = running.submit(**ONE)
        manifest = running.succeeded(job)
        running.follow("compose-backup")
        running.compose("down", "-v")
        running.follow("compose-restore", {"worker=4": "worker=1"})
        running.is_up()
        assert running.succeeded(job) == manifest
        assert clips_are_whole(running, job, manifest)
        assert 'topclip_repairs_total{kind="restored"} 0.0' in running.http.get("/metrics").text  # Redis knew of it
        since = running.submit(**ONE)
        running.succeeded(since)
        running.compose("restart", "redis")
        until(lambda: running.status(since).get("source") == "redis", 60, running.logs)
        assert running.succeeded(job) == manifest


def test_users_of_redis_may_do_what_they_need_and_no_more(tmp_path: Path) -> None:
    with stack(tmp_path, "acl") as running:
        running.follow("compose-acl")
        running.is_up()
        job = running.submit(**ONE)
        assert clips_are_whole(running, job, running.succeeded(job))
        flower_is_guarded_and_remembers(running, job)
        assert not running.follow("compose-acl-log", {"exec redis": "exec -T redis"}).strip()
        assert snapshot_begins(running, "redis-cli --user admin") == "REDIS"
        with pytest.raises(AssertionError, match="NOPERM"):
            running.compose("exec", "-T", "web", "topclip", "drain")
        running.compose("run", "-T", "--rm", "--no-deps", "worker", "topclip", "drain")
        running.compose("restart", "redis")
        until(lambda: "Ready to accept" in running.logs("redis").rpartition("DB loaded")[2], 30, running.logs)
        assert "NOPERM" not in running.logs("redis")  # as it reads its file


def replication(container: str) -> str:
    """What its Redis says of masters and replicas; nothing while it loads."""
    argv = ["docker", "exec", container, "redis-cli", "info", "replication"]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.partition("# Replication")[2]


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
        (tmp_path / "clone/docker/tls").mkdir(exist_ok=True)  # which Docker would make as root
        found.compose("up", "--no-start", "redis")  # for the network
        served = ["-v", f"{program('s3s-fs')}:/s3s-fs:ro", "-v", f"{bucket.parent}:/buckets"]
        run = ["run", "-d", "--rm", "--label", LABEL, "--network", f"{found.project}_default", "--network-alias", "s3"]
        argv = ["/s3s-fs", "--access-key", ACCESS, "--secret-key", SECRET, "--host", "0.0.0.0", "--port", "9000"]
        server = docker(*run, *served, "--user", f"{os.getuid()}", IMAGE, *argv, "/buckets").strip()
        try:
            yield found
        finally:
            docker("rm", "-fv", server)


def worker_from_elsewhere(running: Stack) -> str:
    """A worker with a disk of its own, started as docs/deploy.md says for another machine; the id of its container."""
    told = running.worker_env()
    needed = [
        name for name in told if "REDIS" in name or "_S3_" in name or name in {"TOPCLIP_STORE", "TOPCLIP_LEASE_S"}
    ]
    (running.folder / "worker.env").write_text("".join(f"{name}={told[name]}\n" for name in needed))
    here = f"--label {LABEL} --network {running.project}_default -v {running.folder}/docker/tls:/tls:ro"
    ours = {"-v topclip:/data": f"-v /data {here}", "worker.env topclip ": f"worker.env {IMAGE} "}
    return running.follow("worker-elsewhere", ours).strip()


def test_a_worker_from_elsewhere_needs_redis_and_the_bucket_alone(running: Stack, bucket: Path) -> None:
    """Redis speaks TLS, and the programs run the source of the folder."""
    running.follow("compose-tls", {TLS: running.files})
    running.follow("compose-s3", {S3: running.files})
    running.is_up()
    (running.folder / "web/__init__.py").write_text('print("from the folder")\n')
    assert "from the folder" not in running.logs("web")
    running.follow("compose-dev", {DEV: running.files})
    running.is_up()
    assert "from the folder" in running.logs("web")
    assert running.http.get("/health").json()["redis"]["url"] == "rediss://:***@redis:6379/0"
    assert snapshot_begins(running, "redis-cli --tls --cacert /tls/ca.crt -h redis") == "REDIS"
    running.compose("stop", "worker")
    worker = worker_from_elsewhere(running)
    try:
        job = running.submit(**ONE)
        manifest = running.succeeded(job)
        flower_is_guarded_and_remembers(running, job)
    finally:
        docker("rm", "-fv", worker)
    assert clips_are_whole(running, job, manifest)
    assert list(bucket.glob(f"clips/jobs/{job}/clips/*.mp4"))
    assert "store" not in running.compose("exec", "-T", "web", "ls", "/data").split()


def test_a_containers_memory_is_what_the_doctor_tells_of() -> None:
    told = docker("run", "--rm", "-m", "600m", "--entrypoint", "sh", IMAGE, "-c", "topclip doctor --json || true")
    (found,) = [check for check in json.loads(told) if check["name"] == "machine memory"]
    assert int(found["message"].split()[0]) <= 600
    assert found["grade"] == "warn"


def test_the_image_is_made_of_what_the_page_says() -> None:
    told = run_shown("image-size", instead={" topclip sh": f" {IMAGE} sh"})
    mb = {name.strip(): int(n) for n, name in (line.split("\t") for line in told.splitlines())}
    whole = mb.pop("/opt/topclip")
    page = (ROOT / "docs/deploy.md").read_text()
    (said,) = re.findall(r"Beyond its base it is (\d+) MB", page)
    rows = [int(n) for n in re.findall(r"^\| (\d+) \|", page, re.M)]
    found = [
        sum(n for name, n in mb.items() if re.match(part, name)) for part in ("imageio", "cv2|opencv", "av", "numpy")
    ]
    assert [*found, whole - sum(found)] == pytest.approx(rows, rel=0.1)
    assert whole == pytest.approx(int(said), rel=0.05)
    assert sum(rows) == int(said)
