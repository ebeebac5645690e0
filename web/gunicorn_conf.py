"""gunicorn: one process with threads, so that one cache and one subscription serve all its clients."""

import ctypes
import logging
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

from gunicorn.glogging import Logger

from topclip.config import Settings
from topclip.errors import TopClipError
from topclip.storage.factory import store_for
from web import open_files
from web.app import stop
from web.doors import check_exposure
from web.keys import KeyRing
from workers.cluster import refuse_cluster
from workers.logs import configure

PR_SET_PDEATHSIG = 1  # linux/prctl.h

_settings = Settings.from_env()

_host = f"[{_settings.host}]" if ":" in _settings.host else _settings.host  # an IPv6 address, as gunicorn reads it
bind = f"{_host}:{_settings.port}"
wsgi_app = "web.wsgi:create_app_from_env()"
worker_class = "web.server.Worker"
workers = 1
threads = _settings.web_threads
worker_connections = _settings.web_threads + 1000  # the rest is for kept-alive connections, which hold no thread
keepalive = 5
timeout = 30
graceful_timeout = 10
loglevel = _settings.log_level.lower()
proc_name = "topclip-web"
control_socket_disable = True
forwarder_headers = ""  # a client's header `PATH_INFO` is no path; TOPCLIP_TRUSTED_PROXIES says whom to believe


class RootLogger(Logger):  # type: ignore[misc]  # gunicorn is untyped here
    """Leaves gunicorn's own lines to the root logger, so that all have one form."""

    def setup(self, cfg: Any) -> None:
        """Called when gunicorn starts."""
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True


configure(_settings)
if _settings.log_format == "json":
    logger_class = RootLogger


def on_starting(server: Any) -> None:
    """Refuse what the application would refuse, without a traceback."""
    hosts = [address[0] for address in server.cfg.address if isinstance(address, tuple)]
    try:
        store = store_for(_settings, for_requests=True)
        store.check()
        check_exposure(KeyRing(_settings, store), hosts)
        refuse_cluster(_settings)
    except TopClipError as err:
        raise RuntimeError(
            f"{err.message}: {err.hint}" if err.hint else err.message
        ) from err  # gunicorn prints it, and ends
    if (allowed := open_files.allow(_settings)) < (wanted := open_files.needed(_settings)):
        text = "[WARN] %d open files are allowed, %d may be needed: raise `ulimit -n`, or lower TOPCLIP_MAX_STREAMS"
        logging.getLogger(__name__).warning(text, allowed, wanted)


def post_fork(server: Any, worker: Any) -> None:
    """Die with gunicorn's master (Linux): else requests, or a worker that is frozen, keep the port from whoever starts next."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != server.pid:  # it died before the call: nobody would tell us
            sys.exit("the web server's master is gone")


def post_worker_init(worker: Any) -> None:
    """On SIGTERM those who follow a job are sent home first: gunicorn waits for every answer under way."""
    finish = signal.getsignal(signal.SIGTERM)

    def on_term(number: int, frame: FrameType | None) -> None:
        threading.Thread(target=stop, args=(worker.app.wsgi(),), name="stop").start()
        if callable(finish):
            finish(number, frame)

    signal.signal(signal.SIGTERM, on_term)
