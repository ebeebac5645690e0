"""Reads again what changed, without being asked: once Redis is away, the last known status is one of its last second.

One thread a process. It reads only live jobs that are cached and of which an event came, each once a second at most.
"""

import logging
import threading
from collections.abc import Callable

from topclip.errors import FAULTS, JobExpired, QueueUnavailable, UnknownJob
from web.status_cache import LIVE_S, StatusCache

log = logging.getLogger(__name__)

BATCH = 32
"""Jobs read in one go; a burst of changes is spread, oldest change first."""
PAUSE_S = 0.1


class Refresher:
    """Keeps the cache's live statuses near the last word of Redis."""

    def __init__(self, cache: StatusCache, is_up: Callable[[], bool]) -> None:
        self._cache = cache
        self._is_up = is_up
        self._woken = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="refresher", daemon=True)

    def start(self) -> None:
        """Begin. Call it after a fork, never before."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2)

    def wake(self) -> None:
        """Something changed. Quick, and from any thread."""
        self._woken.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._woken.wait(LIVE_S)  # a read that was overtaken by an event leaves work too
            self._woken.clear()
            while self._cache.has_changed and not self._stopped.is_set():
                self.refresh()
                self._stopped.wait(PAUSE_S)

    def refresh(self) -> None:
        """Read a batch of what changed; nothing while Redis does not answer."""
        for job_id in self._cache.changed(BATCH):
            if self._stopped.is_set() or not self._is_up():
                return
            try:
                self._cache.get(job_id)
            except QueueUnavailable:
                return
            except (UnknownJob, JobExpired) as err:  # the cache has dropped it
                log.debug("job %s: %s", job_id, err)
            except FAULTS as err:
                log.warning("job %s could not be read again: %r", job_id, err)
