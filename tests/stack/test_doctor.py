"""`topclip doctor` finds what is wrong, each mistake planted for real, and says what to do."""

import re
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stack import doctor_redis
from stack.doctor_machine import is_old
from tests.nodes import SentinelContainer, WorkerContainer, free_port, program
from tests.servers import make_certificate
from tests.stack.doctoring import Started, command, found, told
from tests.waiting import until
from topclip.config import Settings

OTHERS = (b"+OK POP3 ready\r\n", b"* OK IMAP4rev1\r\n", b"220 smtp\r\n")
"""What servers of other kinds greet with."""

FAST_CLOCK = "import time\n_real = time.time\ntime.time = lambda: _real() + 40\n"


class TestWrongUrl:
    """Each way in which a URL leads nowhere has its own advice."""

    def test_nobody_listens(self, tmp_path: Path) -> None:
        assert "start `topclip up`" in told(found(f"redis://127.0.0.1:{free_port()}/0", tmp_path)["redis"])

    def test_nobody_listens_elsewhere(self, tmp_path: Path) -> None:
        advice = told(found(f"redis://0.0.0.0:{free_port()}/0", tmp_path)["redis"])  # it is no name of this machine's
        assert "does it listen on that address" in advice
        assert "topclip up" not in advice

    def test_no_such_host(self, tmp_path: Path) -> None:
        assert "no such host" in told(found("redis://nowhere.invalid:6379/0", tmp_path)["redis"])

    def test_something_else_listens(self, tmp_path: Path) -> None:
        def greet() -> None:
            with listener.accept()[0] as caller:
                caller.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
                caller.recv(100)

        with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor() as pool:
            greeted = pool.submit(greet)
            url = f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
            assert "is no Redis" in told(found(url, tmp_path)["redis"])
            greeted.result()

    def test_no_sentinel_listens(self, tmp_path: Path) -> None:
        ports = [free_port(), free_port()]
        check = found(";".join(f"sentinel://127.0.0.1:{port}" for port in ports), tmp_path)["redis"]
        assert "sentinels that do not answer: are they up" in told(check)
        assert all(f" 127.0.0.1:{port} - " in check.message for port in ports)
        assert "redis.client" not in check.message  # with all that a client is made of

    def test_no_such_database(self, tmp_path: Path, started: Started) -> None:
        assert "`databases`" in told(found(started().url.replace("/0", "/99"), tmp_path)["redis"])

    def test_a_server_that_takes_no_more_connections(self, tmp_path: Path, started: Started) -> None:
        node = started()
        node.client.config_set("maxclients", 1)  # which is the one that asks for it
        assert "raise its `maxclients`" in told(found(node.url, tmp_path)["redis"])

    def test_no_password_and_a_wrong_one(self, tmp_path: Path, started: Started) -> None:
        node = started(password="right")
        assert "put the password into REDIS_URL" in told(
            found(node.url.replace("default:right@", ""), tmp_path)["redis"]
        )
        assert "mend user and password" in told(found(node.url.replace("right", "wrong"), tmp_path)["redis"])
        assert found(node.url, tmp_path)["redis"].grade == "ok"

    def test_an_unknown_scheme_and_a_cluster_url(self, tmp_path: Path) -> None:
        assert "redis, rediss, sentinel" in told(found("http://localhost:6379", tmp_path)["settings"])
        assert "sentinel://host:26379" in told(found("redis+cluster://localhost:6379", tmp_path)["settings"])


def test_keys_that_the_server_would_not_start_with(tmp_path: Path, started: Started) -> None:
    same = {"TOPCLIP_API_KEYS": "alice:same", "TOPCLIP_METRICS_KEY": "same"}
    assert "is one of TOPCLIP_API_KEYS" in told(found(started().url, tmp_path, **same)["settings"])


def test_no_auth(tmp_path: Path, started: Started) -> None:
    node = started()
    assert "every program of this machine" in told(found(node.url, tmp_path)["password"])
    reached = node.url.replace("127.0.0.1", "0.0.0.0")  # an address that is not loopback, and leads to it
    assert told(found(reached, tmp_path)["password"]).startswith("fail: ")
    node.client.config_set("requirepass", "secret")
    assert found(f"redis://:secret@127.0.0.1:{node.port}/0", tmp_path)["password"].grade == "ok"


def test_a_default_user_without_a_password_beside_ours(tmp_path: Path, started: Started) -> None:
    node = started()
    node.client.execute_command("ACL", "SETUSER", "web", "on", ">secret", "~*", "&*", "+@all")
    url = f"redis://web:secret@127.0.0.1:{node.port}/0"
    assert "requirepass" in told(found(url, tmp_path)["password"])
    node.client.execute_command("ACL", "SETUSER", "default", "off")
    assert found(url, tmp_path)["password"].grade == "ok"


def test_an_eviction_policy(tmp_path: Path, started: Started) -> None:
    node = started("--maxmemory-policy", "allkeys-lru")
    assert told(found(node.url, tmp_path)["eviction"]).startswith("warn: ")
    node.client.config_set("maxmemory", "200mb")
    assert "CONFIG SET maxmemory-policy noeviction" in told(found(node.url, tmp_path)["eviction"])
    assert found(node.url, tmp_path)["eviction"].grade == "fail"


def test_no_aof_and_one_that_is_never_flushed(tmp_path: Path, started: Started) -> None:
    node = started("--appendfsync", "no")
    assert "CONFIG SET appendfsync everysec" in told(found(node.url, tmp_path)["flushing"])
    node.client.config_set("appendonly", "no")
    assert "CONFIG SET appendonly yes" in told(found(node.url, tmp_path)["persistence"])


def test_little_memory(tmp_path: Path, started: Started) -> None:
    node = started("--maxmemory", "32mb")
    assert "CONFIG SET maxmemory" in told(found(node.url, tmp_path)["memory"])
    node.client.config_set("maxmemory", 0)
    node.client.set("large", b"x" * (80 << 20))
    until(lambda: node.client.info("memory")["used_memory"] < 100 << 20)  # what came in on its way is let go of
    node.client.config_set("maxmemory", int(node.client.info("memory")["used_memory"] / 0.97))
    assert told(found(node.url, tmp_path)["memory"]).startswith("fail: ")
    assert "TOPCLIP_CONCURRENCY" in told(found(node.url, tmp_path, TOPCLIP_CONCURRENCY="256")["machine memory"])


@pytest.mark.faults  # for their length
class TestClockSkew:
    @pytest.fixture
    def fast(self, tmp_path: Path) -> dict[str, str]:
        """The environment of a process whose clock is 40 s fast."""
        (tmp_path / "clock").mkdir()
        (tmp_path / "clock/sitecustomize.py").write_text(FAST_CLOCK)
        return {"PYTHONPATH": str(tmp_path / "clock")}

    def test_of_this_machine(self, tmp_path: Path, started: Started, fast: dict[str, str]) -> None:
        env = {"REDIS_URL": started().url, "TOPCLIP_DATA_DIR": str(tmp_path / "data")}
        assert "clock" not in command(env=env, cwd=tmp_path)
        assert "this machine's clock is 40 s ahead" in told(command(env=env | fast, cwd=tmp_path)["clock"])

    def test_of_a_worker_and_queues_that_nobody_serves(
        self, tmp_path: Path, started: Started, fast: dict[str, str]
    ) -> None:
        node = started()
        assert "start `topclip up`" in told(found(node.url, tmp_path)["workers"])
        settings = Settings(redis_url=node.url, data_dir=tmp_path / "data", concurrency=1)
        worker = AnalysingWorker(tmp_path, "slow", settings.to_env() | fast, 1)
        try:
            until(lambda: found(node.url, tmp_path)["workers"].message.startswith("no worker serves"), 30, worker.logs)
            checks = found(node.url, tmp_path)
            assert "no worker serves control, render" in told(checks["workers"])
            assert "is 40 s ahead of Redis'" in told(checks["worker clock"])
            assert checks["clock"].grade == "ok"
        finally:
            worker.teardown()


def test_workers_whose_leases_differ(tmp_path: Path, started: Started) -> None:
    node = started()
    settings = Settings(redis_url=node.url, data_dir=tmp_path / "data", concurrency=1)
    quick = settings.model_copy(update={"lease_s": 5.0})
    workers = [WorkerContainer(tmp_path, name, one.to_env(), 1) for name, one in (("a", settings), ("b", quick))]
    try:
        until(lambda: "leases" in found(node.url, tmp_path), 60, workers[1].logs)
        said = told(found(node.url, tmp_path)["leases"])
        assert "30 s, b@" in said
        assert "TOPCLIP_LEASE_S alike" in said
    finally:
        for worker in workers:
            worker.teardown()


class AnalysingWorker(WorkerContainer):
    """One that serves a single queue."""

    def argv(self) -> list[str]:
        return [*super().argv(), "-Q", "analyse"]


def test_an_old_ffmpeg(tmp_path: Path, started: Started) -> None:
    script = tmp_path / "ffmpeg"
    script.write_text("#!/bin/sh\necho 'ffmpeg version 4.4.2-0ubuntu0.22.04.1 Copyright (c) 2000-2021'\n")
    script.chmod(0o755)
    checks = found(started().url, tmp_path, TOPCLIP_FFMPEG=str(script))
    assert "too old: 5.1 or newer" in told(checks["ffmpeg"])
    assert "libx264" in told(checks["encoders"])


@pytest.mark.parametrize(
    ("version", "old"),
    [("3.4.8-0ubuntu0.2", True), ("n5.0.1", True), ("5.1.9-0+deb12u1", False), ("7.0", False), ("N-109468-g", False)],
)
def test_versions_of_ffmpeg(version: str, old: bool) -> None:
    assert is_old(f"ffmpeg version {version} Copyright") is old


@pytest.mark.parametrize(
    ("version", "old"), [("3.2.100", True), ("6.0.16", True), ("6.2.14", False), ("7.0.15", False)]
)
def test_versions_of_redis(version: str, old: bool) -> None:
    assert doctor_redis.is_old(version) is old


def test_a_store_beyond_its_budget(tmp_path: Path, started: Started) -> None:
    node = started()
    assert "store budget" not in found(node.url, tmp_path)
    assert "for the workers, too" in told(found(node.url, tmp_path, TOPCLIP_STORE_BUDGET_GB="1")["store budget"])
    node.client.hset("topclip:store", mapping={"used": 3 << 30, "may_go": 1 << 30, "at": 1})
    assert told(found(node.url, tmp_path, TOPCLIP_STORE_BUDGET_GB="1")["store budget"]).startswith("fail: 3.0 GiB")
    assert found(node.url, tmp_path, TOPCLIP_STORE_BUDGET_GB="2")["store budget"].grade == "ok"


@pytest.mark.parametrize(
    ("scheme", "greeting", "said"),
    [
        *((scheme, greeting, "is out of reach") for scheme in ("redis", "sentinel") for greeting in OTHERS),
        ("redis", b"-LOADING Redis is loading the dataset in memory\r\n", "wait: Redis still loads its data"),
    ],
)
def test_a_server_that_speaks_first(tmp_path: Path, scheme: str, greeting: bytes, said: str) -> None:
    """Of another kind; or Redis, that says so to whatever it is asked."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor() as pool:

        def greet() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(greeting)
                    connection.recv(4096)

        pool.submit(greet)
        check = found(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/0", tmp_path)["redis"]
        assert check.grade == "fail"
        assert said in told(check)
        listener.shutdown(socket.SHUT_RDWR)


class TestEveryKindOfLink:
    def test_sentinel(self, tmp_path: Path, started: Started) -> None:
        node = started(password="secret")
        (tmp_path / "sentinel").mkdir()
        sentinel = SentinelContainer(tmp_path / "sentinel", node, "secret")
        try:
            assert sentinel.ready()
            url = f"sentinel://:secret@127.0.0.1:{sentinel.port}/0"
            checks = found(url, tmp_path)
            assert [checks[name].grade for name in ("redis", "sentinels", "clock", "persistence")] == ["ok"] * 4
            away, plain, other = free_port(), started().port, started(password="other").port
            ports = (plain, away, other, sentinel.port)
            checks = found(";".join(f"sentinel://:secret@127.0.0.1:{port}" for port in ports), tmp_path)
            assert checks["redis"].grade == "ok"  # whoever stands before it in the list
            assert told(checks["sentinels"]).startswith("warn: of 4 sentinels 3 are of no use: ")
            assert all(f"127.0.0.1:{port}: " in told(checks["sentinels"]) for port in ports[:-1])
            alone = found(f"sentinel://:secret@127.0.0.1:{plain}", tmp_path)["redis"]
            assert "what answers there is no sentinel" in told(alone)
            node.client.execute_command("ACL", "SETUSER", "web", "on", ">odd@:pass", "~*", "&*", "+@all")
            assert found(url.replace(":secret", "web:odd%40%3Apass"), tmp_path)["redis"].grade == "ok"
            other = found(url, tmp_path, TOPCLIP_REDIS_MASTER="other")
            assert "`SENTINEL masters`" in told(other["redis"])
        finally:
            sentinel.teardown()

    def test_sentinels_that_ask_for_a_password_of_their_own(self, tmp_path: Path, started: Started) -> None:
        node = started(password="secret")
        (tmp_path / "sentinel").mkdir()
        asked = "requirepass theirs\nuser me on >mine +@all\n"
        sentinel = SentinelContainer(tmp_path / "sentinel", node, "secret", asked)
        try:
            assert sentinel.ready()
            url = f"sentinel://:secret@127.0.0.1:{sentinel.port}/0"
            assert found(url, tmp_path, TOPCLIP_SENTINEL_PASSWORD="theirs")["redis"].grade == "ok"
            user = {"TOPCLIP_SENTINEL_USER": "me", "TOPCLIP_SENTINEL_PASSWORD": "mine"}
            assert found(url, tmp_path, **user)["redis"].grade == "ok"
            for wrong in ({}, {"TOPCLIP_SENTINEL_PASSWORD": "secret"}):
                assert "TOPCLIP_SENTINEL_PASSWORD" in told(found(url, tmp_path, **wrong)["redis"])
            (tmp_path / "open").mkdir()
            other = SentinelContainer(tmp_path / "open", node, "secret")
            try:
                assert other.ready()
                beside = f"sentinel://:secret@127.0.0.1:{other.port};{url}"
                check = found(beside, tmp_path)["sentinels"]
                assert "asks for a password, or for another one: TOPCLIP_SENTINEL_PASSWORD" in told(check)
            finally:
                other.teardown()
        finally:
            sentinel.teardown()

    def test_tls(self, tmp_path: Path, started: Started) -> None:
        certificate, port = make_certificate(tmp_path, "localhost"), free_port()
        files = ["--tls-cert-file", str(certificate), "--tls-key-file", str(certificate)]
        tls = ["--tls-port", str(port), *files, "--tls-ca-cert-file", str(certificate), "--tls-auth-clients", "no"]
        node = started(*tls, binary=program("redis-server"))
        assert found(f"rediss://localhost:{port}/0", tmp_path, TOPCLIP_REDIS_CA=str(certificate))["redis"].grade == "ok"
        assert "TOPCLIP_REDIS_CA" in told(found(f"rediss://localhost:{port}/0", tmp_path)["redis"])
        (tmp_path / "none.crt").write_text("not one")
        for name in ("missing.crt", "none.crt"):
            wrong = found(f"rediss://localhost:{port}/0", tmp_path, TOPCLIP_REDIS_CA=str(tmp_path / name))["redis"]
            assert f"the certificates {tmp_path / name} cannot be read" in told(wrong)
        assert "speaks TLS" in told(found(f"rediss://localhost:{node.port}/0", tmp_path)["redis"])
        assert "rediss://" in told(found(f"redis://localhost:{port}/0", tmp_path)["redis"])

    def test_an_acl_user_who_may_not_ask(self, tmp_path: Path, started: Started) -> None:
        node = started(binary=program("redis-server"))
        url = f"redis://web:secret@127.0.0.1:{node.port}/0"
        rights = ["on", ">secret", "~topclip:*", "&topclip:*", "+@read", "+@write", "+@connection", "+time", "+info"]
        node.client.execute_command("ACL", "SETUSER", "web", *rights)
        checks = found(url, tmp_path)
        assert checks["redis"].grade == "ok"
        assert "no CONFIG GET" in checks["flushing"].message
        node.client.execute_command("ACL", "SETUSER", "web", "-@write")
        assert "users.acl" in told(found(url, tmp_path)["redis"])
        node.client.execute_command("ACL", "SETUSER", "web", "-info")
        assert "ACL denies" in told(found(url, tmp_path)["redis"])


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired", "out of date"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get issuer", "TOPCLIP_REDIS_CA"),
        ("DENIED Redis is running in protected mode because protected mode is enabled", "requirepass"),
    ],
)
def test_what_no_server_here_says(said: str, advice: str) -> None:
    assert advice in next(told for pattern, told in doctor_redis.CAUSES if re.search(pattern, said))


def test_a_cluster(tmp_path: Path, started: Started) -> None:
    node = started("--cluster-enabled", "yes", "--cluster-port", str(free_port()), binary=program("redis-server"))
    assert "Sentinel for fail-over" in told(found(node.url, tmp_path)["redis"])
