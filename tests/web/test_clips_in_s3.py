"""Clips that lie in a bucket: handed out by us, or fetched from there by the client."""

import contextlib
import time
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from botocore.exceptions import EndpointConnectionError
from flask.testing import FlaskClient

from tests.nodes import RedisContainer, WebContainer
from tests.proxy import Proxy
from tests.s3 import BUCKET, S3Container
from tests.waiting import until
from topclip.config import Settings
from topclip.storage.base import ArtifactStore
from topclip.storage.factory import store_for


@pytest.fixture
def public_endpoint() -> str:
    return ""


@pytest.fixture
def settings(shared_s3: S3Container, tmp_path: Path, public_endpoint: str) -> Settings:
    place = shared_s3.settings | {"store": f"{shared_s3.settings['store']}/{tmp_path.name}"}
    return Settings(data_dir=tmp_path, media_root=tmp_path / "media", s3_public_endpoint=public_endpoint, **place)


@pytest.fixture
def store(settings: Settings) -> ArtifactStore:
    return store_for(settings, for_requests=True)


def test_a_clip_is_handed_out_whole_and_in_part(http: FlaskClient, done: str) -> None:
    whole = http.get(f"/api/jobs/{done}/clips/1")
    assert whole.status_code == 200
    part = http.get(f"/api/jobs/{done}/clips/1", headers={"Range": "bytes=1-3"})
    assert (part.status_code, part.data) == (206, whole.data[1:4])
    assert "Location" not in part.headers


def test_a_client_is_told_nothing_of_a_store_that_is_away_the_log_is(
    http: FlaskClient,
    done: str,
    shared_s3: S3Container,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def away(*_: object, **__: object) -> None:
        raise EndpointConnectionError(endpoint_url=f"{shared_s3.endpoint}/{BUCKET}")

    monkeypatch.setattr("botocore.client.BaseClient._make_api_call", away)
    answer = http.get(f"/api/jobs/{done}/clips/1")
    assert (answer.status_code, answer.json["code"]) == (503, "STORAGE_UNAVAILABLE")
    assert answer.json["detail"] == "the store cannot be reached now"
    assert "hint" not in answer.json
    assert shared_s3.endpoint in caplog.text


class TestClientsReachTheBucket:
    @pytest.fixture
    def public_endpoint(self, shared_s3: S3Container) -> str:
        return shared_s3.endpoint

    def test_a_client_is_sent_there(self, http: FlaskClient, done: str) -> None:
        answer = http.get(f"/api/jobs/{done}/clips/1?download=true")
        assert answer.status_code == 307
        assert answer.headers["Cache-Control"] == "private, no-cache"
        fetched = httpx.get(answer.headers["Location"])
        head = http.head(f"/api/jobs/{done}/clips/1")
        assert (head.status_code, head.content_length) == (200, len(fetched.content))
        assert fetched.headers["content-type"] == "video/mp4"
        assert fetched.headers["content-disposition"] == answer.headers["Content-Disposition"]
        assert fetched.headers["content-disposition"].startswith("attachment")

    def test_what_it_has_already_is_not_fetched_again(self, http: FlaskClient, done: str) -> None:
        etag = http.get(f"/api/jobs/{done}/clips/1").headers["ETag"]
        assert http.get(f"/api/jobs/{done}/clips/1", headers={"If-None-Match": etag}).status_code == 304

    def test_a_clip_that_is_gone_is_said_by_us(self, http: FlaskClient, done: str, store: ArtifactStore) -> None:
        for key in store.list(f"jobs/{done}/clips"):
            store.delete(key)
        assert http.get(f"/api/jobs/{done}/clips/1").status_code == 404

    def test_the_page_may_show_what_comes_from_there(self, http: FlaskClient, shared_s3: S3Container) -> None:
        policy = http.get("/").headers["Content-Security-Policy"]
        assert f"media-src 'self' {shared_s3.endpoint}" in policy
        assert f"img-src 'self' {shared_s3.endpoint} data:" in policy


@pytest.mark.faults
def test_the_server_starts_while_the_bucket_is_silent_and_serves_once_it_answers(
    shared_s3: S3Container, redis: RedisContainer, tmp_path: Path
) -> None:
    unknown = f"/api/job-status/{uuid4()}"
    with contextlib.closing(Proxy(shared_s3.port)) as proxy:
        proxy.is_silent = True
        place = shared_s3.settings | {
            "store": f"{shared_s3.settings['store']}/{tmp_path.name}",
            "s3_endpoint": f"http://127.0.0.1:{proxy.port}",
        }
        web = WebContainer(tmp_path, Settings(redis_url=redis.url, data_dir=tmp_path / "data", **place))
        try:
            assert web.ready()
            begun = time.monotonic()
            assert web.get("/health/ready").status_code == 503
            assert web.get(unknown).status_code == 503
            assert time.monotonic() - begun < 20
            assert "Traceback" not in web.logs()
            proxy.is_silent = False
            until(lambda: web.get("/health/ready").status_code == 200, 30, web.logs)
            until(lambda: web.get(unknown).status_code == 404, 30, web.logs)
        finally:
            web.teardown()
