"""Whose a job is: its owner's alone, by every route that there is or will be."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.fakes import FakeClient, make_status
from tests.web.conftest import form
from topclip.config import Settings
from topclip.storage.local import LocalStore
from web.app import create_app, services_of, stop
from web.keys import KeyStore

VALUES = {"n": 1, "file": "1-a.mp4", "digest": "a", "kind": "edl"}


@pytest.fixture
def app(settings: Settings, client: FakeClient, store: LocalStore) -> Iterator[Flask]:
    """An application with keys of alice (two), bob and an admin."""
    (settings.data_dir / "media").mkdir()
    given = ("alice:a-key", "alice:a-second-key", "bob:b-key")
    app = create_app(settings.model_copy(update={"api_keys": given}), client, store)
    yield app
    stop(app)


@pytest.fixture
def admin(app: Flask, store: LocalStore) -> FlaskClient:
    key = KeyStore(store).add("boss", "boss", is_admin=True)
    services_of(app).keys.refresh()
    return user(app, key)


@pytest.fixture
def alice(app: Flask) -> FlaskClient:
    return user(app, "a-key")


@pytest.fixture
def bob(app: Flask) -> FlaskClient:
    return user(app, "b-key")


def user(app: Flask, key: str) -> FlaskClient:
    http = app.test_client()
    http.environ_base["HTTP_X_API_KEY"] = key
    return http


@pytest.fixture
def hers(client: FakeClient, done: str) -> str:
    """A finished job of alice's, with clips."""
    client.change(done, owner="alice")
    return done


def routes(app: Flask, job: str) -> list[tuple[str, str]]:
    """Every method and path that names a job."""
    found = [rule for rule in app.url_map.iter_rules() if "job_id" in rule.arguments]
    adapter = app.url_map.bind("localhost")
    return [
        (
            method,
            adapter.build(rule.endpoint, {k: v for k, v in VALUES.items() if k in rule.arguments} | {"job_id": job}),
        )
        for rule in found
        for method in sorted((rule.methods or set()) - {"OPTIONS", "HEAD"})
    ]


def test_a_stranger_gets_404_everywhere_as_for_an_unknown_job(
    app: Flask, alice: FlaskClient, bob: FlaskClient, hers: str
) -> None:
    tried = routes(app, hers)
    assert len(tried) >= 11
    unknown = str(uuid4())
    for method, path in tried:
        answer = bob.open(path, method=method)
        as_unknown = bob.open(path.replace(hers, unknown), method=method)
        assert (answer.status_code, answer.json["code"]) == (404, "UNKNOWN_JOB"), (method, path)
        assert answer.text.replace(hers, "") == as_unknown.text.replace(unknown, ""), (method, path)
    assert alice.get(f"/api/job-status/{hers}").json["state"] == "PARTIAL"


def test_its_owner_has_it_by_any_of_his_keys(app: Flask, alice: FlaskClient, hers: str) -> None:
    for http in (alice, user(app, "a-second-key")):
        for path in (f"/api/job-status/{hers}", f"/api/jobs/{hers}/manifest", f"/api/jobs/{hers}/clips/1"):
            assert http.get(path).status_code == 200, path
    assert alice.delete(f"/api/jobs/{hers}").status_code == 204


def test_a_cached_status_is_its_owners_alone(alice: FlaskClient, bob: FlaskClient, hers: str) -> None:
    sources = [alice.get(f"/api/job-status/{hers}").json["source"] for _ in range(2)]
    assert sources == ["redis", "cache"]
    assert bob.get(f"/api/job-status/{hers}").status_code == 404


def test_while_redis_is_away_the_cache_tells_its_owner_alone(
    client: FakeClient, alice: FlaskClient, bob: FlaskClient, hers: str
) -> None:
    bobs = make_status(str(uuid4()), owner="bob")
    client.jobs[bobs.id] = bobs
    assert {alice.get(f"/api/job-status/{hers}").status_code, bob.get(f"/api/job-status/{bobs.id}").status_code} == {
        200
    }
    client.go_away()
    assert alice.get(f"/api/job-status/{hers}").json["stale"] is True
    assert [job["id"] for job in alice.get("/api/jobs").json["jobs"]] == [hers]
    assert [job["id"] for job in bob.get("/api/jobs").json["jobs"]] == [bobs.id]
    theirs, unknown = bob.get(f"/api/job-status/{hers}"), bob.get(f"/api/job-status/{uuid4()}")
    assert (theirs.status_code, theirs.json) == (unknown.status_code, unknown.json)
    assert theirs.status_code == 503


def test_the_list_is_of_ones_own_jobs(
    client: FakeClient, alice: FlaskClient, bob: FlaskClient, admin: FlaskClient, hers: str
) -> None:
    assert [job["id"] for job in alice.get("/api/jobs").json["jobs"]] == [hers]
    assert bob.get("/api/jobs").json == {"jobs": [], "next_cursor": None, "total": 0, "stale": False}
    assert admin.get("/api/jobs").json["total"] == 1
    assert admin.get(f"/api/job-status/{hers}").status_code == 200


def test_a_submitted_job_is_the_submitters(
    alice: FlaskClient, bob: FlaskClient, client: FakeClient, video: Path
) -> None:
    job = alice.post("/api/jobs", data=form(video.read_bytes())).json["id"]
    assert client.jobs[job].owner == "alice"
    assert alice.get(f"/api/job-status/{job}").status_code == 200
    assert bob.post(f"/api/jobs/{job}/cancel").status_code == 404
    assert client.jobs[job].state == "QUEUED"


def test_a_deleted_job_is_gone_for_its_owner_and_unknown_to_others(
    alice: FlaskClient, bob: FlaskClient, hers: str
) -> None:
    assert alice.delete(f"/api/jobs/{hers}").status_code == 204
    assert alice.get(f"/api/job-status/{hers}").status_code == 410
    assert bob.get(f"/api/job-status/{hers}").status_code == 404


def test_jobs_of_before_there_were_keys_are_the_admins(
    client: FakeClient, alice: FlaskClient, admin: FlaskClient, job: str
) -> None:
    assert alice.get(f"/api/job-status/{job}").status_code == 404
    assert admin.get(f"/api/job-status/{job}").status_code == 200


def test_what_one_may_see_is_kept_by_no_cache_for_others(alice: FlaskClient, hers: str) -> None:
    for path in ("/api/jobs", f"/api/jobs/{hers}/clips.zip"):
        assert alice.get(path).headers["Cache-Control"] == "no-store"
    assert "private" in alice.get(f"/api/jobs/{hers}/clips/1").headers["Cache-Control"]
