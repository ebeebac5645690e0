"""What lies in a queue and is no message."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_celery import CeleryTestSetup

from tests.integration.faults import container
from tests.nodes import RedisContainer
from tests.waiting import until
from topclip.model.job import JobState, JobStatus

Submit = Callable[..., str]
Finished = Callable[..., JobStatus]


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
    odd = [
        "no json",
        "[]",
        "{}",
        '{"properties": {}}',
        b"\xff",
        '{"properties": {"delivery_tag": "x"}, "headers": {}, "body": "("}',
    ]
    for oddity in odd:
        if queue:
            redis_node.client.lpush(f"topclip:{queue}", oddity)
        else:
            assert redis_node.client.publish("topclip:/0.celery.pidbox", oddity)
    until(lambda: not queue or redis_node.client.llen(f"topclip:{queue}") == 0, 20)
    assert finished(submit(one_chunk, mode="plan")).state is JobState.SUCCEEDED
    assert worker.process.pid == pid
    assert worker.status == "running"
    n_told = 5 if queue else 3  # of the others Celery or kombu tells
    assert worker.logs().count("is no message, and was dropped") >= n_told
