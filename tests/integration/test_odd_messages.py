"""What lies in a queue and is no message."""

import json
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_celery import CeleryTestSetup

from tests.integration.faults import container
from tests.nodes import RedisContainer
from tests.waiting import until
from topclip.model.job import JobState, JobStatus
from workers import names
from workers.client import JobClient

Submit = Callable[..., str]
Finished = Callable[..., JobStatus]


def message(headers: Any, body: bytes = b"[[], {}, {}]", kind: Any = "application/json", **properties: Any) -> str:
    """A message that is whole but for what is given."""
    about = {
        "delivery_tag": "x",
        "delivery_info": {"exchange": "", "routing_key": "control"},
        "body_encoding": "base64",
    }
    content = {"content-type": kind, "content-encoding": "utf-8"}
    return json.dumps(
        {"body": b64encode(body).decode(), "headers": headers, "properties": {**about, **properties}, **content}
    )


PROBE = {"task": names.PROBE, "id": "1"}
UNREADABLE: list[str | bytes] = ["no json", "[]", "{}", '{"properties": {}}', b"\xff", "[" * 100_000]
ODD = [
    '{"properties": {"delivery_tag": "x"}, "headers": {}, "body": "("}',
    '{"properties": null, "headers": {}, "body": ""}',
    message({}, body_encoding="klingon"),
    message(PROBE | {names.HEADER: 5}),
    message(PROBE | {names.HEADER: {"job": "x"}}),
    message(PROBE, delivery_tag=None),
    *(
        message(PROBE | {name: odd})
        for name, odd in (
            ("timelimit", 5),
            ("timelimit", ["a", "b"]),
            ("id", [1]),
            ("task", [1]),
            ("stamped_headers", True),
            ("eta", []),
            ("expires", {}),
            ("retries", "x"),
            (names.READY_AT, "x"),
        )
    ),
    *(message(PROBE, body) for body in (b"5", b"null", b"{}", b"[[], {}]", b"", b"[1, 2, 3]", b'"abc"', b"no json")),
    message(PROBE, kind=[1]),
    message(PROBE, delivery_tag="a#b"),
    message(PROBE, delivery_tag="\ud800"),
    message(PROBE | {"shadow": [1]}),
    message({}, b'{"task": "topclip.probe", "id": [1], "eta": []}'),
]


@pytest.mark.parametrize("queue", ["control", "render", ""], ids=["control", "render", "told to all workers"])
def test_what_is_no_message_ends_no_worker(
    celery_setup: CeleryTestSetup,
    one_chunk: Path,
    submit: Submit,
    finished: Finished,
    redis_node: RedisContainer,
    queue: str,
) -> None:
    worker = container(celery_setup)
    pid = worker.process.pid
    for oddity in (*UNREADABLE, *ODD):
        if queue:
            redis_node.client.lpush(f"topclip:{queue}", oddity)
        else:
            assert redis_node.client.publish("topclip:/0.celery.pidbox", oddity)
    until(lambda: not queue or redis_node.client.llen(f"topclip:{queue}") == 0, 20)
    assert finished(submit(one_chunk, mode="plan")).state is JobState.SUCCEEDED
    assert worker.process.pid == pid
    assert worker.status == "running"
    n_told = worker.logs().count("is no message, and was dropped")
    assert n_told >= (len(UNREADABLE) + len(ODD) if queue else 4)  # of the others Celery or kombu tells


@pytest.mark.parametrize("oddity", [*UNREADABLE, message(None), message([])])
def test_what_is_no_message_and_waits_hides_nothing_else(
    submit: Submit, client: JobClient, one_chunk: Path, redis_node: RedisContainer, oddity: str | bytes
) -> None:
    """There is no worker that would take it."""
    redis_node.client.lpush("topclip:render", oddity)
    submit(one_chunk)
    found = client.health()
    assert (found["queues"]["render"], found["queues"]["control"]) == (1, 1)
    assert found["waits_s"]["render"] == 0
