"""When a task that is to be tried again later may begin, by what its message says and how clocks stand."""

import json
import time
from base64 import b64decode, b64encode
from datetime import datetime
from types import SimpleNamespace

import pytest

from workers import names
from workers.message import Message

HOURS = 3600.0


def begins_in_s(ready_in_s: float, wait_s: float, redis_ahead_s: float) -> float:
    """ready_in_s: by Redis' clock, that is ahead of ours by so much, when the message is taken."""
    now = time.time()
    headers = {
        **{"task": names.PROBE, "id": "1", "eta": "2020-01-01T00:00:00+00:00"},
        **{names.READY_AT: now + redis_ahead_s + ready_in_s, names.WAIT_S: wait_s},
    }
    payload = {
        "body": b64encode(b"[[], {}, {}]").decode(),
        "headers": headers,
        "properties": {
            "delivery_tag": "x",
            "delivery_info": {"exchange": "", "routing_key": "control"},
            "body_encoding": "base64",
        },
        "content-type": "application/json",
        "content-encoding": "utf-8",
    }
    channel = SimpleNamespace(redis_ahead_s=redis_ahead_s, decode_body=lambda body, _: b64decode(body))
    message = Message(json.loads(json.dumps(payload)), channel=channel)
    assert payload["headers"] == message._raw["headers"]  # what goes back to the queue is as it was
    return datetime.fromisoformat(message.headers["eta"]).timestamp() - now


@pytest.mark.parametrize("redis_ahead_s", [0.0, 7 * HOURS, -7 * HOURS])
def test_a_task_begins_when_it_is_to_by_redis_clock(redis_ahead_s: float) -> None:
    assert begins_in_s(3, 8, redis_ahead_s) == pytest.approx(3, abs=0.5)
    assert begins_in_s(-20, 8, redis_ahead_s) == pytest.approx(-20, abs=0.5)


def test_no_clock_that_was_set_makes_it_wait_for_longer_than_it_was_to() -> None:
    assert begins_in_s(600, 80, 0.0) == pytest.approx(80, abs=30)
