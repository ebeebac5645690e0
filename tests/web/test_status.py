"""Status, list, cancel and delete over HTTP."""

import threading
from datetime import datetime
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.fakes import FakeClient, make_status
from tests.waiting import until
from topclip.model.job import JobState
from web.app import services_of


def test_the_document_has_the_names_that_scripts_rely_on(http: FlaskClient, job: str) -> None:
    document = http.get(f"/api/job-status/{job}").json
    names = "id state stage progress clips error created_at expires_at source stale as_of links"
    assert set(names.split()) <= document.keys()
    assert document["as_of"].endswith("Z")
    for name in ("created_at", "expires_at", "as_of"):
        assert datetime.fromisoformat(document[name]).utcoffset() is not None


def test_the_second_read_of_a_finished_job_comes_from_the_cache(http: FlaskClient, done: str) -> None:
    sources = [http.get(f"/api/job-status/{done}").json["source"] for _ in range(2)]
    assert sources == ["redis", "cache"]


def test_links_name_only_what_exists(http: FlaskClient, job: str, done: str) -> None:
    assert set(http.get(f"/api/job-status/{job}").json["links"]) == {"self", "events", "cancel"}
    links = http.get(f"/api/job-status/{done}").json["links"]
    assert set(links["clips"]) == {"1", "2"}
    for path in (links["plan"], links["manifest"], links["clips_zip"], links["clips"]["1"]):
        assert http.get(path).status_code == 200


@pytest.mark.parametrize(
    "job_id", ["c43b4718-306c-4cc6-9c32-6f10d299b7fc", "nonsense", "11111111-1111-1111-1111-11111111111G"]
)
def test_an_unknown_job_is_404(http: FlaskClient, job_id: str) -> None:
    answer = http.get(f"/api/job-status/{job_id}")
    assert (answer.status_code, answer.json["code"]) == (404, "UNKNOWN_JOB")


def test_an_unknown_job_is_503_while_redis_is_away(http: FlaskClient, client: FakeClient) -> None:
    client.go_away()
    answer = http.get(f"/api/job-status/{uuid4()}")
    assert (answer.status_code, answer.json["code"]) == (503, "QUEUE_UNAVAILABLE")
    assert "Retry-After" in answer.headers


def test_a_known_job_is_stale_while_redis_is_away_and_heals(http: FlaskClient, client: FakeClient, job: str) -> None:
    fresh = http.get(f"/api/job-status/{job}").json
    client.go_away()
    stale = http.get(f"/api/job-status/{job}")
    assert (stale.status_code, stale.json["stale"], stale.json["source"]) == (200, True, "cache")
    assert stale.json["as_of"] == fresh["as_of"]
    client.come_back()
    assert http.get(f"/api/job-status/{job}").json["stale"] is False


def test_a_deleted_job_is_410_with_its_state(http: FlaskClient, done: str) -> None:
    assert http.delete(f"/api/jobs/{done}").status_code == 204
    answer = http.get(f"/api/job-status/{done}")
    assert (answer.status_code, answer.json["code"], answer.json["state"]) == (410, "JOB_EXPIRED", "EXPIRED")


def test_the_etag_gives_304_until_the_job_changes(http: FlaskClient, client: FakeClient, job: str) -> None:
    path = f"/api/job-status/{job}"
    first = http.get(path)
    tag = {"If-None-Match": first.headers["ETag"]}
    again = http.get(path, headers=tag)
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    client.change(job, progress=0.5)
    assert http.get(path, headers=tag).json["progress"] == 0.5


def _in_thread(app: Flask, path: str, **kw: Any) -> tuple[threading.Thread, list[Any]]:
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(app.test_client().get(path, **kw)))
    thread.start()
    return thread, answers


def test_a_long_poll_returns_as_soon_as_the_job_changes(app: Flask, client: FakeClient, job: str) -> None:
    thread, answers = _in_thread(app, f"/api/job-status/{job}?wait=30")
    until(lambda: services_of(app).followers.count(job), 20)
    client.change(job, progress=0.25)
    thread.join(10)
    assert answers[0].json["progress"] == 0.25


def test_a_long_poll_of_a_finished_job_returns_at_once(app: Flask, done: str) -> None:
    thread, answers = _in_thread(app, f"/api/job-status/{done}?wait=30")
    thread.join(10)
    assert answers[0].json["state"] == "PARTIAL"


def test_a_long_poll_with_an_old_etag_returns_at_once(app: Flask, job: str) -> None:
    thread, answers = _in_thread(app, f"/api/job-status/{job}?wait=30", headers={"If-None-Match": '"old"'})
    thread.join(10)
    assert answers[0].status_code == 200


def test_a_long_poll_answers_304_when_nothing_changed(http: FlaskClient, job: str) -> None:
    tag = http.get(f"/api/job-status/{job}").headers["ETag"]
    answer = http.get(f"/api/job-status/{job}?wait=0.2", headers={"If-None-Match": tag})
    assert answer.status_code == 304


def test_nobody_is_kept_waiting_while_redis_is_away(app: Flask, client: FakeClient, job: str) -> None:
    app.test_client().get(f"/api/job-status/{job}")
    client.go_away()
    thread, answers = _in_thread(app, f"/api/job-status/{job}?wait=60")
    thread.join(10)
    assert answers[0].json["stale"] is True


def test_long_polls_beyond_the_bound_are_503_and_short_reads_go_on(app: Flask, http: FlaskClient, job: str) -> None:
    waiting = [_in_thread(app, f"/api/job-status/{job}?wait=30")[0] for _ in range(2)]
    until(lambda: services_of(app).followers.count(job) == 2, 20)
    answer = http.get(f"/api/job-status/{job}?wait=30")
    assert (answer.status_code, answer.json["code"]) == (503, "SERVER_BUSY")
    assert "Retry-After" in answer.headers
    assert http.get(f"/api/job-status/{job}").status_code == 200
    services_of(app).followers.close()
    for thread in waiting:
        thread.join(10)
    assert http.get(f"/api/job-status/{job}?wait=0.1").status_code == 200


@pytest.mark.parametrize("wait", ["x", "-1", "nan", "inf"])
def test_a_bad_wait_is_422(http: FlaskClient, job: str, wait: str) -> None:
    answer = http.get(f"/api/job-status/{job}?wait={wait}")
    assert (answer.status_code, answer.json["field"]) == (422, "wait")


def test_the_list_is_paged_newest_first(http: FlaskClient, client: FakeClient) -> None:
    for n in range(5):
        job_id = str(uuid4())
        created_at = make_status(job_id).created_at.replace(hour=n)
        client.jobs[job_id] = make_status(job_id, name=f"{n}", created_at=created_at)
    names: list[str] = []
    cursor = None
    while True:
        page = http.get("/api/jobs", query_string={"limit": 2} | ({"cursor": cursor} if cursor else {})).json
        names += [job["name"] for job in page["jobs"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert (names, page["total"]) == (["4", "3", "2", "1", "0"], 5)


def test_the_list_can_be_of_one_state(http: FlaskClient, job: str, done: str) -> None:
    page = http.get("/api/jobs?state=RUNNING").json
    assert [j["id"] for j in page["jobs"]] == [job]
    assert http.get("/api/jobs?state=NONE").status_code == 422


def test_the_list_is_the_last_known_one_while_redis_is_away(http: FlaskClient, client: FakeClient, job: str) -> None:
    http.get("/api/jobs")
    client.go_away()
    page = http.get("/api/jobs").json
    assert (page["stale"], [(j["id"], j["stale"]) for j in page["jobs"]]) == (True, [(job, True)])


def test_the_list_is_503_if_nothing_is_known(http: FlaskClient, client: FakeClient) -> None:
    client.go_away()
    assert http.get("/api/jobs").status_code == 503


@pytest.mark.parametrize(
    ("state", "status", "after"),
    [
        (JobState.QUEUED, 200, "CANCELLED"),
        (JobState.RUNNING, 202, "CANCELLING"),
        (JobState.SUCCEEDED, 409, "SUCCEEDED"),
    ],
)
def test_cancel_answers_by_state(
    http: FlaskClient, client: FakeClient, job: str, state: JobState, status: int, after: str
) -> None:
    client.change(job, state=state)
    assert http.post(f"/api/jobs/{job}/cancel").status_code == status
    assert http.get(f"/api/job-status/{job}").json["state"] == after


@pytest.mark.parametrize("state", list(JobState))
def test_what_ended_without_all_it_was_to_make_is_retried(
    http: FlaskClient, client: FakeClient, job: str, state: JobState
) -> None:
    client.change(job, state=state)
    can = state in (JobState.PARTIAL, JobState.FAILED, JobState.CANCELLED)
    assert ("retry" in http.get(f"/api/job-status/{job}").json["links"]) == can
    answer = http.post(f"/api/jobs/{job}/retry")
    if can:
        assert (answer.status_code, answer.json["state"], answer.json["epoch"]) == (202, "QUEUED", 2)
        assert http.get(f"/api/job-status/{job}").json["state"] == "QUEUED"
    else:
        assert (answer.status_code, answer.json["code"]) == (409, "JOB_CONFLICT")


def test_a_retry_of_what_is_not_there_or_with_redis_away(http: FlaskClient, client: FakeClient, job: str) -> None:
    assert http.post(f"/api/jobs/{uuid4()}/retry").status_code == 404
    assert http.post("/api/jobs/no-id/retry").status_code == 404
    client.change(job, state=JobState.FAILED)
    client.go_away()
    answer = http.post(f"/api/jobs/{job}/retry")
    assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
    client.come_back()
    http.delete(f"/api/jobs/{job}")
    assert http.post(f"/api/jobs/{job}/retry").status_code == 410


def test_clips_stay_while_the_missing_one_is_tried_again(http: FlaskClient, client: FakeClient, done: str) -> None:
    client.change(done, state=JobState.RUNNING, epoch=2, clips=())
    base = f"/api/jobs/{done}"
    assert http.get(f"{base}/manifest").status_code == http.get(f"{base}/clips/1").status_code == 200
    missing = http.get(f"{base}/clips/3")
    assert (missing.status_code, missing.json["code"]) == (409, "NOT_READY")
    client.change(done, state=JobState.PARTIAL)
    assert http.get(f"{base}/clips/3").status_code == 404


def test_cancel_and_delete_of_an_unknown_job_are_404(http: FlaskClient) -> None:
    assert http.post(f"/api/jobs/{uuid4()}/cancel").status_code == 404
    assert http.delete(f"/api/jobs/{uuid4()}").status_code == 404


def test_a_running_job_is_not_deleted(http: FlaskClient, job: str) -> None:
    answer = http.delete(f"/api/jobs/{job}")
    assert (answer.status_code, answer.json["code"]) == (409, "JOB_CONFLICT")
