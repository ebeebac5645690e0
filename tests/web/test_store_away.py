"""The real server whose store fails or is not there: a share that is not mounted, a broken disk. Redis is well."""

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.nodes import RedisContainer, WebContainer
from tests.waiting import until
from tests.web.conftest import put_job
from topclip.config import Settings
from topclip.storage.local import LocalStore
from workers.backend import result_meta
from workers.scripts import Scripts


def unmounted(store: Path) -> None:
    """The folder that a share is mounted to, and nothing in it."""
    store.mkdir()


def in_a_loop(store: Path) -> None:
    """What cannot be opened, by root either."""
    store.symlink_to(store.name)


def no_folder(store: Path) -> None:
    store.write_text("")


def gone(store: Path) -> None:
    """Not even the folder."""


PROMISED_S = 2.0
"""With a margin for a busy machine."""
AWAY = [unmounted, in_a_loop, no_folder, gone]


@pytest.fixture
def settings(tmp_path: Path, redis: RedisContainer) -> Settings:
    return Settings(redis_url=redis.url, data_dir=tmp_path / "data", web_threads=8, max_streams=4)


@pytest.fixture
def web(tmp_path: Path, settings: Settings) -> Iterator[WebContainer]:
    node = WebContainer(tmp_path, settings)
    assert node.ready()
    until(lambda: "[OK] Redis connected" in node.logs(), 20, node.logs)
    yield node
    node.teardown()


@pytest.fixture
def done(web: WebContainer, redis: RedisContainer, settings: Settings, video: Path) -> str:
    """A finished job with two clips."""
    job_id = str(web.submit(video).json()["id"])
    store = LocalStore(settings.store_dir)
    made = put_job(store, job_id)
    result = {"state": "SUCCEEDED", "clips": [{"n": n, "start_s": 1.0, "end_s": 2.0} for n in (1, 2)], **made}
    meta = result_meta(job_id, 1, "SUCCESS", result)
    assert Scripts(redis.client, settings.key_prefix)("store", job_id, 1, "", "", job_id, meta, "SUCCEEDED") == "OK"
    return job_id


def problem(answer: httpx.Response) -> tuple[int, str]:
    assert answer.elapsed.total_seconds() < PROMISED_S, answer.url
    return answer.status_code, answer.json()["code"]


@pytest.mark.faults
@pytest.mark.parametrize("away", AWAY)
def test_a_store_that_is_away_is_a_503_that_says_so_and_nothing_half_done(
    away: Callable[[Path], None], web: WebContainer, settings: Settings, done: str, video: Path
) -> None:
    known, queued = (str(web.submit(video).json()["id"]) for _ in range(2))
    assert web.get(f"/api/jobs/{done}/clips.zip").status_code == 200  # the manifest is remembered
    aside = settings.store_dir.with_name("aside")
    settings.store_dir.rename(aside)
    before = sorted(aside.rglob("*"))
    away(settings.store_dir)

    none = uuid4()
    paths = [f"/api/job-status/{none}", f"/api/job-status/{none}?wait=9", f"/api/jobs/{none}/events"]
    paths += [f"/api/jobs/{done}/{name}" for name in ("plan", "manifest", "clips/1", "clips/2/thumbnail", "clips.zip")]
    answers = [web.get(path) for path in paths]
    answers.append(web.submit(video))
    answers.append(httpx.post(web.url + "/api/jobs", json={"source": "http://example.com/a.mp4"}))
    answers.append(httpx.post(f"{web.url}/api/jobs/{done}/retry"))
    answers.append(httpx.delete(f"{web.url}/api/jobs/{done}"))
    assert [problem(answer) for answer in answers] == [(503, "STORAGE_UNAVAILABLE")] * len(answers)
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers)
    assert web.get("/health").json()["store"]["status"] == "down"
    assert web.get("/health/ready").status_code == 503
    # Redis has the word on these
    assert web.get(f"/api/job-status/{known}").json()["state"] == "QUEUED"
    assert len(web.get("/api/jobs").json()["jobs"]) == 3
    assert httpx.post(f"{web.url}/api/jobs/{queued}/cancel").json()["state"] == "CANCELLED"

    if settings.store_dir.is_dir():
        assert list(settings.store_dir.iterdir()) == []
        settings.store_dir.rmdir()
    else:
        settings.store_dir.unlink(missing_ok=True)
    aside.rename(settings.store_dir)
    assert sorted(settings.store_dir.rglob("*")) == [settings.store_dir / path.relative_to(aside) for path in before]
    assert web.get(f"/api/job-status/{none}").status_code == 404
    assert web.get(f"/api/jobs/{done}/clips/1").status_code == 200
    assert httpx.delete(f"{web.url}/api/jobs/{done}").status_code == 204
    assert not (settings.store_dir / "jobs" / done).exists()


def test_an_archive_that_cannot_be_read_to_its_end_is_cut_off_and_one_with_a_gap_is_never_begun(
    web: WebContainer, settings: Settings, done: str
) -> None:
    clip = settings.store_dir / "jobs" / done / "clips" / "2-a.mp4"
    clip.unlink()
    answer = web.get(f"/api/jobs/{done}/clips.zip")
    assert (answer.status_code, answer.json()["code"]) == (404, "ARTIFACT_MISSING")
    clip.mkdir()  # it has a size, and cannot be read
    with pytest.raises(httpx.RemoteProtocolError):
        web.get(f"/api/jobs/{done}/clips.zip")
    assert problem(web.get(f"/api/jobs/{done}/clips/2")) == (503, "STORAGE_UNAVAILABLE")
