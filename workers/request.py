"""What the worker's main process does as a task begins and ends: it takes the times, and sees when the process that ran it is
gone.

Only the main process sees it: a task whose process was killed (for memory, by hand) goes back to its queue, and at the third
death of its part it ends with that reason. What counts as a death is in workers/scripts.py; parts that take the whole worker
down are seen at their next start (workers/pulse.py).
"""

import logging
import time
from typing import Any

from billiard.exceptions import WorkerLostError
from celery.app.task import Context
from celery.worker import state as worker_state
from celery.worker.request import Request
from redis.exceptions import RedisError

from topclip.errors import Killed
from workers import figures, names
from workers.backend import fence, header_of, revoked_meta
from workers.figures import FIGURES
from workers.lease import LEASES
from workers.logs import OF_A_PART

log = logging.getLogger(__name__)

KILLS_ALLOWED = 3


class TimedRequest(Request):  # type: ignore[misc]
    """A request that counts how long it waited, and how long each run of it took that came to an outcome."""

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """A process has begun it."""
        super().on_accepted(pid, time_accepted)
        ready_at = (self.message.headers or {}).get(names.READY_AT)
        if ready_at is not None:  # a message of an older version does not say
            waited_s = self.time_start + LEASES.redis_ahead_s - ready_at
            FIGURES.took(figures.WAIT, self.delivery_info["routing_key"], max(0.0, waited_s))

    def acknowledge(self) -> None:
        """It is over, or will be tried again by another message."""
        if self.time_start and not self.acknowledged:
            FIGURES.took(figures.RUN, names.short(self.name), max(0.0, time.time() - self.time_start))
        super().acknowledge()


class CountingRequest(TimedRequest):
    """A request that asks how often its part has died."""

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """End a task that was killed too often; leave everything else to Celery."""
        exc = getattr(exc_info.exception, "exc", exc_info.exception)  # billiard wraps what crossed processes
        lost = isinstance(exc, WorkerLostError | SystemExit)
        header = header_of(self._context)
        if not (lost and header) or worker_state.should_terminate or self._already_cancelled:
            return super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)
        worker_state.task_ready(self)  # before all that could fail: whatever escapes here, billiard logs and drops
        LEASES.died(self.message.delivery_tag)
        FIGURES.count(figures.KILLS, "died")
        kills = int(self._ask("killed", header, header["part"]) or 0)
        about = {"data": {"id": self.id, "name": self.name}} | {key: header[key] for key in OF_A_PART}
        log.error("%s[%s] died with its process, time %d of %d", self.name, self.id, kills, KILLS_ALLOWED, extra=about)
        if kills < KILLS_ALLOWED:
            return super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)
        self._give_up(self._context, kills)
        self._ask("finish", header, header["part"], "done", revoked_meta(header["job"], header["epoch"]))
        self.acknowledge()
        return None

    def _ask(self, script: str, header: dict[str, Any], *args: Any) -> Any:
        """What a script says; None while Redis is away: the death ends nothing then, and the delivery goes back later."""
        try:
            return self.task.backend._scripts(script, header["job"], *fence(header), *args)
        except RedisError as err:
            log.warning("%s[%s] was killed while Redis is away: %s", self.name, self.id, err)
            return None

    def _give_up(self, context: Context, kills: int) -> None:
        error = Killed(
            f"the process of {self.task.name} was killed, and no try of {kills} came to its end",
            {"hint": "Most often memory ran out: give the worker more, or lower its concurrency."},
        )
        log.error("%s[%s] gave up: %s", self.name, self.id, error)
        FIGURES.count(figures.FAILURES, f"{names.short(self.name)}/{error.code}")
        if self.task.is_part:
            value = self.task.failed_part(error, **self.kwargs)
            self.task.backend.mark_as_done(self.id, value, request=context, store_result=True)
        else:
            self.task.backend.mark_as_failure(self.id, error, request=context, store_result=True)
