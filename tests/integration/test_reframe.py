"""Stage reframe on real workers: the plan of one process, parts that are lost, cancelled and seen before."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_celery import CeleryTestSetup

from bench.walkers import Place, Scene, make
from tests.waiting import until
from topclip import run_local
from topclip.media.binary import find_ffmpeg
from topclip.model.job import JobState, JobStatus, Stage
from topclip.model.request import ClipOptions, ClipRequest, MediaPath
from topclip.pipeline.context import StageContext
from topclip.storage.base import ArtifactStore
from topclip.storage.local import LocalStore
from workers import names
from workers.client import JobClient

Submit = Callable[..., str]
Finished = Callable[..., JobStatus]
OPTIONS = {"mode": "ranges", "ranges": [[0.5, 3.5], [2.0, 5.5]], "aspect": "9:16", "quality": "draft"}


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A face on the left, after three seconds on the right."""
    path = tmp_path_factory.mktemp("faces") / "faces.mp4"
    make(Scene("faces", 6, lambda t: [Place(0.2 if t < 3 else 0.8, 0.12)], "face", cuts_s=(3.0,)), path)
    return path


def analysed(store: ArtifactStore) -> list[str]:
    """What is known of contents; when the digest of a file is remembered goes by the file's age."""
    return [key for key in store.list("analysis") if not key.endswith("/sha256")]


def test_workers_frame_the_clips_as_one_process_does_and_look_once(
    celery_setup: CeleryTestSetup,
    faces: Path,
    submit: Submit,
    finished: Finished,
    store: ArtifactStore,
    tmp_path: Path,
) -> None:
    worker = celery_setup.worker_cluster[0]
    curve = tmp_path / "chat.csv"
    curve.write_text("0,1\n2,9\n4,3\n")
    status = finished(submit(faces, curve, **OPTIONS))
    assert (status.state, status.progress) == (JobState.SUCCEEDED, 1.0)
    assert status.plan_key
    ours = store.get_bytes(status.plan_key)
    ctx = StageContext("local", LocalStore(tmp_path / "alone"), find_ffmpeg(""), 1e5, 10**9)
    source = MediaPath(path=str(faces), name=json.loads(ours)["source"]["name"])
    audience = MediaPath(path=str(curve), name=curve.name)
    request = ClipRequest(source=source, options=ClipOptions.model_validate(OPTIONS), audience=audience)
    alone = run_local.run(request, ctx)
    assert ours == ctx.store.get_bytes(alone.plan_key)
    assert "audience" in {part["name"] for part in json.loads(ours)["highlights"][0]["signals"]}
    assert [h["framing"]["method"] for h in json.loads(ours)["highlights"]] == ["faces", "faces"]
    assert worker.logs().count(f"Task {names.REFRAME}[") >= 2
    seen = analysed(store)
    again = finished(submit(faces, **OPTIONS | {"aspect": "1:1", "mode": "ranges"}))
    assert again.state is JobState.SUCCEEDED
    assert analysed(store) == seen
    assert again.plan_key
    assert json.loads(store.get_bytes(again.plan_key))["highlights"][0]["framing"]["keyframes"]


def test_a_job_that_is_cancelled_while_subjects_are_looked_for_renders_nothing(
    faces: Path, submit: Submit, finished: Finished, client: JobClient, store: ArtifactStore
) -> None:
    job_id = submit(faces, **OPTIONS)
    until(lambda: client.read(job_id).stage is Stage.REFRAME, 30, step_s=0.02)
    client.cancel(job_id)
    assert finished(job_id).state is JobState.CANCELLED
    assert not [key for key in store.list(f"jobs/{job_id}") if key.endswith(".mp4") and "/clips/" in key]
    client.retry(job_id)
    assert finished(job_id).state is JobState.SUCCEEDED
