"""GET /api/jobs/<id>/callbacks."""

from datetime import UTC, datetime

from flask.testing import FlaskClient

from tests.fakes import FakeClient
from topclip.model.callback import CallbackLog, CallbackTry


def test_the_log_of_a_job_is_told(http: FlaskClient, client: FakeClient, job: str) -> None:
    none = {"url": None, "state": None, "next_try_at": None, "tries": []}
    assert http.get(f"/api/jobs/{job}/callbacks").json == none
    at = datetime(2026, 1, 1, tzinfo=UTC)
    tried = CallbackTry(id="end_1", n=1, at=at, took_s=0.1, status=500, error="answers 500")
    client.logs[job] = CallbackLog(url="https://a.b/", state="PENDING", next_try_at=at, tries=(tried,))
    answer = http.get(f"/api/jobs/{job}/callbacks")
    assert answer.status_code == 200
    assert answer.json["state"] == "PENDING"
    assert answer.json["tries"] == [
        {"id": "end_1", "n": 1, "at": "2026-01-01T00:00:00Z", "took_s": 0.1, "status": 500, "error": "answers 500"}
    ]


def test_a_job_that_nobody_knows_or_redis_away_has_no_log(http: FlaskClient, client: FakeClient, job: str) -> None:
    assert http.get("/api/jobs/00000000-0000-4000-8000-000000000000/callbacks").status_code == 404
    assert http.get("/api/jobs/none/callbacks").status_code == 404
    client.go_away()
    answer = http.get(f"/api/jobs/{job}/callbacks")
    assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
