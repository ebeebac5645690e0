"""What a job made, over HTTP."""

import io
import json
import zipfile
from urllib.parse import urljoin
from uuid import uuid4

import pytest
from flask.testing import FlaskClient

from tests.fakes import FakeClient, clip_status
from tests.web.conftest import CLIP_BYTES
from topclip.model.job import JobState

CLIP = b"\1" + CLIP_BYTES
SIZE = len(CLIP)


def test_a_clip_comes_whole(http: FlaskClient, done: str) -> None:
    answer = http.get(f"/api/jobs/{done}/clips/1")
    assert (answer.status_code, answer.data, answer.content_type) == (200, CLIP, "video/mp4")
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["ETag"] == f'"{"1" * 64}"'
    assert answer.content_length == SIZE


RANGES = [
    ("bytes=0-9", 0, 10),
    ("bytes=100-", 100, SIZE),
    ("bytes=-50", SIZE - 50, SIZE),
    ("bytes=5-5", 5, 6),
    (f"bytes=10-{SIZE * 2}", 10, SIZE),
    (f"bytes=-{SIZE * 2}", 0, SIZE),
]


@pytest.mark.parametrize(("wanted", "start", "end"), RANGES)
def test_a_part_of_a_clip_is_206(http: FlaskClient, done: str, wanted: str, start: int, end: int) -> None:
    answer = http.get(f"/api/jobs/{done}/clips/1", headers={"Range": wanted})
    assert (answer.status_code, answer.data) == (206, CLIP[start:end])
    assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert answer.content_length == end - start


@pytest.mark.parametrize("wanted", [f"bytes={SIZE}-", "bytes=999999-1000000", "bytes=-0"])
def test_a_part_beyond_the_end_is_416(http: FlaskClient, done: str, wanted: str) -> None:
    answer = http.get(f"/api/jobs/{done}/clips/1", headers={"Range": wanted})
    assert (answer.status_code, answer.headers["Content-Range"]) == (416, f"bytes */{SIZE}")


@pytest.mark.parametrize("wanted", ["bytes=0-1,5-6", "lines=1-2", "bytes=x", "bytes=9-2"])
def test_a_range_that_we_do_not_know_is_the_whole(http: FlaskClient, done: str, wanted: str) -> None:
    answer = http.get(f"/api/jobs/{done}/clips/1", headers={"Range": wanted})
    assert (answer.status_code, answer.data) == (200, CLIP)


def test_if_range_gives_the_part_only_of_the_same_clip(http: FlaskClient, done: str) -> None:
    def status(condition: str) -> int:
        headers = {"Range": "bytes=0-9", "If-Range": condition}
        return http.get(f"/api/jobs/{done}/clips/1", headers=headers).status_code

    assert status(f'"{"1" * 64}"') == 206
    assert status('"other"') == 200
    assert status("Wed, 21 Oct 2015 07:28:00 GMT") == 200


def test_a_head_has_the_headers_and_no_body(http: FlaskClient, done: str) -> None:
    answer = http.head(f"/api/jobs/{done}/clips/1")
    assert (answer.status_code, answer.data, answer.headers["Content-Length"]) == (200, b"", str(SIZE))
    answer = http.head(f"/api/jobs/{done}/clips/1", headers={"Range": "bytes=0-9"})
    assert (answer.status_code, answer.headers["Content-Length"]) == (206, "10")


def test_a_clip_that_the_client_has_is_304(http: FlaskClient, done: str) -> None:
    assert http.get(f"/api/jobs/{done}/clips/1", headers={"If-None-Match": f'"{"1" * 64}"'}).status_code == 304


def test_a_download_has_a_good_name_in_any_language(http: FlaskClient, done: str) -> None:
    kept = http.get(f"/api/jobs/{done}/clips/1").headers["Content-Disposition"]
    saved = http.get(f"/api/jobs/{done}/clips/1?download=1").headers["Content-Disposition"]
    assert (kept.split(";")[0], saved.split(";")[0]) == ("inline", "attachment")
    assert "filename*=UTF-8''Gr%C3%B6%C3%9Fe%20_b_-clip-1.mp4" in saved


def test_thumbnail_plan_and_manifest_come_as_they_were_made(http: FlaskClient, done: str) -> None:
    thumbnail = http.get(f"/api/jobs/{done}/clips/2/thumbnail")
    assert (thumbnail.data, thumbnail.content_type) == (b"picture", "image/jpeg")
    assert http.get(f"/api/jobs/{done}/plan").data == b'{"highlights": [],  "near_misses": []}'
    manifest = http.get(f"/api/jobs/{done}/manifest")
    assert [c["n"] for c in manifest.json["clips"]] == [1, 2]
    again = http.get(f"/api/jobs/{done}/manifest", headers={"If-None-Match": manifest.headers["ETag"]})
    assert again.status_code == 304


def test_the_links_of_the_manifest_work_as_they_stand(http: FlaskClient, done: str) -> None:
    path = f"/api/jobs/{done}/manifest"
    for made in http.get(path).json["clips"]:
        assert http.get(urljoin(path, made["file"])).data[0] == made["n"]
        assert http.get(urljoin(path, made["thumbnail"])).content_type == "image/jpeg"
    assert http.get(urljoin(path, "clips/other.mp4")).status_code == 404


def test_the_plan_is_found_by_its_name_in_the_manifest(http: FlaskClient, client: FakeClient, done: str) -> None:
    path = f"/api/jobs/{done}/manifest"
    name = http.get(path).json["plan"]
    assert http.get(urljoin(path, name)).data == http.get(f"/api/jobs/{done}/plan").data
    assert http.get(urljoin(path, "plan-other.json")).status_code == 404


def test_the_archive_is_the_manifest_and_all_that_it_names(http: FlaskClient, done: str) -> None:
    answer = http.get(f"/api/jobs/{done}/clips.zip")
    with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
        assert archive.testzip() is None
        assert archive.read("manifest.json") == http.get(f"/api/jobs/{done}/manifest").data
        made = json.loads(archive.read("manifest.json"))
        named = [made["plan"], *(c[what] for c in made["clips"] for what in ("file", "thumbnail"))]
        assert archive.namelist() == ["manifest.json", *named]
        assert archive.read(made["plan"]) == http.get(f"/api/jobs/{done}/plan").data
        assert archive.read(made["clips"][0]["file"]) == CLIP
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())


@pytest.mark.parametrize("path", ["plan", "manifest", "clips/1", "clips/3", "clips/1/thumbnail", "clips.zip"])
def test_what_may_still_come_is_409(http: FlaskClient, job: str, path: str) -> None:
    answer = http.get(f"/api/jobs/{job}/{path}")
    assert (answer.status_code, answer.json["code"]) == (409, "NOT_READY")


def test_a_clip_that_will_never_be_is_404(http: FlaskClient, client: FakeClient, job: str, done: str) -> None:
    assert http.get(f"/api/jobs/{job}/clips/4").status_code == 404  # three are wanted
    assert http.get(f"/api/jobs/{job}/clips/0").status_code == 404
    client.change(job, clips=(clip_status(1, "RUNNING"),))
    assert http.get(f"/api/jobs/{job}/clips/2").status_code == 404  # one was found
    failed = http.get(f"/api/jobs/{done}/clips/3")
    assert failed.status_code == 404
    assert "ffmpeg could not" in failed.json["detail"]
    client.change(job, state=JobState.FAILED)
    assert http.get(f"/api/jobs/{job}/clips/1").status_code == 404
    assert http.get(f"/api/jobs/{job}/plan").status_code == 404


def test_clips_are_served_while_redis_is_away(http: FlaskClient, client: FakeClient, done: str) -> None:
    http.get(f"/api/job-status/{done}")
    client.go_away()
    assert http.get(f"/api/jobs/{done}/clips/1").data == CLIP
    assert http.get(f"/api/jobs/{uuid4()}/clips/1").status_code == 503


@pytest.mark.parametrize("path", ["plan", "plan-a.json", "manifest", "clips/1", "clips/1-a.mp4", "clips.zip"])
def test_what_may_have_come_since_redis_went_away_is_503(
    http: FlaskClient, client: FakeClient, job: str, path: str
) -> None:
    http.get(f"/api/job-status/{job}")
    client.go_away()
    answer = http.get(f"/api/jobs/{job}/{path}")
    assert (answer.status_code, answer.json["code"]) == (503, "QUEUE_UNAVAILABLE")
    assert int(answer.headers["Retry-After"]) > 0


def test_what_a_failed_job_lacks_is_404_while_redis_is_away_too(
    http: FlaskClient, client: FakeClient, job: str
) -> None:
    client.change(job, state=JobState.FAILED)
    http.get(f"/api/job-status/{job}")
    client.go_away()
    assert http.get(f"/api/jobs/{job}/clips.zip").status_code == 404
