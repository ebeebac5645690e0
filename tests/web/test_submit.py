"""POST /api/jobs: what is taken, what is refused, and that a refusal leaves nothing behind."""

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from io import BytesIO, RawIOBase
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from gunicorn.http.errors import ChunkMissingTerminator, InvalidChunkSize, NoMoreData

from tests.fakes import FakeClient
from tests.waiting import until
from tests.web.conftest import form, refuses
from topclip.config import Settings
from topclip.model.request import Aspect, MediaPath, Upload, UrlSource
from topclip.storage.local import LocalStore
from web.app import ABANDONED_S, create_app, services_of, stop
from web.intake import STAGED
from web.sniff import Sniffer
from workers.budget import StoreUse

Files = Callable[[], list[str]]
BOUNDARY = "multipart/form-data; boundary=b"


def _body(*parts: tuple[str, bytes]) -> bytes:
    return b"".join(b"--b\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + content + b"\r\n"
                    for head, content in parts) + b"--b--\r\n"  # fmt: skip


def test_it_takes_an_upload_and_says_where_its_status_is(
    http: FlaskClient, client: FakeClient, video: Path, store: LocalStore
) -> None:
    answer = http.post("/api/jobs", data=form(video.read_bytes(), count=2, aspect="9:16"))
    assert answer.status_code == 202
    job_id = answer.json["id"]
    assert answer.json["status_url"] == answer.headers["Location"] == f"/api/job-status/{job_id}"
    request = client.requests[job_id]
    assert (request.options.count, request.options.aspect) == (2, Aspect.VERTICAL)
    assert isinstance(request.source, Upload)
    assert request.source.name == "talk.mp4"
    assert store.get_bytes(request.source.key) == video.read_bytes()
    assert http.get(answer.headers["Location"]).json["state"] == "QUEUED"


def test_a_disk_that_breaks_under_an_upload_is_the_stores_fault(
    http: FlaskClient, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(_: int) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("web.intake.SYNC_BYTES", 1)
    monkeypatch.setattr("os.fdatasync", break_off)
    answer = http.post("/api/jobs", data=form(b"x" * 1000))
    assert (answer.status_code, answer.json["code"]) == (503, "STORAGE_UNAVAILABLE")
    assert files() == []


def test_options_may_come_before_or_after_the_file(http: FlaskClient, client: FakeClient, video: Path) -> None:
    file = ('name="file"; filename="a.mp4"', video.read_bytes())
    options = ('name="options"', b'{"count": 3}')
    for parts in ((file, options), (options, file)):
        answer = http.post("/api/jobs", data=_body(*parts), content_type=BOUNDARY)
        assert answer.status_code == 202
        assert client.requests[answer.json["id"]].options.count == 3


def test_options_may_be_left_out(http: FlaskClient, client: FakeClient, video: Path) -> None:
    answer = http.post("/api/jobs", data=form(video.read_bytes()))
    assert client.requests[answer.json["id"]].options.count == 5


@pytest.mark.parametrize(
    ("name", "suffix"), [("a.MP4", ".mp4"), ("a.b c", ""), ("../../etc/passwd", ""), ("x.toolongsuffix", "")]
)
def test_only_a_harmless_suffix_of_the_name_gets_into_the_store(
    http: FlaskClient, client: FakeClient, video: Path, name: str, suffix: str
) -> None:
    answer = http.post("/api/jobs", data=form(video.read_bytes(), name))
    source = client.requests[answer.json["id"]].source
    assert isinstance(source, Upload)
    assert source.key == f"jobs/{answer.json['id']}/source{suffix}"
    assert "/" not in source.name


BAD_OPTIONS = [
    ('{"count": 0}', "count"),
    ('{"count": true}', "count"),
    ('{"count": "2"}', "count"),
    ('{"cuont": 2}', "cuont"),
    ('{"aspect": "2:1"}', "aspect"),
    ('{"min_length": 20, "max_length": 10}', "max_length"),
    ('{"mode": "ranges"}', "ranges"),
    ('{"mode": "ranges", "ranges": [[0, 1e400]]}', "ranges.0.1"),
    ('{"weights": {"loudness": -1}}', "weights.loudness"),
    ("[1]", "options"),
]


@pytest.mark.parametrize(("options", "field"), BAD_OPTIONS)
def test_a_bad_option_is_422_and_named(http: FlaskClient, video: Path, files: Files, options: str, field: str) -> None:
    answer = http.post("/api/jobs", data={"options": options, **form(video.read_bytes())})
    assert (answer.status_code, answer.json["code"], answer.json["field"]) == (422, "INVALID_REQUEST", field)
    assert answer.content_type == "application/problem+json"
    assert files() == []


@pytest.mark.parametrize(("options", "field"), BAD_OPTIONS[:-1])
def test_a_json_body_names_its_bad_option_in_the_same_way(http: FlaskClient, options: str, field: str) -> None:
    answer = http.post(
        "/api/jobs", data=f'{{"source": "a.mp4", "options": {options}}}', content_type="application/json"
    )
    assert (answer.status_code, answer.json["field"]) == (422, field)


def test_all_faults_are_told_at_once(http: FlaskClient, video: Path) -> None:
    answer = http.post("/api/jobs", data=form(video.read_bytes(), count=0, nonsense=1, aspect="x"))
    assert {e["field"] for e in answer.json["errors"]} == {"count", "nonsense", "aspect"}


@pytest.mark.parametrize("options", ["{", "", "NaN", '{"min_length": NaN}', "[" * 100_000])
def test_options_that_are_no_json_are_400(http: FlaskClient, video: Path, files: Files, options: str) -> None:
    body = f'{{"source": "a", "options": {options}}}'
    answer = http.post("/api/jobs", data=body, content_type="application/json")
    assert (answer.status_code, answer.json["code"]) == (400, "BAD_REQUEST")


REFUSALS = [
    (_body(('name="options"', b"{}")), BOUNDARY, 422, "file"),
    (_body(('name="file"; filename="a.mp4"', b"")), BOUNDARY, 422, "file"),
    (_body(('name="film"; filename="a.mp4"', b"x")), BOUNDARY, 422, "film"),
    (_body(*[('name="file"; filename="a"', b"x")] * 2), BOUNDARY, 422, "file"),
    (_body(('name="file"; filename="a.mp4"', b"x" * 2_000_000)), BOUNDARY, 413, "file"),
    (_body(('name="file"; filename="a.mp4"', b"x" * 999))[:-9], BOUNDARY, 400, None),
    (b"--b\r\n" + b"x" * 19_000_000, BOUNDARY, 413, "file"),
    (b"--b\r\n" + b"x" * 1_100_000, BOUNDARY, 400, None),
    (b"x", "multipart/form-data", 400, None),
    (b"x", "text/plain", 415, None),
    (b"{}", "application/json", 422, "source"),
    (b'{"source": "../secret"}', "application/json", 422, "source"),
    (b'{"source": "/etc/passwd"}', "application/json", 422, "source"),
    (b'{"source": "none.mp4"}', "application/json", 404, "source"),
    (b'{"source": "a\\u0000b"}', "application/json", 422, "source"),
    (b'{"source": "a.mp4", "more": 1}', "application/json", 422, "more"),
    (b'{"source": "a.mp4", "source": "a.mp4"}', "application/json", 422, "source"),
    (b'{"source": "a.mp4", "options": {"count": 1, "count": 1}}', "application/json", 422, "count"),
    (_body(('name="options"', b'{"aspect": "9:16", "aspect": "1:1"}')), BOUNDARY, 422, "aspect"),
]


@pytest.mark.parametrize(("body", "content_type", "status", "field"), REFUSALS)
def test_a_refusal_has_its_status_and_leaves_nothing_behind(
    http: FlaskClient, files: Files, body: bytes, content_type: str, status: int, field: str | None
) -> None:
    answer = http.post("/api/jobs", data=body, content_type=content_type)
    assert (answer.status_code, answer.json.get("field")) == (status, field), answer.text
    assert answer.content_type == "application/problem+json"
    assert files() == []


def test_a_file_that_is_no_video_is_415_and_leaves_nothing_behind(
    sniffer: Sniffer, http: FlaskClient, files: Files
) -> None:
    answer = http.post("/api/jobs", data=form(b"no video at all"))
    assert (answer.status_code, answer.json["code"], answer.json["field"]) == (415, "UNSUPPORTED_MEDIA", "file")
    assert files() == []


def test_a_path_of_the_media_folder_that_is_no_video_is_415(
    sniffer: Sniffer, http: FlaskClient, settings: Settings
) -> None:
    assert settings.media_root
    (settings.media_root / "a.mp4").write_bytes(b"no video at all")
    answer = http.post("/api/jobs", json={"source": "a.mp4"})
    assert (answer.status_code, answer.json["field"]) == (415, "source")


@pytest.mark.parametrize("limit", [{"max_duration_s": 1.0}, {"max_pixels": 5000}])
def test_a_source_beyond_the_limits_is_413_and_leaves_nothing_behind(
    settings: Settings, client: FakeClient, store: LocalStore, video: Path, files: Files, limit: dict[str, Any]
) -> None:
    app = create_app(settings.model_copy(update=limit), client, store)
    services_of(app).sniffer.start()
    with video.open("rb") as file:
        until(lambda: refuses(services_of(app).sniffer, Path(__file__)), 30)
        answer = app.test_client().post("/api/jobs", data={"file": (file, "talk.mp4")})
    stop(app)
    assert (answer.status_code, answer.json["code"], answer.json["field"]) == (413, "SOURCE_TOO_LARGE", "file")
    assert files() == []


def test_bad_options_that_come_first_are_refused_before_the_file_is_read(http: FlaskClient) -> None:
    stream = BytesIO(_body(('name="options"', b'{"count": 0}'), ('name="file"; filename="a"', b"x" * 900_000)))
    answer = http.post("/api/jobs", input_stream=stream, content_type=BOUNDARY, buffered=False)
    assert answer.status_code == 422


def test_it_takes_a_path_of_the_media_folder(
    http: FlaskClient, client: FakeClient, video: Path, settings: Settings
) -> None:
    assert settings.media_root
    (settings.media_root / "talk.mp4").write_bytes(video.read_bytes())
    for source in ("talk.mp4", str(settings.media_root / "talk.mp4")):
        answer = http.post("/api/jobs", json={"source": source, "options": {"count": 1}})
        assert answer.status_code == 202
        found = client.requests[answer.json["id"]].source
        assert found == MediaPath(path=str(settings.media_root.resolve() / "talk.mp4"), name="talk.mp4")


def test_a_link_out_of_the_media_folder_is_refused(http: FlaskClient, video: Path, settings: Settings) -> None:
    assert settings.media_root
    (settings.media_root / "out.mp4").symlink_to(video)
    assert http.post("/api/jobs", json={"source": "out.mp4"}).status_code == 422


def test_while_redis_is_away_it_is_503_and_nothing_stays(
    http: FlaskClient, client: FakeClient, video: Path, files: Files
) -> None:
    client.go_away()
    answer = http.post("/api/jobs", data=form(video.read_bytes()))
    assert (answer.status_code, answer.json["code"]) == (503, "QUEUE_UNAVAILABLE")
    assert int(answer.headers["Retry-After"]) > 0
    assert files() == []


def test_redis_going_away_during_the_submit_leaves_nothing_behind(
    http: FlaskClient, client: FakeClient, video: Path, files: Files
) -> None:
    client.is_away = True  # the watch has not noticed yet
    assert http.post("/api/jobs", data=form(video.read_bytes())).status_code == 503
    assert files() == []


def test_a_disk_that_gets_low_while_an_upload_comes_is_507_and_leaves_nothing(
    http: FlaskClient, store: LocalStore, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.intake.SYNC_BYTES", 100_000)
    rooms = iter([1 << 40, 1 << 40])
    monkeypatch.setattr(store, "free_bytes", lambda: next(rooms, 0))
    body = _body(('name="file"; filename="a.mp4"', b"x" * 900_000))
    answer = http.post("/api/jobs", data=body, content_type=BOUNDARY)
    assert (answer.status_code, answer.json["code"], answer.json["field"]) == (507, "STORAGE_FULL", "file")
    assert int(answer.headers["Retry-After"]) >= 30
    assert files() == []


def test_uploads_of_killed_processes_are_swept(store: LocalStore) -> None:
    old, young = (store.staging() / f"{STAGED}{name}" for name in ("old", "young"))
    for path in (old, young):
        path.write_bytes(b"x")
    long_ago = time.time() - ABANDONED_S - 1
    os.utime(old, (long_ago, long_ago))
    assert store.sweep(ABANDONED_S) == 1
    assert (old.exists(), young.exists()) == (False, True)


def test_the_web_process_never_loads_media_code() -> None:
    code = (
        "import sys, json, web.wsgi; "
        "print(json.dumps([m for m in sys.modules if m.startswith(('av', 'numpy', 'topclip.media', 'topclip.pipeline',"
        " 'topclip.analysers', 'workers.tasks'))]))"
    )
    loaded = json.loads(_python(code))
    assert [m for m in loaded if not m.startswith("numpy")] == []


def _python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


SECRET = "whsec_" + "A" * 32


@pytest.fixture
def signing(settings: Settings, client: FakeClient, store: LocalStore) -> Iterator[FlaskClient]:
    """A server that sends callbacks."""
    app = create_app(settings.model_copy(update={"webhook_secret": (SECRET,)}), client, store)
    yield app.test_client()
    stop(app)


def test_a_url_is_taken_for_a_worker_to_fetch(http: FlaskClient, client: FakeClient) -> None:
    answer = http.post(
        "/api/jobs", json={"source": "https://example.com/a/Talk%201.MP4?key=1", "options": {"count": 2}}
    )
    assert answer.status_code == 202
    request = client.requests[answer.json["id"]]
    assert request.source == UrlSource(
        url="https://example.com/a/Talk%201.MP4?key=1",
        key=f"jobs/{answer.json['id']}/source.mp4",
        name="Talk 1.MP4",
    )
    assert http.get(answer.headers["Location"]).json["name"] == "Talk 1.MP4"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/a.mp4",
        "file:///etc/passwd",
        "http://127.0.0.1/a",
        "http://169.254.169.254/",
        "https://u:p@a.b/c",
    ],
)
def test_a_url_that_leads_where_none_may_is_422_and_named(
    http: FlaskClient, signing: FlaskClient, video: Path, files: Files, url: str
) -> None:
    answer = http.post("/api/jobs", json={"source": url})
    assert (answer.status_code, answer.json["code"], answer.json["field"]) == (422, "INVALID_REQUEST", "source")
    answer = signing.post("/api/jobs", json={"source": "https://example.com/a", "options": {"callback_url": url}})
    assert (answer.status_code, answer.json["field"]) == (422, "callback_url")
    answer = signing.post("/api/jobs", data=form(video.read_bytes(), callback_url=url))
    assert (answer.status_code, answer.json["field"]) == (422, "callback_url")
    assert files() == []


def test_a_callback_is_refused_by_a_server_that_cannot_sign_it(
    http: FlaskClient, signing: FlaskClient, client: FakeClient, video: Path
) -> None:
    url = "https://example.com/hook?key=1"
    for body in (
        {"json": {"source": "https://a.b/c", "options": {"callback_url": url}}},
        {"data": form(callback_url=url)},
    ):
        answer = http.post("/api/jobs", **body)
        assert (answer.status_code, answer.json["field"]) == (422, "callback_url")
        assert "TOPCLIP_WEBHOOK_SECRET" in answer.json["hint"]
    answer = signing.post("/api/jobs", data=form(video.read_bytes(), callback_url=url))
    assert client.requests[answer.json["id"]].options.callback_url == url


class Broken(RawIOBase):
    """A body as gunicorn hands it on, whose second piece is `error`."""

    def __init__(self, head: bytes, error: OSError) -> None:
        self._head, self._error = head, error

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if not self._head:
            raise self._error
        head, self._head = self._head, b""
        return head


@pytest.mark.parametrize(
    "error",
    [InvalidChunkSize(b"zz"), ChunkMissingTerminator(b"x"), NoMoreData(b""), ConnectionResetError(104, "reset")],
)
@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=b", "application/json"])
def test_a_body_that_breaks_off_is_the_clients_fault(
    http: FlaskClient, files: Files, error: OSError, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\nxxx' if "form" in kind else b""
    answer = http.post(
        "/api/jobs",
        content_type=kind,
        environ_overrides={"wsgi.input": Broken(head, error), "wsgi.input_terminated": True},
    )
    assert (answer.status_code, answer.json["code"]) == (400, "BAD_REQUEST")
    assert "breaks off" in answer.json["detail"]
    assert files() == []
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_what_would_pass_the_stores_budget_is_507_and_leaves_nothing(
    settings: Settings, client: FakeClient, store: LocalStore, video: Path, files: Files
) -> None:
    app, mb = create_app(settings.model_copy(update={"store_budget_gb": 1 / 1024}), client, store), 1 << 20
    http = app.test_client()
    for use, status in ((None, 202), (StoreUse(9 * mb, 9 * mb, 1.0), 202), (StoreUse(9 * mb, 8 * mb, 1.0), 507)):
        client.use = use
        answer = http.post("/api/jobs", data=form(video.read_bytes()))
        assert answer.status_code == status
        assert client.is_asked_for_room is (status == 507)
    assert (answer.json["code"], answer.json["field"]) == ("STORAGE_FULL", "file")
    assert "TOPCLIP_STORE_BUDGET_GB" in answer.json["hint"]
    assert len([name for name in files() if name.endswith(".mp4")]) == 2
    found = http.get("/health").json["store"]
    assert (found["budget_bytes"], found["may_go_bytes"]) == (mb, 8 * mb)
    assert b"topclip_store_used_bytes 9.437184e+06" in http.get("/metrics").data
    stop(app)
