"""The web application over a job client in memory and a real store; a small real video."""

import json
import subprocess
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.fakes import FakeClient, clip_status, make_status
from tests.nodes import RedisContainer
from tests.waiting import until
from topclip.config import Settings
from topclip.errors import UnsupportedMedia
from topclip.model.job import JobState
from topclip.storage.local import LocalStore
from web.app import create_app, services_of, stop
from web.sniff import Sniffer

CLIP_BYTES = bytes(range(256)) * 40


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of picture and sound."""
    path = tmp_path_factory.mktemp("media") / "talk.mp4"
    picture, sound = "testsrc=duration=2:size=160x120:rate=10", "sine=frequency=440:duration=2"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound, str(path)]
    subprocess.run(command, check=True)
    return path


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, media_root=tmp_path / "media", max_upload_mb=1, max_streams=2)


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


@pytest.fixture
def redis(redis_node: RedisContainer) -> RedisContainer:
    """The server that a test of real web processes has."""
    return redis_node


@pytest.fixture
def store(settings: Settings) -> LocalStore:
    return LocalStore(settings.store_dir)


@pytest.fixture
def app(settings: Settings, client: FakeClient, store: LocalStore) -> Iterator[Flask]:
    (settings.data_dir / "media").mkdir()
    app = create_app(settings, client, store)
    yield app
    stop(app)


@pytest.fixture
def http(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def files(store: LocalStore) -> Callable[[], list[str]]:
    """All files of the store, those being made included."""
    return lambda: sorted(str(p.relative_to(store.root)) for p in store.root.rglob("*") if p.is_file())


@pytest.fixture
def job(client: FakeClient) -> str:
    """A running job."""
    job_id = str(uuid4())
    client.jobs[job_id] = make_status(job_id, options={"count": 3})
    return job_id


@pytest.fixture
def done(client: FakeClient, store: LocalStore) -> str:
    """A finished job with clips 1 and 2; clip 3 could not be made."""
    job_id = str(uuid4())
    made = put_job(store, job_id)
    client.jobs[job_id] = make_status(
        job_id,
        state=JobState.PARTIAL,
        name="Größe <b>.mp4",
        clips=(clip_status(1), clip_status(2), clip_status(3, "FAILED")),
        plan_key=made["plan"],
        manifest_key=made["manifest"],
    )
    return job_id


def put_job(store: LocalStore, job_id: str) -> dict[str, str]:
    """What that job made, in the store; the keys of its plan and manifest."""
    folder = f"jobs/{job_id}"
    clips = [_put_clip(store, folder, n) for n in (1, 2)]
    failed = {"n": 3, "start_s": 1.0, "end_s": 2.0, "code": "ENCODE_FAILED", "message": "ffmpeg could not"}
    made = {"version": "1", "source": {}, "options": {}, "plan": "plan-a.json", "clips": clips, "failed": [failed]}
    store.put_bytes(f"{folder}/manifest-a.json", json.dumps(made).encode())
    store.put_bytes(f"{folder}/plan-a.json", b'{"highlights": [],  "near_misses": []}')
    return {"plan": f"{folder}/plan-a.json", "manifest": f"{folder}/manifest-a.json"}


def _put_clip(store: LocalStore, folder: str, n: int) -> dict[str, Any]:
    store.put_bytes(f"{folder}/clips/{n}-a.mp4", bytes([n]) + CLIP_BYTES)
    store.put_bytes(f"{folder}/clips/{n}-a.jpg", b"picture")
    figures = {"start_s": 1.0, "end_s": 2.0, "duration_s": 1.0, "frames": 25, "width": 4, "height": 4, "size_bytes": 1}
    return {
        "n": n,
        "file": f"clips/{n}-a.mp4",
        "thumbnail": f"clips/{n}-a.jpg",
        "sha256": str(n) * 64,
        "checks": [],
        **figures,
    }


@pytest.fixture
def sniffer(app: Flask, tmp_path: Path) -> Sniffer:
    """The application's, whose child has loaded."""
    sniffer = services_of(app).sniffer
    sniffer.start()
    (tmp_path / "text.mp4").write_text("hello")
    until(lambda: refuses(sniffer, tmp_path / "text.mp4"), 30)
    return sniffer


def refuses(sniffer: Sniffer, path: Path) -> bool:
    """Whether it takes the file for no video."""
    try:
        sniffer.refuse_unfit(path, "file")
    except UnsupportedMedia as err:
        return bool(err.detail["field"] == "file")
    return False


def form(content: bytes | None = b"", name: str = "talk.mp4", **options: Any) -> dict[str, Any]:
    """A multipart submit."""
    data: dict[str, Any] = {"options": json.dumps(options)} if options else {}
    return data if content is None else data | {"file": (BytesIO(content), name)}
