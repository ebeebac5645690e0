"""What the worker's main process does when the process that ran a task is gone.

Only the main process sees it: a task whose process was killed (for memory, by hand) goes back to its queue, and at the third
death of its part it ends with that reason. What counts as a death is in workers/scripts.py; parts that take the whole worker
down are seen at their next start (workers/pulse.py).
"""

import logging
from typing import Any

from billiard.exceptions import WorkerLostError
from celery.app.task import Context
from celery.worker import state as worker_state
from celery.worker.request import Request
from redis.exceptions import RedisError

from topclip.errors import Killed
from workers.backend import fence, header_of, revoked_meta
from workers.lease import LEASES

log = logging.getLogger(__name__)

KILLS_ALLOWED = 3


class CountingRequest(Request):  # type: ignore[misc]
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
        kills = int(self._ask("killed", header, header["part"]) or 0)
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
        if self.task.is_part:
            value = self.task.failed_part(error, **self.kwargs)
            self.task.backend.mark_as_done(self.id, value, request=context, store_result=True)
        else:
            self.task.backend.mark_as_failure(self.id, error, request=context, store_result=True)
