"""Celery's Redis result backend, fenced: a result counts only under the job's current epoch and the lease of its run, and an
ended job stays ended.

Results are written by one script that checks epoch, lease and state in the same step. A chord's join is retried where its reply
was lost, and never turns into a failure of the job: what could not be joined is started again by the reconciler.
Tasks without our header (Celery's own) are stored as stock Celery does.
"""

import json
import logging
from collections.abc import Callable
from functools import cached_property
from typing import Any

from celery import states
from celery.backends.redis import CHORD_PART_RETURN_LUA, RedisBackend
from celery.backends.redis import SentinelBackend as StockSentinelBackend
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from topclip.model.job import JobState
from workers import names
from workers.patience import hurry, hurry_sentinels
from workers.refusal import refuses_writes
from workers.scripts import Scripts

log = logging.getLogger(__name__)

JOB_STATES = {
    states.FAILURE: JobState.FAILED,
    states.REVOKED: JobState.CANCELLED,
}
RUNNING = "RUNNING"
PROGRESS = "PROGRESS"


def job_state(celery_state: str, result: Any) -> JobState:
    """The job state that a Celery state under the job's own id stands for; success says itself which kind it is."""
    if celery_state == states.SUCCESS:
        return JobState(result["state"])
    return JOB_STATES.get(celery_state, JobState.RUNNING)


def header_of(request: Any) -> dict[str, Any] | None:
    """Our header of a request, whether Celery put it on the request itself or among its headers."""
    found = getattr(request, names.HEADER, None) or (getattr(request, "headers", None) or {}).get(names.HEADER)
    return found if isinstance(found, dict) else None


def fence(header: dict[str, Any]) -> tuple[int, str, str]:
    """What the scripts judge a run by: its epoch, and its lease's tag and value, both empty where it has none."""
    tag, lease = header.get("lease") or ("", "")
    return int(header["epoch"]), tag, lease


class FencedBackend(RedisBackend):  # type: ignore[misc]  # Celery is untyped here
    """What both kinds of backend add to Celery's."""

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Subscribe to nothing when publishing: stock Celery leaks a subscription for each result and blocks for 20 s."""

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Whether to store a result again: while Redis is away, and while it refuses to write."""
        return bool(super().exception_safe_to_retry(exc)) or refuses_writes(exc)

    def _create_client(self, **params: Any) -> Redis:
        return hurry(super()._create_client(**params))

    @cached_property
    def _scripts(self) -> Scripts:
        return Scripts(self.client, self._global_prefix)

    @property
    def _global_prefix(self) -> str:
        return str(self.app.conf.result_backend_transport_options.get("global_keyprefix", ""))

    def _store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **kwargs: Any
    ) -> Any:
        header = header_of(request)
        if header is None:
            return super()._store_result(task_id, result, state, traceback=traceback, request=request, **kwargs)
        meta = self._get_result_meta(result=result, state=state, traceback=traceback, request=request)
        meta |= {"task_id": task_id, "epoch": header["epoch"]}
        own = job_state(state, result) if task_id == header["job"] else ""
        verdict = self._scripts("store", header["job"], *fence(header), task_id, self.encode(meta), own)
        if self._text(verdict) != "OK":
            log.info("result %s of %s refused: %s", state, task_id, self._text(verdict))
        return result

    def on_chord_part_return(self, request: Any, state: str, result: Any, propagate: Any = None, **kwargs: Any) -> None:
        """Count a finished part, unless a newer attempt of the job or another run of the part has taken its place."""
        header = header_of(request)
        if header is not None:
            verdict = self._text(self._patiently(lambda: self._scripts("current", header["job"], *fence(header))))
            if verdict != "OK":
                log.info("part %s not counted: %s", request.id, verdict)
                return
        super().on_chord_part_return(request, state, result, propagate=propagate, **kwargs)

    def chord_error_from_stack(self, callback: Any, exc: Any = None) -> Any:
        """A join that failed is no failure of the job: nothing is outstanding then, and the reconciler starts it again."""
        headers = (getattr(callback, "options", None) or {}).get("headers") or {}
        if names.HEADER in headers:
            log.warning("join before %s failed, the job will be started again: %r", callback.task, exc)
            return None
        return super().chord_error_from_stack(callback, exc)

    @cached_property
    def _chord_part_return_script(self) -> Any:
        script = self.client.register_script(CHORD_PART_RETURN_LUA)

        def join(keys: list[str], args: list[Any], client: Redis) -> tuple[Any, ...]:
            def once() -> tuple[Any, ...]:
                ready, diff, size, claimed = script(keys=keys, args=args, client=client)
                if ready != -1 and not claimed:  # a try whose reply was lost may have won the claim with our token
                    holder = client.get(keys[5])
                    claimed = int(holder is not None and self._text(holder) == args[7])
                return ready, diff, size, claimed

            done: tuple[Any, ...] = self._patiently(once)
            return done

        return join

    def _patiently(self, ask: Callable[[], Any]) -> Any:
        """Ask again, for a minute, where Redis is away or refuses to write."""

        def once() -> Any:
            try:
                return ask()
            except ResponseError as err:
                if refuses_writes(err):
                    raise RedisConnectionError(str(err)) from err  # which is tried again
                raise

        return self.ensure(once, (), max_retries=20, interval_start=0.1, interval_step=0.3, interval_max=3)

    @staticmethod
    def _text(value: Any) -> str:
        return value.decode() if isinstance(value, bytes) else str(value)


class Backend(FencedBackend):
    """The fenced backend on one Redis server."""


class SentinelBackend(FencedBackend, StockSentinelBackend):  # type: ignore[misc]
    """The fenced backend on a Redis master that Sentinel names; the sentinels too are waited for on the budget."""

    def _get_sentinel_instance(self, **params: Any) -> Any:
        return hurry_sentinels(super()._get_sentinel_instance(**params))


def revoked_meta(job_id: str, epoch: int) -> str:
    """The Celery result of a cancelled job, as JSON."""
    return result_meta(job_id, epoch, states.REVOKED, None)


def result_meta(task_id: str, epoch: int, state: str, result: Any) -> str:
    """A Celery result as the backend would write it, as JSON."""
    return json.dumps(
        {
            "status": state,
            "result": result,
            "traceback": None,
            "children": [],
            "date_done": None,
            "task_id": task_id,
            "epoch": epoch,
        }
    )
