"""The whole stack in the foreground: wiring, readiness and order. `stack.supervisor` keeps the children alive."""

import secrets
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass

import httpx
from redis.exceptions import RedisError

from stack import ports
from stack.console import Console
from stack.programs import FlowerServer, redis_program, web_program, worker_program
from stack.redis_server import DataFolderLock, RedisServer, answers
from stack.slot import Slot
from stack.supervisor import Supervisor
from topclip.config import Settings
from topclip.errors import ConfigError, StorageError
from topclip.media.binary import find_ffmpeg
from topclip.storage.factory import store_for
from web.doors import check_exposure
from web.keys import KeyRing
from workers.cluster import refuse_cluster
from workers.health import report
from workers.links import KEEPER, redis_client
from workers.refusal import reason

STOP_ORDER = ("web", "worker", "flower", "redis")
ASK_TIMEOUT_S = 2.0
REMIND_S = 15.0


@dataclass(frozen=True)
class Urls:
    """Where everything is. `flower` is None where there is none; a password in `redis` is masked."""

    web: str
    flower: str | None
    redis: str

    def to_dict(self) -> dict[str, str | None]:
        """As `topclip up --json` prints it."""
        return asdict(self)


def run(settings: Settings, *, has_flower: bool, on_ready: Callable[[Urls], None]) -> None:
    """Run the stack until SIGTERM, SIGINT or SIGHUP.

    settings: an explicit `redis_url` names the server to use; without one the embedded server is started.
    on_ready: called once, when web and Flower answer and the worker was seen.
    Raises: ConfigError if a setting, a port or the data folder will not do, with nothing started; StartupFailed if a
    child cannot be started.
    """
    check(settings)
    console = Console()
    is_embedded = "redis_url" not in settings.model_fields_set
    with ExitStack() as cleanup:
        slot = cleanup.enter_context(Slot(settings.data_dir))
        if is_embedded:
            cleanup.enter_context(DataFolderLock(settings.data_dir))
        listener = cleanup.enter_context(ports.listen(settings.host, settings.port, option="--port"))
        if has_flower and settings.flower_port:
            ports.require_free(settings.flower_port, option="--flower-port")
        supervisor = cleanup.enter_context(Supervisor(console, slot.log_dir, STOP_ORDER))
        if is_embedded:
            url = _start_redis(supervisor, settings)
            settings = settings.model_copy(update={"redis_url": url})
        settings = settings.model_copy(update={"port": listener.getsockname()[1]})
        flower = FlowerServer(settings, slot.flower_db) if has_flower else None
        if not supervisor.is_stopping:
            _Stack(supervisor, settings, console, flower, listener).serve(on_ready)
        console.say("up", "stopping")


def check(settings: Settings) -> None:
    """What the children would refuse to start or fail every job with. Raises: ConfigError."""
    find_ffmpeg(settings.ffmpeg)
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        hint = "let this user write there, or name another folder with --data-dir"
        detail = {"field": "data_dir", "hint": hint}
        raise ConfigError(f"the data folder {settings.data_dir} cannot be made: {err.strerror}", detail) from err
    try:
        ring = KeyRing(settings, store_for(settings, for_requests=True))
    except StorageError as err:
        text = f"the store cannot be opened: {err.message}"
        raise ConfigError(text, {"field": "store", "hint": err.hint}) from err
    check_exposure(ring, [settings.host])
    if "redis_url" in settings.model_fields_set:
        refuse_cluster(settings)


def _start_redis(supervisor: Supervisor, settings: Settings) -> str:
    """Start the embedded server and wait until it has loaded its data; its URL."""
    server = RedisServer.prepare(settings.data_dir)
    supervisor.add(redis_program(server, settings))
    supervisor.run_until(lambda: answers(server.url))
    server.is_settled = True
    return server.url


class _Stack:
    """Worker, web and Flower over one Redis."""

    def __init__(
        self,
        supervisor: Supervisor,
        settings: Settings,
        console: Console,
        flower: FlowerServer | None,
        listener: socket.socket,
    ) -> None:
        self._supervisor, self._settings, self._console = supervisor, settings, console
        self._flower, self._listener = flower, listener
        # A name of its own at each start: the last one's heartbeats must not pass for this worker's.
        self._node = f"topclip-{secrets.token_hex(3)}@{socket.gethostname()}"
        self._remind_at = time.monotonic() + REMIND_S

    @property
    def _web_url(self) -> str:
        host = self._settings.host
        shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
        return f"http://{shown}:{self._settings.port}"

    def serve(self, on_ready: Callable[[Urls], None]) -> None:
        """Start the children, report once they serve, and keep them until the end."""
        self._supervisor.add(worker_program(self._settings, self._node))
        self._supervisor.add(web_program(self._settings, self._listener))
        if self._flower:
            self._supervisor.add(self._flower.program())
        with httpx.Client(timeout=ASK_TIMEOUT_S, trust_env=False) as http:
            if not self._supervisor.run_until(lambda: self._is_ready(http)):
                return
        self._supervisor.is_settled = True
        if self._flower:
            self._flower.is_settled = True
        on_ready(Urls(self._web_url, self._flower.url if self._flower else None, self._settings.masked_redis_url))
        self._supervisor.run_until(lambda: False, poll_s=1.0)

    def _is_ready(self, http: httpx.Client) -> bool:
        missing = self._missing(http)
        if missing and time.monotonic() > self._remind_at:
            self._console.say("up", f"still waiting: {missing}")
            self._remind_at = time.monotonic() + REMIND_S
        return missing is None

    def _missing(self, http: httpx.Client) -> str | None:
        """What is not there yet, in words."""
        if not _is_ok(http, f"{self._web_url}/health/live"):
            return "the web server does not answer"
        if _json(http, f"{self._web_url}/health/ready").get("redis") not in ("ok", "degraded"):
            return f"Redis at {self._settings.masked_redis_url} {self._why()}"
        if not self._has_worker(_json(http, f"{self._web_url}/health").get("workers")):
            return "the worker has not been seen"
        if self._flower and not _is_ok(http, f"{self._flower.url}/healthcheck"):
            return "Flower does not answer"
        return None

    def _why(self) -> str:
        """What is the matter with Redis, by asking it."""
        try:
            with redis_client(self._settings, KEEPER) as redis:
                redis.ping()
        except RedisError as err:
            return reason(err)
        return "is not reached by the web server yet"

    def _has_worker(self, told: object) -> bool:
        """Whether the worker was seen. told: the workers, if the web server told us; where keys are asked Redis is."""
        if isinstance(told, list):
            return any(worker.get("name") == self._node for worker in told)
        try:
            with redis_client(self._settings, KEEPER) as redis:
                workers = report(redis, self._settings.key_prefix)["workers"]
        except RedisError:
            return False
        return any(worker["name"] == self._node for worker in workers)


def _is_ok(http: httpx.Client, url: str) -> bool:
    try:
        return http.get(url).is_success
    except httpx.HTTPError:
        return False


def _json(http: httpx.Client, url: str) -> dict[str, object]:
    """A JSON object whatever the HTTP status: /health/ready answers 503 while Redis is away."""
    try:
        document = http.get(url).json()
    except (httpx.HTTPError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
