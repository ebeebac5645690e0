"""Server-sent events, read from the response as a client would."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from flask import Flask
from flask.testing import FlaskClient

from tests.fakes import FakeClient
from topclip.model.job import JobState
from web.app import services_of


def _open(http: FlaskClient, job: str, **headers: str) -> Any:
    return http.get(f"/api/jobs/{job}/events", headers=headers, buffered=False)


def _events(answer: Any) -> Iterator[dict[str, Any]]:
    """Events of a stream as {event, id, data}; comments and `retry` are passed over."""
    for block in answer.response:
        text = block.decode() if isinstance(block, bytes) else block
        fields = dict(line.split(": ", 1) for line in text.strip().splitlines() if not line.startswith(":"))
        if "event" in fields:
            yield fields | {"data": json.loads(fields["data"])}


def test_it_sends_the_status_now_and_at_each_change_and_ends(http: FlaskClient, client: FakeClient, job: str) -> None:
    answer = _open(http, job)
    assert answer.content_type.startswith("text/event-stream")
    events = _events(answer)
    first = next(events)
    assert (first["event"], first["id"], first["data"]["state"]) == ("status", "1-1", "RUNNING")
    client.change(job, progress=0.5)
    assert next(events)["data"]["progress"] == 0.5
    client.finish(job)
    assert next(events)["data"]["state"] == "SUCCEEDED"
    assert list(events) == []


def test_many_changes_between_two_looks_are_one_event(http: FlaskClient, client: FakeClient, job: str) -> None:
    events = _events(_open(http, job))
    next(events)
    for n in range(100):
        client.change(job, progress=n / 100)
    client.finish(job)
    assert [e["data"]["state"] for e in events] == ["SUCCEEDED"]


def test_a_client_that_has_seen_the_newest_gets_only_what_follows(
    http: FlaskClient, client: FakeClient, job: str
) -> None:
    answer = _open(http, job, **{"Last-Event-ID": "1-1"})
    events = _events(answer)
    stream = iter(answer.response)
    assert b"retry" in next(stream)
    client.finish(job)
    assert [e["id"] for e in events] == ["1-2"]


def test_a_finished_job_that_was_seen_is_204_so_that_the_browser_stays_away(http: FlaskClient, done: str) -> None:
    assert _open(http, done, **{"Last-Event-ID": "1-1"}).status_code == 204
    assert [e["data"]["state"] for e in _events(_open(http, done, **{"Last-Event-ID": "1-0"}))] == ["PARTIAL"]


def test_it_survives_redis_and_sends_the_final_state_once(http: FlaskClient, client: FakeClient, job: str) -> None:
    events = _events(_open(http, job))
    next(events)
    client.go_away()
    assert next(events)["data"]["stale"] is True
    client.jobs[job] = client.jobs[job].model_copy(update={"state": JobState.SUCCEEDED, "revision": 9})
    client.come_back()
    assert [(e["data"]["state"], e["data"]["stale"]) for e in events] == [("SUCCEEDED", False)]


def test_it_ends_when_the_job_is_deleted(http: FlaskClient, client: FakeClient, job: str) -> None:
    events = _events(_open(http, job))
    next(events)
    client.jobs[job] = client.jobs[job].model_copy(update={"state": JobState.CANCELLED})
    client.delete(job)
    assert [e["event"] for e in events] == ["gone"]


def test_unknown_jobs_are_answered_as_such_not_by_an_empty_stream(http: FlaskClient) -> None:
    assert _open(http, str(uuid4())).status_code == 404


def test_streams_are_bounded_and_a_closed_one_makes_room(http: FlaskClient, job: str) -> None:
    first, second = _open(http, job), _open(http, job)
    assert _open(http, job).status_code == 503
    first.close()
    third = _open(http, job)
    assert third.status_code == 200
    for answer in (second, third):
        answer.close()


def test_a_server_that_stops_sends_everybody_home(app: Flask, http: FlaskClient, job: str) -> None:
    events = _events(_open(http, job))
    next(events)
    services_of(app).followers.close()
    assert list(events) == []
