"""A message as a worker takes it from a queue: one that says what it is not, and times a task by this machine's clock.

Whoever can write to Redis can put anything there, and what Celery trips over only once it has it would be given to the next
worker when its lease ends, and end that one too. So all that is read of a message is looked at before it is taken.
"""

import time
from datetime import UTC, datetime
from json import dumps
from typing import Any, Final

import kombu.transport.redis as kombu_redis
from kombu.exceptions import KombuError
from pydantic import BaseModel, Field, StrictFloat, StrictInt, TypeAdapter

from workers import names

UNREADABLE = (ArithmeticError, AttributeError, KombuError, LookupError, RecursionError, TypeError, ValueError)
"""What json, kombu and pydantic say of what is no message."""
OF_TASKS: Final = ("", *names.QUEUES)
"""Exchanges; others tell workers what to do, and whoever asked them what they said."""
CONTENT: Final = ("application/json", "utf-8")
BODY: Final = TypeAdapter(tuple[list[Any], dict[str, Any], dict[str, Any] | None])
"""Arguments, those by name, and what comes after the task."""


class Unreadable(Exception):
    """What lies in a queue is no message."""


class Message(kombu_redis.Channel.Message):  # type: ignore[misc]  # kombu is untyped here
    """A message that can be taken. Raises: Unreadable."""

    headers: dict[str, Any]

    def __init__(self, payload: Any, channel: Any = None, **kwargs: Any) -> None:
        try:
            super().__init__(payload, channel=channel, **kwargs)
            _Delivery.model_validate({**self.delivery_info, "delivery_tag": self.delivery_tag})
            # Half of a sign, which JSON can name, can be written nowhere.
            dumps([self.headers, self.delivery_tag, self.delivery_info], ensure_ascii=False).encode()
            if self.delivery_info["exchange"] in OF_TASKS or "task" in self.headers or names.HEADER in self.headers:
                self._refuse_odd_task()
                self.headers = self.headers | _by_our_clock(self.headers, channel)
        except UNREADABLE as err:
            raise Unreadable(f"{type(err).__name__}: {err}") from err

    def _refuse_odd_task(self) -> None:
        if (self.content_type, self.content_encoding) != CONTENT:
            raise ValueError(f"its content is {self.content_type!r} in {self.content_encoding!r}")
        _Headers.model_validate(self.headers)
        BODY.validate_python(self.decode())


def _by_our_clock(headers: dict[str, Any], channel: Any) -> dict[str, str]:
    """When a task that waits may begin. Who published it told that by its own clock, and what we need by Redis'.

    No clock, nor one that was set since, makes it wait for longer than it was to.
    """
    ready_at, wait_s = headers.get(names.READY_AT), headers.get(names.WAIT_S)
    if not headers.get("eta") or ready_at is None or wait_s is None:
        return {}
    begins_at = min(ready_at - channel.redis_ahead_s, time.time() + wait_s)
    return {"eta": datetime.fromtimestamp(begins_at, UTC).isoformat()}


class _Delivery(BaseModel):
    exchange: str
    routing_key: str
    delivery_tag: str = Field(pattern="^[^#]+$")  # what stands behind it is ours


class _Part(BaseModel):
    """Our own header."""

    job: str
    epoch: StrictInt
    part: str


class _Headers(BaseModel):
    """What is read of a task's headers, by Celery or by us."""

    task: str
    id: str
    root_id: str | None = None
    parent_id: str | None = None
    group: str | None = None
    eta: str | None = None
    expires: str | StrictInt | StrictFloat | None = None
    timelimit: tuple[StrictInt | StrictFloat | None, StrictInt | StrictFloat | None] | None = None
    retries: StrictInt | None = None
    stamped_headers: list[str] | None = None
    stamps: dict[str, Any] | None = None
    argsrepr: str | None = None
    kwargsrepr: str | None = None
    origin: str | None = None
    shadow: str | None = None
    ready_at: StrictInt | StrictFloat | None = Field(None, alias=names.READY_AT)
    wait_s: StrictInt | StrictFloat | None = Field(None, alias=names.WAIT_S)
    part: _Part | None = Field(None, alias=names.HEADER)
