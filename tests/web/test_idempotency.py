"""Submissions that are sent again under their key, and what a low disk takes no more."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.fakes import FakeClient
from tests.web.conftest import form
from topclip.config import Settings
from topclip.model.job import JobState
from topclip.storage.local import LocalStore
from web.app import create_app, stop

Files = Callable[[], list[str]]


def _post(http: FlaskClient, content: bytes, key: str, name: str = "a.mp4", **options: Any) -> Any:
    return http.post("/api/jobs", data=form(content, name, **options), headers={"Idempotency-Key": key})


def test_a_submission_that_is_sent_again_is_the_same_job_whatever_its_form(
    http: FlaskClient, client: FakeClient, video: Path, files: Files
) -> None:
    first = _post(http, video.read_bytes(), "k", count=5)
    before = files()
    for again in (
        _post(http, video.read_bytes(), "k", count=5),
        _post(http, video.read_bytes(), "k", name="other name.mov"),  # 5 is the default
        _post(http, video.read_bytes(), "k", name="a.mp4", aspect="source", count=5),
    ):
        assert (again.status_code, again.json) == (202, first.json)
        assert again.headers["Location"] == first.headers["Location"]
    assert len(client.jobs) == 1
    assert files() == before
    assert _post(http, video.read_bytes(), "k2").json["id"] != first.json["id"]


def test_the_same_key_with_another_body_is_422_and_leaves_nothing(
    http: FlaskClient, client: FakeClient, video: Path, files: Files, settings: Settings
) -> None:
    assert settings.media_root
    (settings.media_root / "talk.mp4").write_bytes(video.read_bytes())
    _post(http, video.read_bytes(), "k")
    before = files()
    path = {"json": {"source": "talk.mp4"}, "headers": {"Idempotency-Key": "k"}}
    for answer in (
        _post(http, video.read_bytes() + b"x", "k"),
        _post(http, video.read_bytes(), "k", count=4),
        http.post("/api/jobs", **path),
    ):
        assert (answer.status_code, answer.json["code"]) == (422, "INVALID_REQUEST")
        assert answer.json["field"] == "Idempotency-Key"
    assert files() == before
    assert len(client.jobs) == 1


def test_a_path_is_sent_again_by_its_key_however_it_is_written(
    http: FlaskClient, video: Path, settings: Settings
) -> None:
    assert settings.media_root
    (settings.media_root / "talk.mp4").write_bytes(video.read_bytes())
    headers = {"Idempotency-Key": "k"}
    sources = ("talk.mp4", "./talk.mp4", str(settings.media_root / "talk.mp4"))
    answers = [http.post("/api/jobs", json={"source": source}, headers=headers) for source in sources]
    assert [a.status_code for a in answers] == [202] * 3
    assert len({a.json["id"] for a in answers}) == 1


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_a_key_that_is_none_is_422(http: FlaskClient, files: Files, key: str) -> None:
    answer = _post(http, b"x", key)
    assert (answer.status_code, answer.json["field"]) == (422, "Idempotency-Key")
    assert files() == []


def test_the_keys_header_is_documented(http: FlaskClient) -> None:
    (operation,) = [http.get("/api/openapi.json").json["paths"]["/api/jobs"]["post"]]
    assert [(p["in"], p["name"]) for p in operation["parameters"]] == [("header", "Idempotency-Key")]


@pytest.fixture
def low(settings: Settings, client: FakeClient, store: LocalStore, app: Flask) -> Iterator[FlaskClient]:
    """A server whose store has less room than is kept free."""
    found = create_app(settings.model_copy(update={"min_free_mb": 1 << 40}), client, store)
    yield found.test_client()
    stop(found)


def test_a_low_disk_takes_neither_uploads_nor_paths_nor_retries_but_knows_a_key_again(
    low: FlaskClient, http: FlaskClient, client: FakeClient, video: Path, settings: Settings, files: Files, done: str
) -> None:
    assert settings.media_root
    (settings.media_root / "talk.mp4").write_bytes(video.read_bytes())
    known = _post(http, video.read_bytes(), "k")
    before = files()
    for field, answer in (
        ("file", low.post("/api/jobs", data=form(video.read_bytes()))),
        ("source", low.post("/api/jobs", json={"source": "talk.mp4"})),
        (None, low.post(f"/api/jobs/{done}/retry")),
    ):
        assert (answer.status_code, answer.json["code"], answer.json.get("field")) == (507, "STORAGE_FULL", field)
        assert answer.json["hint"]
    again = _post(low, video.read_bytes(), "k")
    assert (again.status_code, again.json) == (202, known.json)
    assert files() == before
    assert client.jobs[done].state is JobState.PARTIAL
