"""gunicorn: one process with threads, so that one cache and one subscription serve all its clients."""

import logging
import signal
import threading
from types import FrameType
from typing import Any

from topclip.config import Settings
from web.app import stop

_settings = Settings.from_env()

bind = f"{_settings.host}:{_settings.port}"
wsgi_app = "web.wsgi:create_app_from_env()"
worker_class = "gthread"
workers = 1
threads = _settings.web_threads
worker_connections = _settings.web_threads + 1000  # the rest is for kept-alive connections, which hold no thread
keepalive = 5
timeout = 30
graceful_timeout = 10
loglevel = _settings.log_level.lower()
proc_name = "topclip-web"
control_socket_disable = True


def on_starting(server: Any) -> None:
    """Log as gunicorn does, on standard error."""
    logging.basicConfig(level=_settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")


def post_worker_init(worker: Any) -> None:
    """On SIGTERM those who follow a job are sent home first: gunicorn waits for every answer under way."""
    finish = signal.getsignal(signal.SIGTERM)

    def on_term(number: int, frame: FrameType | None) -> None:
        threading.Thread(target=stop, args=(worker.app.wsgi(),), name="stop").start()
        if callable(finish):
            finish(number, frame)

    signal.signal(signal.SIGTERM, on_term)
