"""What a worker takes of its machine, measured every few seconds for its heartbeat.

In a thread of its own: a network folder that hangs must not keep the keeper from its leases.
"""

import contextlib
import logging
import threading
import time
from typing import Any, Final

import psutil
from celery import bootsteps

from topclip.config import Settings
from topclip.media.limits import there_is_memory
from topclip.storage.base import ArtifactStore
from topclip.storage.factory import store_for
from workers.links import FAULTS

log = logging.getLogger(__name__)

EVERY_S: Final = 5.0


class Footprint(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery is untyped here
    """The thread, and what it measured last: `worker.footprint`, names of the heartbeat's fields to bytes."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        worker.footprint = {}

    def start(self, worker: Any) -> None:
        """Begin to measure. The thread ends with the process."""
        threading.Thread(target=_measure, args=(worker,), name="footprint", daemon=True).start()


def _measure(worker: Any) -> None:
    store: ArtifactStore | None = None
    while True:
        try:
            store = store or store_for(Settings.from_env(), is_made=False)
            found = {"memory_bytes": tree_memory(), "memory_limit_bytes": there_is_memory()}
            worker.footprint = found
            worker.footprint = found | {"disk_free_bytes": store.free_bytes()}
        except FAULTS as err:
            log.warning("what this worker takes could not be measured: %s: %s", type(err).__name__, err)
        time.sleep(EVERY_S)


def tree_memory(root: psutil.Process | None = None) -> int:
    """Bytes that a process and all below it hold, those of ffmpeg too; what several share counts once where Linux tells."""
    root = root or psutil.Process()
    n_bytes = 0
    for process in (root, *root.children(recursive=True)):
        with contextlib.suppress(psutil.Error):  # it has just ended
            info = process.memory_full_info()
            n_bytes += getattr(info, "pss", info.rss)
    return n_bytes
