"""Subtitles in, captions out, over HTTP."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urljoin
from zipfile import ZipFile

import pytest
from flask.testing import FlaskClient

from tests.fakes import FakeClient
from tests.web.conftest import form
from topclip.model.request import MediaPath, Upload
from topclip.storage.local import LocalStore
from web.sniff import Sniffer

SRT = b"1\n00:00:00,500 --> 00:00:01,000\nhello\n"
WRONG = b"1\n00:00:05,000 --> 00:00:01,000\nhello\n"


def with_subtitles(video: Path, content: bytes, name: str = "talk.srt", **options: Any) -> dict[str, Any]:
    return form(video.read_bytes(), **options) | {"subtitles": (BytesIO(content), name)}


def test_a_subtitle_file_comes_with_an_upload(
    http: FlaskClient, client: FakeClient, video: Path, store: LocalStore
) -> None:
    answer = http.post("/api/jobs", data=with_subtitles(video, SRT, captions="burn", caption_style="box"))
    assert answer.status_code == 202, answer.text
    request = client.requests[answer.json["id"]]
    assert isinstance(request.subtitles, Upload)
    assert request.subtitles.name == "talk.srt"
    assert store.get_bytes(request.subtitles.key) == SRT
    assert (request.options.captions, request.options.caption_style) == ("burn", "box")


def test_a_subtitle_file_of_the_media_folder_is_named_beside_the_source(
    http: FlaskClient, client: FakeClient, video: Path, settings: Any
) -> None:
    (settings.media_root / "a.mp4").write_bytes(video.read_bytes())
    (settings.media_root / "a.srt").write_bytes(SRT)
    answer = http.post("/api/jobs", json={"source": "a.mp4", "subtitles": "a.srt"})
    assert answer.status_code == 202, answer.text
    found = client.requests[answer.json["id"]].subtitles
    assert isinstance(found, MediaPath)
    assert found.path == str((settings.media_root / "a.srt").resolve())
    for name, status in (("../a.srt", 422), ("b.srt", 404)):
        answer = http.post("/api/jobs", json={"source": "a.mp4", "subtitles": name})
        assert (answer.status_code, answer.json["field"]) == (status, "subtitles")


@pytest.mark.parametrize(
    ("content", "words"), [(WRONG, "talk.srt, line 2"), (b"", "empty"), (b"x" * (8 << 20) + b"y", "8 MiB")]
)
def test_subtitles_that_cannot_be_read_are_refused_with_their_line_and_leave_nothing_behind(
    http: FlaskClient, video: Path, sniffer: Sniffer, store: LocalStore, content: bytes, words: str
) -> None:
    before = store.list("jobs")
    head = b'--b\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\n\r\n'
    body = head % (b"subtitles", b"talk.srt") + content + b"\r\n" + head % (b"file", b"a.mp4") + video.read_bytes()
    answer = http.post("/api/jobs", data=body + b"\r\n--b--\r\n", content_type="multipart/form-data; boundary=b")
    assert (answer.status_code, answer.json["field"]) == (422, "subtitles"), answer.text
    assert words in answer.json["detail"]
    assert "hint" in answer.json or content == b""
    assert store.list("jobs") == before
    assert store.staged() == []


@pytest.mark.parametrize("options", [{"captions": "yes"}, {"caption_style": "comic"}, {"transcribe": 1}])
def test_a_wrong_option_of_captions_is_named(http: FlaskClient, video: Path, options: dict[str, Any]) -> None:
    answer = http.post("/api/jobs", data=form(video.read_bytes(), **options))
    assert (answer.status_code, answer.json["field"]) == (422, next(iter(options)))


@pytest.fixture
def captioned(done: str, store: LocalStore) -> str:
    """The finished job; its first clip has captions."""
    key = f"jobs/{done}/manifest-a.json"
    manifest = json.loads(store.get_bytes(key))
    files = {kind: f"clips/1-a.{kind}" for kind in ("srt", "vtt")}
    manifest["clips"][0]["captions"] = {**files, "cues": 1, "burned": False, "origin": "subtitles"}
    store.delete(key)
    store.put_bytes(key, json.dumps(manifest).encode())
    for kind, name in files.items():
        store.put_bytes(f"jobs/{done}/{name}", f"this is {kind}".encode())
    return done


def test_captions_are_read_by_number_and_by_their_name_in_the_manifest(http: FlaskClient, captioned: str) -> None:
    base = f"/api/jobs/{captioned}/"
    for kind, media_type in (("srt", "application/x-subrip"), ("vtt", "text/vtt")):
        for path in (f"clips/1/captions.{kind}", f"clips/1-a.{kind}"):
            answer = http.get(urljoin(base, path))
            assert (answer.status_code, answer.text, answer.mimetype) == (200, f"this is {kind}", media_type)
            assert http.get(urljoin(base, path), headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304
    assert (
        http.get(f"{base}clips/1/captions.vtt").headers["ETag"]
        != http.get(f"{base}clips/1/captions.srt").headers["ETag"]
    )


def test_a_clip_without_captions_says_so(http: FlaskClient, captioned: str) -> None:
    answer = http.get(f"/api/jobs/{captioned}/clips/2/captions.vtt")
    assert (answer.status_code, answer.json["code"]) == (404, "ARTIFACT_MISSING")
    assert answer.json["hint"]


def test_the_archive_has_the_captions(http: FlaskClient, captioned: str) -> None:
    archive = ZipFile(BytesIO(http.get(f"/api/jobs/{captioned}/clips.zip").data))
    assert archive.read("clips/1-a.srt") == b"this is srt"
    assert archive.read("clips/1-a.vtt") == b"this is vtt"


def test_the_form_offers_captions_and_a_place_for_subtitles(http: FlaskClient) -> None:
    page = http.get("/").text
    assert 'name="subtitles"' in page
    assert all(
        f'value="{value}"' in page for value in ("auto", "burn", "side", "off", "spoken", "plain", "box", "large")
    )


def test_the_document_of_the_api_tells_of_subtitles_and_captions(http: FlaskClient) -> None:
    document = http.get("/api/openapi.json").json
    assert "subtitles" in document["components"]["schemas"]["UploadSubmission"]["properties"]
    assert "subtitles" in document["components"]["schemas"]["PathSubmission"]["properties"]
    assert {"captions", "caption_style", "transcribe"} <= document["components"]["schemas"]["ClipOptions"][
        "properties"
    ].keys()
    assert "/api/jobs/{job_id}/clips/{n}/captions.vtt" in document["paths"]
