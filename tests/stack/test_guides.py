"""The commands and files of docs/redis.md and docs/operations.md, run as they stand there on servers of their own.

Those of docs/deploy.md are run by tests/containers/.
"""

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from stack.doctor import examine
from stack.findings import Check
from tests.guides import GUIDES, blocks, run_shown, run_text, shown
from tests.nodes import ROOT, RedisContainer, free_port, program
from tests.s3 import S3Container
from tests.stack.running import TOPCLIP
from tests.waiting import until
from topclip.config import Settings
from workers import names
from workers.health import live_workers
from workers.links import KEEPER, redis_client

BIN = Path(TOPCLIP).parent
PATH = f"{BIN}:{os.environ['PATH']}"
Configured = Callable[..., RedisContainer]


@pytest.fixture
def configured(tmp_path: Path) -> Iterator[Configured]:
    """configured(text of a redis.conf, more options) -> a Redis of the system with that file."""
    nodes: list[RedisContainer] = []

    def start(conf: str, *more: str, password: str = "") -> RedisContainer:
        conf += f"requirepass {password}\n" if password and "requirepass" not in conf else ""
        folder = tmp_path / f"redis{len(nodes)}"
        folder.mkdir()
        (folder / "redis.conf").write_text(conf)
        nodes.append(FileRedis(folder, more=more, password=password, binary=program("redis-server")))
        assert nodes[-1].ready(), nodes[-1].logs()
        return nodes[-1]

    yield start
    for node in nodes:
        node.teardown()


class FileRedis(RedisContainer):
    """One that takes its settings from a file, but for port and folder."""

    def argv(self) -> list[str]:
        where = ["--port", str(self.port), "--dir", str(self._folder)]
        return [self._binary, str(self._folder / "redis.conf"), *where, *self._more]


def found(url: str, folder: Path, *args: str) -> dict[str, Check]:
    environ = {"REDIS_URL": url, "TOPCLIP_DATA_DIR": str(folder / "data")}
    return {check.name: check for check in examine(environ).checks}


def test_each_block_is_run_or_says_that_it_is_not() -> None:
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for page in GUIDES:
        for mark, kind, text in blocks(page):
            if name := re.fullmatch(r"run: ([\w.-]+)", mark):
                assert f'"{name[1]}"' in tests, f"{page.name}: nobody runs {name[1]}"
            else:
                said = f"{mark}\n{text}\n" + _around(page, text)
                assert re.search(r"not (run|tried)|run by (CI|hand)", said), f"{page.name}: unmarked {kind}: {text}"


def _around(page: Path, text: str) -> str:
    """The paragraphs before and after a block."""
    before, after = page.read_text().split(text, 1)
    return before[-700:] + after[:200]


def test_the_settings_for_jobs_that_last_please_the_doctor(configured: Configured, tmp_path: Path) -> None:
    node = configured(shown("redis.conf"), password="a-long-random-one")
    checks = found(node.url, tmp_path)
    wanted = ("redis", "password", "persistence", "flushing", "eviction", "memory", "clock")
    assert {name: checks[name].grade for name in wanted} == dict.fromkeys(wanted, "ok")


def test_a_running_server_takes_them_by_command(configured: Configured, tmp_path: Path) -> None:
    node = configured("bind 127.0.0.1\n", password="secret")
    assert found(node.url, tmp_path)["persistence"].grade == "warn"
    assert run_shown("config-set", REDIS_URL=node.url).split() == ["OK"] * 3
    checks = found(node.url, tmp_path)
    assert [checks[name].grade for name in ("persistence", "eviction", "memory")] == ["ok"] * 3


def test_the_port_and_whether_it_works(configured: Configured, tmp_path: Path) -> None:
    program("ss")
    node = configured("bind 127.0.0.1\n", password="secret")
    assert "redis-server" in run_shown("port", instead={"6379": str(node.port)})
    ping, doctor = shown("check").splitlines()
    assert run_text(ping, REDIS_URL=node.url).strip() == "PONG"
    (tmp_path / "place").mkdir()
    told = run_text(f"{doctor.partition('#')[0]} || [ $? = 1 ]", cwd=tmp_path / "place", REDIS_URL=node.url, PATH=PATH)
    assert f"at {node.url.replace('secret', '***')} answers" in told
    assert "FAIL workers" in told


def test_the_users_of_the_acl_file(configured: Configured, tmp_path: Path) -> None:
    program("openssl")
    place = tmp_path / "place"
    (place / "deploy").mkdir(parents=True)
    (place / "deploy/redis").symlink_to(ROOT / "deploy/redis")
    run_shown("acl", cwd=place)
    assert (place / "users.acl").stat().st_mode & 0o077 == 0
    secrets = dict(line.split() for line in (place / "passwords.txt").read_text().splitlines())
    assert len(set(secrets.values())) == 4
    node = configured(f"bind 127.0.0.1\nappendonly yes\nappendfsync everysec\naclfile {place / 'users.acl'}\n")
    urls = {name: f"redis://{name.lower()}:{secret}@127.0.0.1:{node.port}/0" for name, secret in secrets.items()}
    assert found(urls["WEB"], tmp_path)["password"].grade == "ok"
    assert "config" in run_shown("acl-log", ADMIN_URL=urls["ADMIN"])  # what the doctor asked for
    run_shown("acl-one", ADMIN_URL=urls["ADMIN"], PASSWORD="one-for-all")
    assert found(f"redis://topclip:one-for-all@127.0.0.1:{node.port}/0", tmp_path)["redis"].grade == "ok"


def test_masters_that_ask_for_replicas(configured: Configured) -> None:
    node = configured("bind 127.0.0.1\n" + shown("min-replicas"))
    assert node.client.config_get("min-replicas-*") == {"min-replicas-to-write": "1", "min-replicas-max-lag": "5"}


def test_what_tells_of_its_performance(configured: Configured) -> None:
    node = configured("bind 127.0.0.1\nmaxmemory 1gb\n", password="secret")
    node.client.hset("topclip:job:x", mapping={"state": "QUEUED"})
    told = run_shown("performance", REDIS_URL=node.url)
    for words in ("maxmemory_human:1.00G", "topclip:job:x", "cmdstat_hset", "Max latency so far"):
        assert words in told


@pytest.mark.faults  # for its length
def test_redis_in_a_container() -> None:
    docker, name, port = program("docker"), f"topclip-guide-{uuid4().hex[:8]}", str(free_port())
    if subprocess.run([docker, "image", "inspect", "redis:7-bookworm"], capture_output=True, check=False).returncode:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no Docker Engine with the image redis:7-bookworm")
    started, asked = shown("docker").replace("6379:6379", f"{port}:6379").rsplit("docker exec", 1)
    started = started.replace("--name redis", f"--name {name}").replace("redis-data:", f"{name}:")
    try:
        run_text(started)
        until(lambda: "PONG" in _exec(f"docker exec{asked}".replace("exec redis ", f"exec {name} ")), 30)
        checks = found(f"redis://127.0.0.1:{port}/0", Path("/nowhere"))
        assert [checks[name].grade for name in ("redis", "persistence", "eviction", "memory")] == ["ok"] * 4
    finally:
        subprocess.run([docker, "rm", "-f", "-v", name], capture_output=True, check=False)
        subprocess.run([docker, "volume", "rm", "-f", name], capture_output=True, check=False)


def _exec(command: str) -> str:
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=30).stdout


class Started:
    """A command of the guide that runs until it is stopped."""

    def __init__(self, text: str, folder: Path, **env: str) -> None:
        self.log = folder / "command.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                ["bash", "-c", text], stdout=log, stderr=log, cwd=ROOT, env={**os.environ, "PATH": PATH, **env},
                start_new_session=True,
            )  # fmt: skip

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise


@pytest.mark.faults
def test_the_whole_stack_by_its_command(tmp_path: Path) -> None:
    text = shown("up").replace("/srv/topclip", str(tmp_path / "data")).replace("--port 8000", "--port 0")
    running = Started(f"exec {text.strip()} --flower-port 0", tmp_path)
    try:
        until(lambda: "TopClip is ready" in running.log.read_text(), 90, running.log.read_text)
    finally:
        running.stop()
    assert running.process.returncode == 0


@pytest.mark.faults
@pytest.mark.parametrize("name", ["worker", "worker-s3"])
def test_a_worker_by_its_command(name: str, configured: Configured, tmp_path: Path, s3: S3Container) -> None:
    node = configured("bind 127.0.0.1\nrequirepass password\n")
    text = shown(name)
    if name == "worker":
        text = text.replace("redis-server:6379", f"127.0.0.1:{node.port}").replace("/mnt/topclip", str(tmp_path))
    else:
        given = s3.settings
        text = text.replace("REDIS_URL=...", f"REDIS_URL=redis://:password@127.0.0.1:{node.port}/0")
        text = text.replace("http://s3:9000", given["s3_endpoint"]).replace("s3://clips/topclip", given["store"])
        text = text.replace("ACCESS_KEY=...", f"ACCESS_KEY={given['s3_access_key']}")
        text = text.replace("SECRET_KEY=...", f"SECRET_KEY={given['s3_secret_key']}")
    assert "..." not in text
    worker = Started(text, tmp_path, TOPCLIP_DATA_DIR=str(tmp_path / "data"), TOPCLIP_CONCURRENCY="1")
    redis = redis_client(Settings(redis_url=f"redis://:password@127.0.0.1:{node.port}/0"), KEEPER)
    try:
        until(lambda: live_workers(redis, "topclip:"), 60, worker.log.read_text)
        assert set(live_workers(redis, "topclip:")[0]["queues"]) == set(names.QUEUES)
    finally:
        worker.stop()
        redis.close()


@pytest.mark.faults
def test_a_worker_of_some_queues_by_its_command(configured: Configured, tmp_path: Path) -> None:
    node = configured("bind 127.0.0.1\nrequirepass password\n")
    url = f"redis://:password@127.0.0.1:{node.port}/0"
    worker = Started(shown("worker-queues"), tmp_path, REDIS_URL=url, TOPCLIP_DATA_DIR=str(tmp_path / "data"))
    redis = redis_client(Settings(redis_url=url), KEEPER)
    try:
        until(lambda: live_workers(redis, "topclip:"), 60, worker.log.read_text)
        assert set(live_workers(redis, "topclip:")[0]["queues"]) == {"render", "control"}
    finally:
        worker.stop()
        redis.close()
