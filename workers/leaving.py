"""How a worker leaves: it takes no more tasks, and what it runs ends, within a bound or however long that takes.

SIGTERM, SIGQUIT and Ctrl-C give what runs `TOPCLIP_DRAIN_S` seconds; the rest then goes back to its queue at once.
`topclip drain` waits for the end of all. A worker whose loop does not end after that, since it waits for a Redis that is
frozen, leaves without it: its leases end by themselves.
Celery's own ways block the worker's loop meanwhile, so that a message that was just taken from its queue lies in the socket,
known to nobody, and tasks that end are not acknowledged; or they wait for ever.
"""

import contextlib
import logging
import math
import os
import signal
import threading
import time
from types import FrameType
from typing import Any, NoReturn
from uuid import uuid4

from celery import bootsteps
from celery.platforms import EX_OK
from celery.worker import state as worker_state
from celery.worker.control import control_command

from topclip.config import Settings

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT)
LOOK_EVERY_S = 0.1
END_S = 10.0
"""Longest time from the end of the wait to that of the process: it hands back what it holds and says goodbye."""


class Leaving(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery is untyped here
    """The place in the worker of what hears the signals."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self._window_s = Settings.from_env().drain_s
        self._ends_at: float | None = None
        self._was_told = self._is_over = False
        self.run = uuid4().hex  # a container that is started again has the name and the process id of before
        worker.leaving = self

    def start(self, worker: Any) -> None:
        """Hear the signals, in place of Celery's handlers."""
        self._worker = worker
        self._cold = signal.getsignal(signal.SIGQUIT)
        for number in SIGNALS:
            signal.signal(number, self._on_signal)

    def leave(self, within_s: float | None) -> None:
        """Take no more tasks, and end when those that run have ended; after so many seconds without those that have not.

        Asked more than once, what ends sooner counts.
        """
        bound_s = math.inf if within_s is None else within_s
        was, ends_at = self._ends_at, time.monotonic() + bound_s
        if was is not None and was <= ends_at:
            return
        log.warning("leaving: no more tasks are taken; those that run may end within %g s", bound_s)
        self._ends_at = ends_at
        if was is not None:
            return
        consumer = self._worker.consumer
        for queue in list(consumer.app.amqp.queues.consume_from):
            consumer.call_soon(_take_no_more, consumer, queue)
        threading.Thread(target=self._wait, name="leaving", daemon=True).start()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._is_over and callable(self._cold):
            self._cold(number, frame)  # Celery's cold shutdown: what still runs is stopped and handed back
            return
        self.leave(0.0 if self._was_told else self._window_s)  # a second signal cuts the wait short
        self._was_told = True

    def _wait(self) -> None:
        while _is_busy() and time.monotonic() < (self._ends_at or 0.0):
            time.sleep(LOOK_EVERY_S)
        if _is_busy():
            self._is_over = True
            os.kill(os.getpid(), signal.SIGQUIT)
        else:
            worker_state.should_stop = EX_OK
        time.sleep(END_S)  # this thread ends with the process, most often long before
        self._break_off()

    def _break_off(self) -> NoReturn:
        """End this process and those of its tasks, whatever its loop waits for."""
        log.error(
            "the worker's loop does not end: Redis does not answer, most likely; what it held returns by its leases"
        )
        try:
            pool = self._worker.pool._pool  # None once it was stopped
            for process in list(pool._pool) if pool else []:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
        finally:
            os._exit(EX_OK)


def _take_no_more(consumer: Any, queue: str) -> None:
    """From this queue; one that takes nothing yet, since it has not reached Redis, is not to begin."""
    if consumer.task_consumer is None:
        consumer.app.amqp.queues.deselect(queue)
    else:
        consumer.cancel_task_queue(queue)


def _is_busy() -> bool:
    """Whether a task runs or is about to; one that waits to be tried again does not count, it is handed back."""
    with contextlib.suppress(RuntimeError):  # a weak set changed while it was looked through
        return bool(set(worker_state.reserved_requests) - set(worker_state.scheduled_requests))
    return True


@control_command(name="leave")  # type: ignore[untyped-decorator]
def leave(state: Any, runs: list[str]) -> dict[str, str]:
    """Leave when all that runs has ended, if this run of the worker is among those that are meant: what `topclip drain`
    broadcasts. One that was started in the place of another has its name, and in a container its process id as well.
    """
    leaving = state.consumer.controller.leaving
    if leaving.run not in runs:
        return {"ok": "another is meant"}
    leaving.leave(None)
    return {"ok": "leaving"}
