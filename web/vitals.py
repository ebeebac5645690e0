"""How the service is: Redis, queue, workers, store. Looked at once a second at most, whoever asks."""

import logging
import threading
from dataclasses import asdict, dataclass
from time import monotonic
from typing import Any

from topclip import __version__
from topclip.config import Settings
from topclip.errors import QueueUnavailable, StorageError
from topclip.storage.base import ArtifactStore
from web.errors import STORE_AWAY
from workers.budget import StoreUse
from workers.client import JobClient, Watch

log = logging.getLogger(__name__)

KEEP_S = 1.0
LOW_DISK_BYTES = 1 << 30
DEAF = "Changes of jobs are not heard of: the subscription to Redis is about to begin, or to begin anew."


@dataclass(frozen=True)
class Vital:
    """One look at the service: the document of `/health`, and the whole report of Redis, None while it is away."""

    document: dict[str, Any]
    report: dict[str, Any] | None

    @property
    def is_ready(self) -> bool:
        """Whether jobs can be taken: Redis and the store answer, and Redis writes."""
        redis, store = self.document["redis"], self.document["store"]
        return bool(redis["status"] != "down" and redis["writes"] and store["status"] != "down")


class Vitals:
    """The last look, shared by all who ask within a second."""

    def __init__(self, settings: Settings, client: JobClient, store: ArtifactStore, watch: Watch) -> None:
        self._settings = settings
        self._client = client
        self._store = store
        self._watch = watch
        self._lock = threading.Lock()
        self._last: tuple[float, Vital] | None = None
        self._jobs: dict[str, int] = {}
        self._is_store_up = True

    def look(self) -> Vital:
        """How the service is, no older than a second."""
        with self._lock:
            if self._last is None or monotonic() - self._last[0] >= KEEP_S:
                vital = self._examine()
                self._last = (monotonic(), vital)
            return self._last[1]

    def _examine(self) -> Vital:
        report, found = self._ask_redis()
        store = self._ask_store() | self._budget(found.pop("store_use", None))
        workers = found["workers"]
        parts = [found["redis"]["status"], store["status"]]
        if "down" in parts:
            status = "down"
        elif "degraded" in parts or not workers:
            status = "degraded"
        else:
            status = "ok"
        return Vital({"status": status, "version": __version__, **found, "store": store}, report)

    def _ask_redis(self) -> tuple[dict[str, Any] | None, dict[str, Any]]:
        url = self._settings.masked_redis_url
        try:
            found = self._client.health()
        except QueueUnavailable as err:
            redis = {"status": "down", "url": url, "error": err.message}
            return None, {"redis": redis, "jobs": self._jobs, "queue_depth": None, "workers": []}
        self._jobs = found["jobs"]
        deaf = [] if self._watch.is_up else [DEAF]
        warnings = [*found["redis"].get("warnings", ()), *deaf]
        status = "degraded" if warnings else "ok"
        told = {"status": status, "url": url, **found["redis"], "warnings": warnings}
        return found, {"redis": told, **{k: found[k] for k in ("jobs", "queue_depth", "workers", "store_use")}}

    def _budget(self, use: StoreUse | None) -> dict[str, Any]:
        """How much of its budget the store holds, where it has one."""
        budget = self._settings.store_budget_bytes
        if not budget:
            return {}
        return {"budget_bytes": budget, **(asdict(use) if use else {})}

    def _ask_store(self) -> dict[str, Any]:
        try:
            free = self._store.free_bytes()
            self._store.exists("jobs/none")
        except StorageError as err:
            if self._is_store_up:
                log.warning("the store is down: %s", err)  # which names what strangers need not know
            self._is_store_up = False
            return {"status": "down", "free_bytes": None, "error": STORE_AWAY}
        self._is_store_up = True
        return {"status": "degraded" if free is not None and free < LOW_DISK_BYTES else "ok", "free_bytes": free}
