"""Health and metrics."""

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from tests.fakes import FakeClient
from topclip.config import Settings
from topclip.errors import StorageUnavailable
from topclip.storage.local import LocalStore
from web.app import create_app


def test_health_tells_of_redis_jobs_queue_and_workers(http: FlaskClient, job: str) -> None:
    document = http.get("/health").json
    assert (document["status"], document["redis"]["status"]) == ("ok", "ok")
    assert (document["jobs"], document["queue_depth"]) == ({"RUNNING": 1}, 0)
    assert document["workers"][0]["name"] == "w1"
    assert document["store"]["free_bytes"] > 0


def test_health_is_200_and_says_down_while_redis_is_away(http: FlaskClient, client: FakeClient) -> None:
    client.go_away()
    answer = http.get("/health")
    assert (answer.status_code, answer.json["status"], answer.json["redis"]["status"]) == (200, "down", "down")
    assert http.get("/health/live").status_code == 200
    ready = http.get("/health/ready")
    assert (ready.status_code, ready.headers["Retry-After"]) == (503, "2")


def test_a_redis_that_refuses_to_write_is_degraded_and_not_ready(
    http: FlaskClient, client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = client.health()
    told["redis"] |= {"writes": False, "warnings": ["Redis refuses to write: it is a replica (READONLY)."]}
    monkeypatch.setattr(client, "health", lambda: told)
    document = http.get("/health").json
    assert (document["status"], document["redis"]["status"]) == ("degraded", "degraded")
    assert document["redis"]["warnings"] == told["redis"]["warnings"]
    ready = http.get("/health/ready")
    assert (ready.status_code, ready.json) == (503, {"status": "down", "redis": "degraded", "store": "ok"})


def test_a_server_that_hears_of_no_changes_says_why_it_is_degraded(http: FlaskClient, client: FakeClient) -> None:
    client.watches[-1].up = False
    redis = http.get("/health").json["redis"]
    assert redis["status"] == "degraded"
    assert "Changes of jobs are not heard of" in redis["warnings"][0]


def test_what_is_wrong_with_the_store_is_for_the_log(
    http: FlaskClient, store: LocalStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(key: str) -> bool:
        raise StorageUnavailable("no answer from http://10.0.0.1/secret-bucket")

    monkeypatch.setattr(store, "exists", away)
    answer = http.get("/health")
    assert answer.json["store"] == {"status": "down", "free_bytes": None, "error": "the store cannot be reached now"}
    assert "secret-bucket" in caplog.text
    assert http.get("/health/ready").status_code == 503


def test_the_password_is_masked(client: FakeClient, settings: Settings, store: object) -> None:
    secret = settings.model_copy(update={"redis_url": "redis://:hunter2@redis-server:6379/0"})
    http = create_app(secret, client, store).test_client()  # type: ignore[arg-type]
    assert http.get("/health").json["redis"]["url"] == "redis://:***@redis-server:6379/0"
    assert b"hunter2" not in http.get("/health").data


def test_metrics_count_requests_by_route_and_jobs_by_state(http: FlaskClient, job: str) -> None:
    for _ in range(3):
        http.get(f"/api/job-status/{job}")
    http.get("/nowhere")
    text = http.get("/metrics").text
    found = {
        (s.name, *sorted(s.labels.items())): s.value for f in text_string_to_metric_families(text) for s in f.samples
    }
    route = ("route", "/api/job-status/<job_id>")
    assert found["topclip_http_requests_total", ("method", "GET"), route, ("status", "200")] == 3
    assert found["topclip_status_reads_total", ("source", "redis")] == 1
    assert found["topclip_status_reads_total", ("source", "cache")] == 2
    assert found["topclip_jobs", ("state", "RUNNING")] == 1
    assert found["topclip_redis_up",] == 1
    assert job not in text
