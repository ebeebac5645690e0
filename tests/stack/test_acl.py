"""deploy/redis/users.acl: three users with the least rights, under which everything works and nothing is asked for in vain."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from redis.exceptions import ResponseError

from tests.nodes import ROOT, ProcessContainer, RedisContainer, WebContainer, WorkerContainer, free_port, program
from tests.servers import reply, serving
from tests.stack.running import TOPCLIP
from tests.waiting import until
from topclip.config import Settings

pytestmark = pytest.mark.faults  # for their length

TEMPLATE = ROOT / "deploy/redis/users.acl"
USERS = ("admin", "web", "worker", "flower")
P = "topclip:"
CLIPS: dict[str, Any] = {"mode": "ranges", "ranges": [[1.0, 4.0], [30.0, 33.0]], "quality": "draft"}
ENDED = ("SUCCEEDED", "PARTIAL", "FAILED", "CANCELLED")


class AclRedis(RedisContainer):
    """A Redis with the users of the file, their passwords filled in."""

    def __init__(self, folder: Path) -> None:
        text = TEMPLATE.read_text()
        for user in USERS:
            assert f">{user.upper()}_PASSWORD" in text
            text = text.replace(f"{user.upper()}_PASSWORD", f"{user}-secret")
        (folder / "users.acl").write_text(text)
        more = ["--aclfile", str(folder / "users.acl"), "--acllog-max-len", "1000"]
        super().__init__(folder, more=more, binary=program("redis-server"))

    def url_of(self, user: str) -> str:
        return f"redis://{user}:{user}-secret@127.0.0.1:{self.port}/0"

    def as_user(self, user: str) -> Any:
        return redis.Redis.from_url(self.url_of(user), decode_responses=True)

    def denied(self) -> list[str]:
        """What was asked for in vain: user, why, what."""
        with self.as_user("admin") as client:
            return sorted({f"{e['username']} {e['reason']} {e['object']} ({e['context']})" for e in client.acl_log()})


class FlowerContainer(ProcessContainer):
    """Flower as it is served, read-only."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.port, self._env = free_port(), env
        super().__init__(folder, "flower")

    @property
    def ready_prompt(self) -> str:
        return "Connected to"

    def argv(self) -> list[str]:
        flags = ["--address=127.0.0.1", f"--port={self.port}", "--read_only=True", "--conf=stack/flowerconfig.py"]
        return [sys.executable, "-m", "celery", "-A", "workers.app:app", "flower", *flags]

    def env(self) -> dict[str, str]:
        return self._env | {"FLOWER_UNAUTHENTICATED_API": "true"}

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=30)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[AclRedis]:
    (tmp_path / "redis").mkdir()
    found = AclRedis(tmp_path / "redis")
    assert found.ready()
    yield found
    found.teardown()


@pytest.fixture
def env_of(node: AclRedis, tmp_path: Path) -> Callable[[str], Settings]:
    """env_of(user) -> the settings of its processes."""

    def settings(user: str) -> Settings:
        secret = "whsec_" + "A" * 32
        given: dict[str, Any] = {"private_networks": ("127.0.0.1/32",), "webhook_secret": (secret,)}
        given |= {"submit_rate": "1000/minute", "data_dir": tmp_path / "data", "lease_s": 4.0}
        return Settings(redis_url=node.url_of(user), **given)

    return settings


@pytest.fixture
def web(env_of: Callable[[str], Settings], tmp_path: Path) -> Iterator[WebContainer]:
    found = WebContainer(tmp_path, env_of("web"))
    assert found.ready()
    yield found
    found.teardown()


@pytest.fixture
def worker(env_of: Callable[[str], Settings], tmp_path: Path) -> Iterator[WorkerContainer]:
    found = WorkerContainer(tmp_path, "worker", env_of("worker").to_env())
    assert found.ready()
    yield found
    found.teardown()


@pytest.fixture
def flower(env_of: Callable[[str], Settings], tmp_path: Path) -> Iterator[FlowerContainer]:
    found = FlowerContainer(tmp_path, env_of("flower").to_env())
    assert found.ready()
    yield found
    found.teardown()


def state_of(web: WebContainer, job: str) -> str:
    return str(web.get(f"/api/job-status/{job}").json()["state"])


def ended(web: WebContainer, job: str, node: AclRedis) -> str:
    until(lambda: state_of(web, job) in ENDED, 60, lambda: "\n".join(node.denied()))
    return state_of(web, job)


def post(web: WebContainer, path: str, **body: Any) -> int:
    return httpx.post(web.url + path, timeout=20, **({"json": body} if body else {})).status_code


def topclip(settings: Settings, *args: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **settings.to_env()}
    return subprocess.run([TOPCLIP, *args], env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.timeout(400)
def test_everything_works_under_them_and_nothing_is_asked_for_in_vain(
    node: AclRedis,
    web: WebContainer,
    worker: WorkerContainer,
    flower: FlowerContainer,
    env_of: Callable[[str], Settings],
) -> None:
    video = ROOT / "demo/footage.mp4"
    with serving(reply()) as receiver:
        job = web.submit(video, callback_url=receiver.url("/hook"), **CLIPS).json()["id"]
        with ThreadPoolExecutor() as pool:
            events = pool.submit(lambda: httpx.get(f"{web.url}/api/jobs/{job}/events", timeout=120).text)
            assert web.get(f"/api/job-status/{job}?wait=5").status_code == 200
            assert ended(web, job, node) == "SUCCEEDED"
            assert "SUCCEEDED" in events.result()
        until(lambda: receiver.requests, 30)
    assert post(web, f"/api/jobs/{job}/replan", ranges=[[5.0, 8.0]]) == 202
    assert ended(web, job, node) == "SUCCEEDED"
    _cancelled_and_retried(node, web, worker, web.submit(video, count=2, quality="draft").json()["id"])
    for path in ("/api/jobs", "/health", "/metrics", f"/api/jobs/{job}/manifest", f"/api/jobs/{job}/callbacks"):
        assert web.get(path).status_code == 200
    assert web.get("/health").json()["redis"]["writes"]
    _read_in_flower(flower, job, worker)
    _lost_and_expired(node, web, job)
    assert topclip(env_of("worker"), "drain", "--timeout", "60").returncode == 0
    assert node.denied() == []
    assert "NOPERM" not in web.logs() + worker.logs() + flower.logs()


def test_the_doctor_examines_what_they_may_see(node: AclRedis, env_of: Callable[[str], Settings]) -> None:
    for user in ("web", "worker"):
        checks = {check["name"]: check for check in json.loads(topclip(env_of(user), "doctor", "--json").stdout)}
        assert [checks[name]["grade"] for name in ("redis", "password", "persistence", "clock")] == ["ok"] * 4
        assert checks["workers"]["grade"] == "fail"  # there is none
    assert node.denied() == [f"{user} command config|get (toplevel)" for user in ("web", "worker")]


def test_a_restart_keeps_what_they_wrote_in_transactions(node: AclRedis) -> None:
    """Redis reads transactions of its append-only file as the default user, who is off and must have the rights."""
    with node.as_user("worker") as client:
        client.pipeline(transaction=True).hset(f"{P}job:x", "state", "RUNNING").sadd(f"{P}jobs", "x").execute()
    node.kill()
    node.restart()
    until(lambda: node.logs().count(node.ready_prompt) == 2, 30)
    with node.as_user("worker") as client:
        assert client.hget(f"{P}job:x", "state") == "RUNNING"
        assert client.smembers(f"{P}jobs") == {"x"}
    assert node.denied() == []


def _cancelled_and_retried(node: AclRedis, web: WebContainer, worker: WorkerContainer, job: str) -> None:
    until(lambda: state_of(web, job) == "RUNNING", 30)
    assert post(web, f"/api/jobs/{job}/cancel") in (200, 202)
    assert ended(web, job, node) == "CANCELLED"
    assert post(web, f"/api/jobs/{job}/retry") == 202
    until(lambda: state_of(web, job) == "RUNNING", 30)
    worker.kill()  # so that leases end and are swept
    worker.restart()
    assert ended(web, job, node) == "SUCCEEDED"
    assert httpx.delete(f"{web.url}/api/jobs/{job}", timeout=20).status_code == 204


def _read_in_flower(flower: FlowerContainer, job: str, worker: WorkerContainer) -> None:
    until(lambda: flower.get(f"/api/task/info/{job}").status_code == 200, 30, flower.logs)
    assert flower.get(f"/api/task/result/{job}").json()["result"]["state"] == "SUCCEEDED"
    workers = flower.get("/api/workers?refresh=1").json()
    assert [found["registered"] for found in workers.values()] != []
    queues = flower.get("/api/queues/length").json()["active_queues"]
    assert {queue["name"] for queue in queues} >= {"control", "render"}
    for path in ("/", "/tasks", f"/task/{job}", "/broker", "/metrics"):
        assert flower.get(path).status_code == 200
    assert worker.status == "running"


def _lost_and_expired(node: AclRedis, web: WebContainer, job: str) -> None:
    """Redis loses a job, which is brought back from the store, and then its time has come."""
    with node.as_user("admin") as admin:
        admin.delete(f"{P}job:{job}")
        admin.sadd(f"{P}lost", job)
        until(lambda: admin.hget(f"{P}job:{job}", "state") == "SUCCEEDED", 60)
        admin.zadd(f"{P}expiry", {job: 1})
        until(lambda: admin.exists(f"{P}gone:{job}"), 30)
    until(lambda: web.get(f"/api/job-status/{job}").status_code == 410, 30)


@pytest.mark.parametrize(
    ("user", "commands"),
    [
        (
            "web",
            [
                ("FLUSHALL",), ("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "GET", "*"), ("KEYS", "*"), ("SHUTDOWN",),
                ("ACL", "LIST"), ("ACL", "SETUSER", "x", "on", "nopass"), ("MONITOR",),
                ("SCRIPT", "FLUSH"), ("REPLICAOF", "127.0.0.1", "1"), ("FUNCTION", "LIST"), ("FUNCTION", "FLUSH"),
                ("HSET", P + "unacked", "a", "b"), ("LPUSH", P + "render", "{}"), ("DEL", P + "reconciler-leader"),
                ("SET", "other", "1"), ("GET", "other"), ("PUBLISH", P + "/0.celery.pidbox", "shutdown"),
                ("EVAL", "return redis.call('SET', 'other', 1)", "0"),
            ],
        ),
        (
            "worker",
            [
                ("FLUSHALL",), ("CONFIG", "SET", "maxmemory", "1"), ("KEYS", "*"), ("SHUTDOWN",), ("ACL", "LIST"),
                ("SET", "other", "1"), ("PUBLISH", "other", "x"), ("SCRIPT", "FLUSH"), ("SAVE",), ("MODULE", "LIST"),
                ("FUNCTION", "FLUSH"), ("FUNCTION", "RESTORE", "x"),
            ],
        ),
        (
            "flower",
            [
                ("FLUSHALL",), ("CONFIG", "GET", "*"), ("KEYS", "*"), ("SHUTDOWN",), ("SET", P + "probe", "1"),
                ("DEL", P + "control"), ("BRPOP", P + "control", "1"), ("LPUSH", P + "control", "{}"),
                ("HGETALL", P + "job:x"), ("FUNCTION", "FLUSH"), ("EVAL", "return redis.call('DEL', 'topclip:jobs')", "0"),
                ("DEL", P + "celery-task-meta-x"), ("ZADD", P + "expiry", "1", "x"), ("PUBLISH", P + "job-events", "{}"),
            ],
        ),
    ],
)  # fmt: skip
def test_none_may_do_what_is_not_its_work(node: AclRedis, user: str, commands: list[tuple[str, ...]]) -> None:
    with node.as_user(user) as client:
        for command in commands:
            with pytest.raises(ResponseError, match=r"(?i)no permissions|can't access"):
                client.execute_command(*command)
    with redis.Redis(port=node.port) as nobody, pytest.raises(redis.AuthenticationError):
        nobody.get("x")
    with redis.Redis(port=node.port) as nobody, pytest.raises(redis.AuthenticationError):
        nobody.execute_command("AUTH", "default", "")
