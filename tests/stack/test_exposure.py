"""What stands open to others does not start: the web server and Flower, whoever starts them; and keys from the shell."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from stack.programs import FLOWER_CONF
from tests.nodes import ROOT, RedisContainer, free_port
from tests.stack.running import TOPCLIP, Running, stack
from tests.waiting import until
from topclip.config import Settings

APP = "web.wsgi:create_app_from_env()"
OURS = ("-c", "python:web.gunicorn_conf")
KEY = "a-key-of-alice-0123456789"
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisContainer]:
    node = RedisContainer(tmp_path_factory.mktemp("redis"))
    assert node.ready()
    yield node
    node.teardown()


@pytest.fixture
def settings(tmp_path: Path, redis: RedisContainer) -> Settings:
    return Settings(redis_url=redis.url, data_dir=tmp_path / "data", web_threads=8, max_streams=2)


@pytest.fixture
def start(tmp_path: Path, settings: Settings) -> Iterator[Start]:
    """start(module, flags..., VARIABLE=value...) -> a process that logs to `log`."""
    started: list[subprocess.Popen[str]] = []

    def run(*argv: str, cwd: Path = ROOT, **env: str) -> subprocess.Popen[str]:
        with (tmp_path / "log").open("w") as log:
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", *argv],
                    env={**os.environ, **settings.to_env(), **env},
                    cwd=cwd,
                    stdout=log,
                    stderr=log,
                    text=True,
                )
            )
        return started[-1]

    yield run
    for process in started:
        process.terminate()
        process.wait(20)


def keys(settings: Settings, *args: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **settings.to_env()}
    return subprocess.run([TOPCLIP, "keys", *args], env=env, cwd=ROOT, capture_output=True, text=True, check=False)


def code(url: str, key: str = "", **headers: str) -> int:
    """Status of an answer, 0 where there is none."""
    bearer = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        return httpx.get(url, headers={**bearer, **headers}, timeout=10).status_code
    except httpx.TransportError:
        return 0


@pytest.mark.parametrize("conf", [OURS, ()], ids=["our configuration", "none"])
@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])
def test_gunicorn_started_by_hand_on_all_addresses_refuses_without_keys(
    start: Start, tmp_path: Path, conf: tuple[str, ...], host: str
) -> None:
    process = start("gunicorn", *conf, APP, "--bind", f"{host}:{free_port()}")
    assert process.wait(30) != 0
    log = (tmp_path / "log").read_text()
    assert "which others can reach, and there is no API key" in log
    assert ("topclip keys add" in log) is bool(conf)
    assert ("Traceback" in log) is not bool(conf)


def test_gunicorn_by_hand_listens_on_an_ipv6_address_that_is_set(start: Start, settings: Settings) -> None:
    start("gunicorn", *OURS, TOPCLIP_HOST="::1", TOPCLIP_PORT=str(port := free_port()))
    until(lambda: code(f"http://[::1]:{port}/health/live") == 200, 20)


def test_with_a_key_it_starts_there_and_revoking_counts_within_seconds(start: Start, settings: Settings) -> None:
    key = keys(settings, "add", "alice").stdout.strip()
    url = f"http://127.0.0.1:{(port := free_port())}/api/jobs"
    start("gunicorn", *OURS, APP, "--bind", f"0.0.0.0:{port}")
    until(lambda: code(url) == 401, 20)
    assert code(url, key) == 200
    second = keys(settings, "add", "laptop", "--owner", "alice", "--json")
    assert json.loads(second.stdout)["owner"] == "alice"
    until(lambda: code(url, json.loads(second.stdout)["key"]) == 200, 10, step_s=1.0)  # twenty tries would be too many
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as page:
        assert page.post("/sign-in", data={"key": key}).status_code == 303
        assert page.get("/api/jobs").status_code == 200
        assert keys(settings, "revoke", "alice").returncode == 0
        until(lambda: code(url, key) == 401, 10)
        assert page.get("/api/jobs").status_code == 401


def test_the_keys_of_the_shell_are_listed_without_being_told(settings: Settings) -> None:
    settings = settings.model_copy(update={"api_keys": (f"carol:{KEY}",), "metrics_key": "scraped"})
    key = keys(settings, "add", "alice", "--admin").stdout.strip()
    assert json.loads(keys(settings, "add", "graph", "--metrics", "--json").stdout)["metrics"]
    assert re.fullmatch(r"topclip_[\w-]{43}", key)
    for args in (("list",), ("list", "--json")):
        listed = keys(settings, *args)
        assert "alice" in listed.stdout
        assert "carol" in listed.stdout
        assert key not in listed.stdout + listed.stderr
        assert KEY not in listed.stdout + listed.stderr
    rows = json.loads(keys(settings, "list", "--json").stdout)
    assert [(row["name"], row["admin"], row["metrics"], row["from"]) for row in rows] == [
        ("alice", True, False, "store"),
        ("graph", False, True, "store"),
        ("carol", False, False, "TOPCLIP_API_KEYS"),
        ("metrics", False, True, "TOPCLIP_METRICS_KEY"),
    ]
    for args in (
        ("add", "alice"),
        ("add", "scraper", "--metrics", "--admin"),
        ("add", "No Name"),
        ("revoke", "nobody"),
        ("revoke", "carol"),
    ):
        result = keys(settings, *args)
        assert (result.returncode, result.stdout) == (2, ""), args
        assert len(result.stderr.splitlines()) == 2
    assert keys(settings, "revoke", "alice").returncode == 0
    assert "alice" not in keys(settings, "list").stdout


@pytest.mark.parametrize("conf", [(f"--conf={FLOWER_CONF}",), ()], ids=["our configuration", "none"])
@pytest.mark.parametrize("address", ["0.0.0.0", ""])
def test_flower_started_by_hand_refuses_other_addresses_without_a_password(
    start: Start, tmp_path: Path, conf: tuple[str, ...], address: str
) -> None:
    argv = ("celery", "-A", "workers.app:app", "flower", *conf, f"--address={address}")
    process = start(*argv, f"--port={free_port()}")
    assert process.wait(30) == 2
    assert "FLOWER_BASIC_AUTH" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("entries", ["", ":", "me:", "me:secret,", "me:half,half"])
def test_flower_takes_no_entry_without_a_password_for_one(start: Start, tmp_path: Path, entries: str) -> None:
    argv = ("celery", "-A", "workers.app:app", "flower", "--address=0.0.0.0", f"--port={free_port()}")
    assert start(*argv, FLOWER_BASIC_AUTH=entries).wait(30) == 2
    assert "FLOWER_BASIC_AUTH" in (tmp_path / "log").read_text()


def test_flower_given_a_configuration_that_is_missing_does_not_start_without_one(start: Start, tmp_path: Path) -> None:
    argv = ("celery", "-A", "workers.app:app", "flower", "--conf=flowerconfig.py", f"--port={free_port()}")
    assert start(*argv, cwd=tmp_path).wait(30) == 1
    assert "FileNotFoundError" in (tmp_path / "log").read_text()


def test_celery_starts_in_a_folder_that_it_may_not_look_into(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (locked := tmp_path / "locked").mkdir()
    monkeypatch.chdir(locked)
    locked.chmod(0o000)
    no_root = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if not os.geteuid() else []
    try:
        done = subprocess.run(
            [*no_root, sys.executable, "-P", "-m", "celery", "-A", "workers.app:app", "report"],
            env={**os.environ, **settings.to_env(), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        locked.chmod(0o700)
    assert done.returncode == 0, done.stderr


def test_flower_started_by_hand_reads_somebodys_own_configuration(start: Start, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "flowerconfig.py").write_text(f"port = {port}\naddress = '127.0.0.1'\nbasic_auth = ['me:secret']\n")
    start("celery", "-A", "workers.app:app", "flower", cwd=tmp_path)
    until(lambda: code(f"http://127.0.0.1:{port}/workers") == 401, 30)


def test_flower_with_a_password_starts_there_and_asks_for_it(start: Start) -> None:
    port = free_port()
    argv = ("celery", "-A", "workers.app:app", "flower", f"--conf={FLOWER_CONF}", "--address=0.0.0.0")
    start(*argv, f"--port={port}", FLOWER_BASIC_AUTH="topclip:secret")
    until(lambda: code(f"http://127.0.0.1:{port}/workers") == 401, 30)
    for path in ("/workers", "/metrics"):
        assert code(f"http://127.0.0.1:{port}{path}") == 401
        assert httpx.get(f"http://127.0.0.1:{port}{path}", auth=("topclip", "secret"), timeout=20).status_code == 200


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A stack with a key."""
    folder = tmp_path_factory.mktemp("keyed")
    (folder / ".env").write_text(f"TOPCLIP_API_KEYS=alice:{KEY}\nTOPCLIP_HOST=0.0.0.0\n")
    with stack(folder / "data", "--concurrency", "1") as running:
        yield running


def test_a_stack_with_keys_gets_ready_and_asks_for_them(keyed: Running) -> None:
    assert code(keyed.urls["web"] + "/api/jobs") == 401
    assert code(keyed.urls["web"] + "/api/jobs", KEY) == 200
    assert keyed.health().keys() == {"status"}


def test_no_command_line_and_no_child_that_needs_none_knows_a_key(keyed: Running) -> None:
    tree = [psutil.Process(keyed.process.pid), *keyed.descendants()]
    assert not any(KEY in " ".join(process.cmdline()) for process in tree)
    knowing = {process.pid for process in tree if KEY in str(process.environ())}
    web = keyed.find("gunicorn")
    assert knowing <= {web.pid, *(child.pid for child in web.children(recursive=True))}
    assert KEY not in keyed.stderr


def test_flower_answers_this_machines_own_names_alone(keyed: Running) -> None:
    url = keyed.urls["flower"]
    for path in ("/api/workers", "/workers", "/"):
        assert code(url + path, Host="evil.example") == 403, path
        assert code(url + path) == 200, path
    assert KEY not in httpx.get(f"{url}/api/workers?refresh=1", timeout=20).text


def test_the_command_sends_its_key(keyed: Running, tmp_path: Path) -> None:
    def jobs(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
        argv = [TOPCLIP, "jobs", "--url", keyed.urls["web"], *args]
        return subprocess.run(
            argv, env={**os.environ, **env}, cwd=tmp_path, capture_output=True, text=True, check=False
        )

    assert jobs().returncode == 1
    assert jobs(TOPCLIP_API_KEY=KEY).returncode == 0
    assert jobs("--api-key", KEY).returncode == 0
    wrong = jobs(TOPCLIP_API_KEY="wrong-key")
    assert wrong.returncode == 1
    assert "API key" in wrong.stderr
    assert "wrong-key" not in wrong.stderr
    secret = tmp_path / "key"
    secret.write_text(KEY + "\n")
    assert jobs(TOPCLIP_API_KEY_FILE=str(secret)).returncode == 0
