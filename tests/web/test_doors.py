"""Keys, other sites, headers, and the one shape of errors."""

import pytest
from flask.testing import FlaskClient

from tests.fakes import FakeClient
from topclip.config import Settings
from topclip.errors import ConfigError
from topclip.storage.local import LocalStore
from web.app import create_app
from web.keys import KeyStore

KEY = "a-long-random-key"


@pytest.fixture
def guarded(settings: Settings, client: FakeClient, store: LocalStore) -> FlaskClient:
    return create_app(settings.model_copy(update={"api_keys": (KEY, "other")}), client, store).test_client()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "clips.example", ""])
def test_it_refuses_to_listen_to_others_without_keys(
    host: str, settings: Settings, client: FakeClient, store: LocalStore
) -> None:
    exposed = settings.model_copy(update={"host": host})
    with pytest.raises(ConfigError) as found:
        create_app(exposed, client, store)
    assert "TOPCLIP_API_KEYS" in (found.value.hint or "")
    assert "topclip keys add" in (found.value.hint or "")
    with pytest.raises(ConfigError):
        create_app(exposed.model_copy(update={"metrics_key": "k"}), client, store)
    create_app(exposed.model_copy(update={"api_keys": ("k",)}), client, store)
    KeyStore(store).add("alice", "alice")
    create_app(exposed, client, store)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_loopback_needs_no_key(host: str, settings: Settings, client: FakeClient, store: LocalStore) -> None:
    app = create_app(settings.model_copy(update={"host": host}), client, store)
    assert app.test_client().get("/api/jobs").status_code == 200


def test_without_a_key_it_is_401(guarded: FlaskClient) -> None:
    answer = guarded.get("/api/jobs")
    assert (answer.status_code, answer.json["code"]) == (401, "UNAUTHORIZED")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    for path in ("/metrics", "/api/openapi.json", "/api/docs", "/nowhere"):
        assert guarded.get(path).status_code == 401


def test_strangers_are_told_of_its_health_that_and_no_more(guarded: FlaskClient) -> None:
    assert guarded.get("/health/live").json == {"status": "ok"}
    assert guarded.get("/health/ready").json == {"status": "ok", "redis": "ok", "store": "ok"}
    assert guarded.get("/health").json == {"status": "ok"}
    assert "workers" in guarded.get("/health", headers={"X-API-Key": KEY}).json


@pytest.mark.parametrize("headers", [{"Authorization": f"Bearer {KEY}"}, {"X-API-Key": "other"}])
def test_a_key_opens(guarded: FlaskClient, headers: dict[str, str]) -> None:
    assert guarded.get("/api/jobs", headers=headers).status_code == 200


@pytest.mark.parametrize("headers", [{"Authorization": f"Bearer {KEY}x"}, {"X-API-Key": ""}, {"X-API-Key": "ö"}])
def test_a_wrong_key_does_not(guarded: FlaskClient, headers: dict[str, str]) -> None:
    assert guarded.get("/api/jobs", headers=headers).status_code == 401


def test_a_key_for_metrics_opens_nothing_else(settings: Settings, client: FakeClient, store: LocalStore) -> None:
    made = KeyStore(store).add("prometheus", "prometheus", is_for_metrics=True)
    app = create_app(settings.model_copy(update={"api_keys": (KEY,), "metrics_key": "given"}), client, store)
    for key in (made, "given"):
        http, headers = app.test_client(), {"X-API-Key": key}
        assert http.get("/metrics", headers=headers).status_code == 200
        for answer in (
            http.get("/", headers=headers),
            http.get("/api/jobs", headers=headers),
            http.post("/api/jobs", headers=headers, json={"source": {"path": "a.mp4"}}),
        ):
            assert (answer.status_code, answer.json["code"]) == (403, "FORBIDDEN")
            assert "opens /metrics and nothing else" in answer.json["detail"]
        assert http.get("/health", headers=headers).json == {"status": "ok"}
        assert http.post("/sign-in", data={"key": key}).status_code == 403
        assert http.get("/").status_code == 401
    assert app.test_client().get("/metrics", headers={"X-API-Key": KEY}).status_code == 200


def test_a_form_that_is_too_long_is_refused(guarded: FlaskClient) -> None:
    answer = guarded.post("/sign-in", data={"key": "x" * 10_000})
    assert answer.status_code == 413


def test_the_page_asks_for_a_key_and_keeps_it_in_a_cookie_that_no_script_reads(guarded: FlaskClient) -> None:
    assert b"API key" in guarded.get("/").data
    assert b"not known here" in guarded.post("/sign-in", data={"key": "wrong"}).data
    answer = guarded.post("/sign-in", data={"key": KEY})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert KEY not in cookie
    assert guarded.get("/api/jobs").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
    ],
)
def test_writes_from_other_sites_are_refused(http: FlaskClient, job: str, headers: dict[str, str]) -> None:
    answer = http.post(f"/api/jobs/{job}/cancel", headers=headers)
    assert (answer.status_code, answer.json["code"]) == (403, "FORBIDDEN")
    assert http.get(f"/api/job-status/{job}", headers=headers).status_code == 200


@pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://localhost"}])
def test_own_writes_pass(http: FlaskClient, job: str, headers: dict[str, str]) -> None:
    assert http.post(f"/api/jobs/{job}/cancel", headers=headers).status_code == 202


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("127.0.0.1:8000", 200),
        ("[::1]:8000", 200),
        ("evil.example", 403),
        ("[::", 403),
        ("10.0.0.1", 403),
    ],
)
def test_without_keys_only_this_machines_own_names_are_answered(http: FlaskClient, host: str, status: int) -> None:
    assert http.get("/api/jobs", headers={"Host": host}).status_code == status


@pytest.mark.parametrize("host", ["10.0.0.1", "::ffff:10.0.0.1", "2001:db8::1"])
def test_without_keys_no_other_machine_is_answered_whatever_the_server_was_bound_to(
    http: FlaskClient, host: str
) -> None:
    answer = http.get("/api/jobs", environ_base={"REMOTE_ADDR": host})
    assert (answer.status_code, answer.json["code"]) == (403, "FORBIDDEN")
    assert "topclip keys add" in answer.json["detail"]
    assert http.get("/api/jobs", environ_base={"REMOTE_ADDR": "::ffff:127.0.0.1"}).status_code == 200


def test_with_keys_any_name_will_do(guarded: FlaskClient) -> None:
    headers = {"Host": "clips.example", "X-API-Key": KEY}
    assert guarded.get("/api/jobs", headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/", "/api/jobs", "/nowhere", "/static/topclip.js"])
def test_every_answer_has_safe_headers(http: FlaskClient, path: str) -> None:
    with http.get(path) as answer:
        headers = answer.headers
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert "unsafe-inline" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_flasks_own_errors_have_the_one_shape_too(http: FlaskClient) -> None:
    missing = http.get("/nowhere")
    assert (missing.status_code, missing.json["code"], missing.content_type) == (
        404,
        "NOT_FOUND",
        "application/problem+json",
    )
    wrong = http.put("/api/jobs")
    assert (wrong.status_code, wrong.json["code"]) == (405, "METHOD_NOT_ALLOWED")
    assert "POST" in wrong.headers["Allow"]


def test_a_bug_is_500_that_tells_nothing_of_our_insides(
    http: FlaskClient, client: FakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    client.list = None  # type: ignore[assignment]
    answer = http.get("/api/jobs")
    assert (answer.status_code, answer.json["code"]) == (500, "INTERNAL")
    assert "NoneType" not in answer.text
    assert "NoneType" in caplog.text
