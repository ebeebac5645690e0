"""Keys, other sites, headers, and the one shape of errors."""

import pytest
from flask.testing import FlaskClient

from tests.fakes import FakeClient
from topclip.config import Settings
from topclip.errors import ConfigError
from topclip.storage.local import LocalStore
from web.app import create_app
from web.doors import check_exposure

KEY = "a-long-random-key"


@pytest.fixture
def guarded(settings: Settings, client: FakeClient, store: LocalStore) -> FlaskClient:
    return create_app(settings.model_copy(update={"api_keys": (KEY, "other")}), client, store).test_client()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "clips.example"])
def test_it_refuses_to_listen_to_others_without_keys(host: str) -> None:
    with pytest.raises(ConfigError) as found:
        check_exposure(Settings(host=host))
    assert "TOPCLIP_API_KEYS" in (found.value.hint or "")
    check_exposure(Settings(host=host, api_keys=("k",)))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_loopback_needs_no_key(host: str) -> None:
    check_exposure(Settings(host=host))


def test_without_a_key_it_is_401(guarded: FlaskClient) -> None:
    answer = guarded.get("/api/jobs")
    assert (answer.status_code, answer.json["code"]) == (401, "UNAUTHORIZED")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert guarded.get("/health/live").status_code == 200
    for path in ("/health", "/metrics", "/api/openapi.json"):
        assert guarded.get(path).status_code == 401


@pytest.mark.parametrize("headers", [{"Authorization": f"Bearer {KEY}"}, {"X-API-Key": "other"}])
def test_a_key_opens(guarded: FlaskClient, headers: dict[str, str]) -> None:
    assert guarded.get("/api/jobs", headers=headers).status_code == 200


@pytest.mark.parametrize("headers", [{"Authorization": f"Bearer {KEY}x"}, {"X-API-Key": ""}, {"X-API-Key": "ö"}])
def test_a_wrong_key_does_not(guarded: FlaskClient, headers: dict[str, str]) -> None:
    assert guarded.get("/api/jobs", headers=headers).status_code == 401


def test_the_page_asks_for_a_key_and_keeps_it_in_a_cookie_that_no_script_reads(guarded: FlaskClient) -> None:
    assert b"API key" in guarded.get("/").data
    assert guarded.post("/sign-in", data={"key": "wrong"}).status_code == 401
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
