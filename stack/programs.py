"""The command lines of the children: worker, web server, Flower, embedded Redis."""

import secrets
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stack import ports
from stack.redis_server import RedisServer, answers
from stack.supervisor import Program
from topclip.config import Settings

PYTHON = (sys.executable, "-P", "-m")  # -P: a folder named `web` in the working directory must not shadow ours
FLOWER_CONF = Path(__file__).with_name("flowerconfig.py")
REDIS_STOP_S = 30.0  # it writes its data on SIGTERM
WORKER_STOP_S = 15.0  # beyond the time that its tasks have to end: it hands back what still runs, in 10 s at most
WEB_STOP_S = 10.0
FLOWER_STOP_S = 5.0


def keyless_env(settings: Settings, **extra: str) -> dict[str, str]:
    """The environment of a child that has no use for API keys: a worker hands its own on to ffmpeg."""
    doors = ("TOPCLIP_API_KEY", "TOPCLIP_METRICS_KEY")
    return {k: v for k, v in settings.child_env(**extra).items() if not k.startswith(doors)}


def redis_program(server: RedisServer, settings: Settings) -> Program:
    """The embedded Redis."""
    return Program(
        "redis", server.argv, keyless_env(settings), stop_s=REDIS_STOP_S, is_heard=lambda: answers(server.url)
    )


def worker_program(settings: Settings, node: str) -> Program:
    """One Celery worker."""
    # Media work takes every core it can get; the server, Redis and the person at the machine come first.
    argv = ["nice", "-n", "10", *PYTHON, "celery", "-A", "workers.app:app", "worker", "-n", node, "-O", "fair"]
    argv += ["--without-mingle", "--without-gossip", "-l", settings.log_level]
    env = keyless_env(settings, PYTHONUNBUFFERED="1")
    return Program("worker", lambda: argv, env, stop_s=settings.drain_s + WORKER_STOP_S)


def web_program(settings: Settings, listener: socket.socket) -> Program:
    """The web server, on a socket that `up` holds: while it restarts, clients wait instead of being refused."""
    fd = listener.fileno()
    argv = (
        *PYTHON,
        "gunicorn",
        "-c",
        "python:web.gunicorn_conf",
        "--bind",
        f"fd://{fd}",
        "web.wsgi:create_app_from_env()",
    )
    env = settings.child_env(PYTHONUNBUFFERED="1")
    return Program("web", lambda: argv, env, stop_s=WEB_STOP_S, keep_fds=(fd,))


@dataclass
class FlowerServer:
    """Flower on loopback, read-only, its history in a file. Port 0 means a free one, chosen again while nobody knows
    it yet.
    """

    settings: Settings
    db: Path
    port: int = 0
    is_settled: bool = False

    @property
    def url(self) -> str:
        """Where its page is."""
        return f"http://127.0.0.1:{self.port}"

    def program(self) -> Program:
        """Flower under the supervisor."""
        secret = self.settings.secret_key or secrets.token_urlsafe(48)
        env = keyless_env(
            self.settings, PYTHONUNBUFFERED="1", FLOWER_UNAUTHENTICATED_API="true", FLOWER_COOKIE_SECRET=secret
        )
        return Program("flower", self.argv, env, stop_s=FLOWER_STOP_S)

    def argv(self) -> Sequence[str]:
        """The command line. Flower itself puts a damaged history aside."""
        if not self.settings.flower_port and not self.is_settled:
            self.port = ports.free_port()
        elif not self.port:
            self.port = self.settings.flower_port
        options = {
            "address": "127.0.0.1",
            "port": self.port,
            "conf": FLOWER_CONF,
            "read_only": True,
            "persistent": True,
            "db": self.db.absolute(),
            "state_save_interval": 60_000,  # ms
            "max_tasks": 20_000,
            "purge_offline_workers": 300,  # s
            "task_runtime_metric_buckets": "0.1,0.5,1,5,15,60,300,1800,7200",
        }
        flags = (f"--{name}={value}" for name, value in options.items())
        return (*PYTHON, "celery", "-A", "workers.app:app", "flower", *flags)
