"""An audience's curve that comes with a source over HTTP."""

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.fakes import FakeClient
from tests.web.conftest import form
from topclip.model.request import MediaPath, Upload
from topclip.storage.local import LocalStore
from web.sniff import Sniffer

CSV = b"t,value\n0,1\n1,5\n"
SRT = b"1\n00:00:00,500 --> 00:00:01,000\nhello\n"


def with_curve(video: Path, content: bytes, name: str = "chat.json", **options: Any) -> dict[str, Any]:
    return form(video.read_bytes(), **options) | {"audience": (BytesIO(content), name)}


def test_a_curve_comes_with_an_upload_beside_subtitles(
    http: FlaskClient, client: FakeClient, video: Path, store: LocalStore
) -> None:
    data = with_curve(video, CSV, weights={"audience": 3}) | {"subtitles": (BytesIO(SRT), "talk.srt")}
    answer = http.post("/api/jobs", data=data)
    assert answer.status_code == 202, answer.text
    request = client.requests[answer.json["id"]]
    assert isinstance(request.audience, Upload)
    assert isinstance(request.subtitles, Upload)
    assert (request.audience.name, request.options.weights.audience) == ("chat.json", 3)
    assert store.get_bytes(request.audience.key) == CSV
    assert store.get_bytes(request.subtitles.key) == SRT


def test_a_curve_of_the_media_folder_is_named_beside_the_source(
    http: FlaskClient, client: FakeClient, video: Path, settings: Any
) -> None:
    (settings.media_root / "a.mp4").write_bytes(video.read_bytes())
    (settings.media_root / "a.csv").write_bytes(CSV)
    answer = http.post("/api/jobs", json={"source": "a.mp4", "audience": "a.csv"})
    assert answer.status_code == 202, answer.text
    found = client.requests[answer.json["id"]].audience
    assert isinstance(found, MediaPath)
    assert found.path == str((settings.media_root / "a.csv").resolve())
    for name, status in (("../a.csv", 422), ("b.csv", 404)):
        answer = http.post("/api/jobs", json={"source": "a.mp4", "audience": name})
        assert (answer.status_code, answer.json["field"]) == (status, "audience")


@pytest.mark.parametrize(
    ("content", "words"), [(b"1,2\n2,nan\n", "chat.json, line 2"), (b"", "empty"), (b"1" * ((8 << 20) + 1), "8 MiB")]
)
def test_a_curve_that_cannot_be_read_is_refused_with_its_line_and_leaves_nothing_behind(
    http: FlaskClient, video: Path, sniffer: Sniffer, store: LocalStore, content: bytes, words: str
) -> None:
    before = store.list("jobs")
    head = b'--b\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\n\r\n'
    body = head % (b"audience", b"chat.json") + content + b"\r\n" + head % (b"file", b"a.mp4") + video.read_bytes()
    answer = http.post("/api/jobs", data=body + b"\r\n--b--\r\n", content_type="multipart/form-data; boundary=b")
    assert (answer.status_code, answer.json["field"]) == (422, "audience"), answer.text
    assert words in answer.json["detail"]
    assert store.list("jobs") == before
    assert store.staged() == []


def test_a_key_stands_for_its_curve_too(http: FlaskClient, client: FakeClient, video: Path) -> None:
    bodies = set()
    for content in (CSV, b"0,1\n1,6\n"):
        answer = http.post("/api/jobs", data=with_curve(video, content), headers={"Idempotency-Key": "k"})
        assert answer.status_code in (202, 422), answer.text
        bodies.add(answer.status_code)
    assert bodies == {202, 422}


def test_the_form_and_the_document_of_the_api_have_a_place_for_a_curve(http: FlaskClient) -> None:
    assert 'name="audience"' in http.get("/").text
    schemas = http.get("/api/openapi.json").json["components"]["schemas"]
    assert all("audience" in schemas[name]["properties"] for name in ("UploadSubmission", "PathSubmission"))
