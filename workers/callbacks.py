"""Telling a job's end to the URL that its client gave, at least once, by a task of its own.

The script that ends a job writes in the same step that a callback is owed, so that no death of a process can come between. What
is due waits in Redis, not in a worker: each try is a message of its own, published when its time has come, and bounded in time.
One try at a time for each receiver, a rest that doubles for those that do not answer, and half of all workers' slots at most:
a dead receiver holds nothing up. A newer end of the job takes the place of an older one that was not told yet.
"""

import json
import logging
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from celery import Celery, bootsteps

from topclip.config import Settings
from topclip.errors import InvalidRequest, UrlRefused, UrlUnreachable
from topclip.model.base import JsonDict
from topclip.model.callback import CallbackLog, CallbackTry
from topclip.model.job import JobStatus
from topclip.outbound.http import Outbound, Patience
from topclip.outbound.text import shown
from topclip.outbound.webhook import signed_headers
from workers import names
from workers.lease import LEASES
from workers.links import FAULTS, KEEPER, redis_client
from workers.scripts import Scripts
from workers.status import read_status

log = logging.getLogger(__name__)

TICK_S: Final = 1.0
DELAYS_S: Final = (5, 300, 1800, 7200, 18_000, 36_000, 50_400)
"""Pauses before the second try and those after it, some 32 hours in all. Source: those that Standard Webhooks suggests."""
JITTER: Final = (1.0, 1.25)
PATIENCE: Final = Patience(connect_s=5.0, idle_s=10.0, total_s=12.0)
TRY_S: Final = 20.0
"""More than a try takes, whatever happens in it."""
WAIT_S: Final = 60.0
"""After it a receiver is no longer kept for a try whose message has not come to its turn."""
CLAIM_S: Final = 600.0
"""After it the message of a try is taken for lost."""
REST_S: Final = (2.0, 300.0)
"""Shortest and longest rest of a receiver that does not answer."""
GONE: Final = 410
TOLD: Final = {
    "id",
    "state",
    "stage",
    "name",
    "error",
    "clips",
    "attempts",
    "epoch",
    "created_at",
    "finished_at",
    "expires_at",
}


class Callbacks(bootsteps.StartStopStep):  # type: ignore[misc]
    """The thread in each worker that publishes the tries that are due; which of them takes one does not matter, and of a
    large fleet only some look each second."""

    requires = ("celery.worker.components:Pool",)

    def start(self, worker: Any) -> None:
        """Begin to look. The thread ends with the process."""
        threading.Thread(target=_look, args=(worker.app,), name="callbacks", daemon=True).start()


def _look(app: Celery) -> None:
    settings = Settings.from_env()
    scripts = Scripts(redis_client(settings, KEEPER), settings.key_prefix)
    while True:
        time.sleep(TICK_S)
        try:
            if LEASES.is_our_turn():
                publish_due(app, scripts)
        except FAULTS as err:
            log.warning("callbacks: this look failed: %s: %s", type(err).__name__, err)


def publish_due(app: Celery, scripts: Scripts) -> None:
    """Publish the tries whose time has come. Raises: RedisError, OperationalError."""
    for job_id, epoch, n in scripts("claim_callbacks", "", CLAIM_S, WAIT_S):
        app.send_task(
            names.CALLBACK,
            kwargs={"job_id": job_id, "epoch": int(epoch), "n": int(n)},
            task_id=names.task_id(job_id, int(epoch), names.part_name("callback", int(n))),
            root_id=job_id,
            queue=names.QUEUE_OF[names.CALLBACK],
            **names.shown(job_id, int(epoch), names.part_name("callback", int(n))),
        )


@dataclass(frozen=True)
class Courier:
    """Who tells."""

    scripts: Scripts
    outbound: Outbound
    secrets: Sequence[str]

    def tell(self, job_id: str, epoch: int, n: int) -> None:
        """Make try `n` (from 0) to tell the end of an attempt, unless it was told or is not the job's any more.

        Raises: RedisError.
        """
        if self.scripts("begin_callback", job_id, epoch, n, TRY_S) != "OK":
            return
        reply = self.scripts("read", job_id)
        if isinstance(reply, str):
            return
        status = read_status(job_id, reply)
        if status.epoch == epoch:
            self._tell(status, _url(reply), n)
        else:  # it was started again just now
            self.scripts("begin_callback", job_id, epoch, n, TRY_S)

    def _tell(self, status: JobStatus, url: str, n: int) -> None:
        at, began = datetime.now(UTC), time.monotonic()
        answer, error, is_dead, is_final = self._post(status, url)
        outcome = "DELIVERED" if error is None else "GIVEN_UP" if is_final or n >= len(DELAYS_S) else "PENDING"
        delay_s = DELAYS_S[n] * random.uniform(*JITTER) if outcome == "PENDING" else 0.0
        took_s = round(time.monotonic() - began, 3)
        told = CallbackTry(id=event_id(status), n=n + 1, at=at, took_s=took_s, status=answer, error=error)
        log.info("callback %s of job %s, try %d: %s", told.id, status.id, told.n, error or answer)
        self.scripts(
            "end_callback", status.id, status.epoch, n, told.model_dump_json(), outcome, delay_s, int(is_dead), *REST_S,
        )  # fmt: skip

    def _post(self, status: JobStatus, url: str) -> tuple[int | None, str | None, bool, bool]:
        """HTTP status, error, whether nobody answered, and whether another try is no use."""
        if not self.secrets:
            return None, "this worker has no TOPCLIP_WEBHOOK_SECRET", False, False
        body = event(status)
        headers = {"Content-Type": "application/json"}
        headers |= signed_headers(self.secrets, event_id(status), int(time.time()), body)
        try:
            target = self.outbound.check(url, "callback_url")
            with self.outbound.exchange("POST", target, headers, body=body, patience=PATIENCE) as answer:
                code = answer.status
        except InvalidRequest as err:  # the URL itself
            return None, err.message, False, True
        except (UrlRefused, UrlUnreachable) as err:  # what this try met: a certificate and a name's addresses change
            return None, err.message, True, False
        return code, None if 200 <= code < 300 else f"answers {code}", False, code == GONE


def event_id(status: JobStatus) -> str:
    """Names the end of one attempt of a job."""
    return f"end_{status.id}_{status.epoch}"


def event(status: JobStatus) -> bytes:
    """The body: type, time and the basics of the job's status."""
    told = status.to_dict()
    data = {name: told[name] for name in told if name in TOLD} | {"status_url": f"/api/job-status/{status.id}"}
    kind = f"job.{status.state.lower()}"
    return json.dumps({"type": kind, "timestamp": told["finished_at"], "data": data}).encode()


def read_log(reply: Any) -> CallbackLog:
    """The log that the script `read_callbacks` answered, where it knows the job."""
    request, flat, tries = reply
    hook: dict[str, str] = dict(zip(flat[::2], flat[1::2], strict=True))
    url = _options(request).get("callback_url")
    is_pending = hook.get("outcome") == "PENDING" and "due" in hook
    return CallbackLog.model_validate(
        {
            "url": shown(url) if url else None,
            "state": hook.get("outcome"),
            "next_try_at": float(hook["due"]) if is_pending else None,
            "tries": [json.loads(text) for text in tries],
        }
    )


def _url(reply: Any) -> str:
    flat = reply[0]
    return str(_options(flat[flat.index("request") + 1])["callback_url"])


def _options(request: str) -> JsonDict:
    options: JsonDict = json.loads(request)["options"]
    return options
