"""The whole flow on real workers: one result for a job, the plan of one process, nothing done twice, clear failures."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from celery import Celery
from celery.result import AsyncResult
from pytest_celery import CeleryTestSetup

from tests.nodes import ROOT, RedisContainer, free_port
from tests.waiting import until
from topclip import run_local
from topclip.config import Settings
from topclip.errors import JobExpired, UnknownJob
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
OPTIONS = {"count": 3, "min_length": 5, "max_length": 10, "quality": "draft"}


@pytest.fixture(scope="module")
def long_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped footage twice in a row: a source of more than eight chunks."""
    return in_a_row(2, tmp_path_factory.mktemp("long"))


def in_a_row(n: int, folder: Path) -> Path:
    """The shipped footage n times over, as one file."""
    (folder / "list.txt").write_text(f"file '{ROOT / 'demo/footage.mp4'}'\n" * n)
    concat = ["-f", "concat", "-safe", "0", "-i", str(folder / "list.txt"), "-c", "copy", str(folder / "long.mp4")]
    subprocess.run([find_ffmpeg(""), "-v", "error", *concat], check=True)
    return folder / "long.mp4"


def plan_of_one_process(path: Path, folder: Path, options: dict[str, object]) -> bytes:
    """The plan that the flow in one process makes, as it lies in its store."""
    store = LocalStore(folder)
    ctx = StageContext("local", store, find_ffmpeg(""), 1e5, 10**9)
    request = ClipRequest(
        source=MediaPath(path=str(path), name=path.name),
        options=ClipOptions.model_validate({**options, "mode": "plan"}),
    )
    return store.get_bytes(run_local.run(request, ctx).plan_key)


class TestTwoWorkers:
    @pytest.fixture
    def n_workers(self) -> int:
        return 2

    @pytest.mark.faults  # for its length
    def test_they_share_chunks_and_clips_and_make_the_plan_of_one_process(
        self,
        celery_setup: CeleryTestSetup,
        long_source: Path,
        submit: Submit,
        finished: Finished,
        store: ArtifactStore,
        tmp_path: Path,
    ) -> None:
        status = finished(submit(long_source, **OPTIONS), 120)
        assert status.state is JobState.SUCCEEDED
        assert status.plan_key
        ours = json.loads(store.get_bytes(status.plan_key))
        alone = json.loads(plan_of_one_process(long_source, tmp_path / "alone", OPTIONS))
        for part in ("highlights", "near_misses", "source", "version"):
            assert json.dumps(ours[part]) == json.dumps(alone[part])
        logs = [node.logs() for node in celery_setup.worker_cluster]
        for log in logs:
            assert names.ANALYSE in log
        assert sum(log.count(f"Task {names.ANALYSE}[") for log in logs) >= 8
        assert all(f"Task {names.RENDER}[" in log for log in logs)


@pytest.mark.over_containers
def test_a_job_is_one_celery_result_from_submit_to_manifest(
    celery_setup: CeleryTestSetup,
    source: Path,
    submit: Submit,
    finished: Finished,
    app: Celery,
    store: ArtifactStore,
) -> None:
    job_id = submit(source, **OPTIONS)
    status = finished(job_id)
    result = AsyncResult(job_id, app=app)
    assert result.state == "SUCCESS"
    assert result.result["state"] == status.state == JobState.SUCCEEDED, status.clips
    manifest = json.loads(store.get_bytes(result.result["manifest"]))
    assert [clip["n"] for clip in manifest["clips"]] == [clip.n for clip in status.clips]
    for clip in manifest["clips"]:
        assert store.size(f"jobs/{job_id}/{clip['file']}") == clip["size_bytes"]


def test_a_short_job_does_not_wait_for_all_of_a_long_one(
    submit: Submit, finished: Finished, client: JobClient, one_chunk: Path, tmp_path: Path
) -> None:
    long = submit(in_a_row(12, tmp_path), mode="plan")  # 64 chunks
    until(lambda: client.health()["queues"]["analyse"] > 50, 60)
    assert finished(submit(one_chunk, **OPTIONS | {"count": 1})).state is JobState.SUCCEEDED
    assert client.read(long).stage is Stage.ANALYSE
    client.cancel(long)
    assert finished(long).state is JobState.CANCELLED
    until(lambda: client.health()["queue_depth"] == 0, 20)


@pytest.mark.faults  # for its length
def test_a_second_job_on_the_same_content_is_not_analysed_again(
    celery_setup: CeleryTestSetup, source: Path, submit: Submit, finished: Finished
) -> None:
    worker = celery_setup.worker_cluster[0]
    finished(submit(source, **OPTIONS))
    analysed = worker.logs().count(f"Task {names.ANALYSE}[")
    assert analysed > 0
    assert finished(submit(source, **{**OPTIONS, "count": 1})).state is JobState.SUCCEEDED
    assert worker.logs().count(f"Task {names.ANALYSE}[") == analysed


def test_the_status_rises_through_the_stages_and_names_its_clips(
    celery_setup: CeleryTestSetup, source: Path, submit: Submit, client: JobClient
) -> None:
    long_one = {"count": 1, "min_length": 12, "max_length": 18, "quality": "high", "aspect": "1:1", "fit": "pad"}
    job_id = submit(source, **OPTIONS | long_one)
    seen: list[JobStatus] = []

    def ended() -> bool:
        seen.append(client.read(job_id))
        return seen[-1].state.is_terminal

    until(ended, 60)
    stages = list(dict.fromkeys(s.stage for s in seen if s.stage))
    order = list(Stage)
    assert stages == sorted(stages, key=order.index)
    assert {Stage.ANALYSE, Stage.RENDER} <= set(stages)
    assert [s.progress for s in seen] == sorted(s.progress for s in seen)
    assert [s.revision for s in seen] == sorted(s.revision for s in seen)
    assert any(0 < clip.progress < 1 for s in seen for clip in s.clips)
    assert [clip.state for clip in seen[-1].clips] == ["SUCCEEDED"]
    assert seen[-1].progress == 1.0


@pytest.mark.parametrize(
    ("name", "options", "code", "stage"),
    [
        ("missing.mp4", {}, "SOURCE_NOT_FOUND", Stage.PROBE),
        ("text.mp4", {}, "UNSUPPORTED_MEDIA", Stage.PROBE),
        ("footage.mp4", {"min_length": 400, "max_length": 500}, "NO_HIGHLIGHTS", Stage.SELECT),
    ],
)
def test_a_job_that_cannot_be_done_says_why(
    celery_setup: CeleryTestSetup,
    source: Path,
    submit: Submit,
    finished: Finished,
    tmp_path: Path,
    name: str,
    options: dict[str, object],
    code: str,
    stage: Stage,
) -> None:
    (tmp_path / "text.mp4").write_text("no video at all\n" * 100)
    status = finished(submit(source if name == source.name else tmp_path / name, **options))
    assert status.state is JobState.FAILED
    assert status.error
    assert (status.error.code, status.error.stage) == (code, stage)
    assert status.error.message
    assert status.error.hint


def test_the_digest_of_a_file_is_kept_for_the_latest_job_on_it(
    celery_setup: CeleryTestSetup,
    one_chunk: Path,
    submit: Submit,
    finished: Finished,
    store: ArtifactStore,
    redis_node: RedisContainer,
) -> None:
    until(lambda: time.time() - one_chunk.stat().st_ctime > 3, 10)  # a younger file is not remembered
    scores = []
    for _ in range(2):
        assert (
            finished(submit(one_chunk, count=1, min_length=5, max_length=10, mode="plan")).state is JobState.SUCCEEDED
        )
        kept = dict(redis_node.client.zrange("topclip:analyses", 0, -1, withscores=True))
        assert set(kept) == set(store.folders("analysis"))
        scores.append(kept)
    assert [len(kept) for kept in scores] == [2, 2]  # of the content, and of the digest
    assert all(scores[1][folder] > scores[0][folder] for folder in scores[0])


@pytest.mark.faults
class TestExpiry:
    @pytest.fixture
    def settings(self, redis_node: RedisContainer, tmp_path: Path) -> Settings:
        return Settings(redis_url=redis_node.url, data_dir=tmp_path, lease_s=4, retention_days=12 / 86_400)

    def test_results_index_and_files_of_a_job_expire_together(
        self,
        celery_setup: CeleryTestSetup,
        source: Path,
        submit: Submit,
        client: JobClient,
        store: ArtifactStore,
        redis_node: RedisContainer,
    ) -> None:
        job_id = submit(source, **OPTIONS)
        assert store.exists(f"jobs/{job_id}/job.json")

        def gone() -> bool:
            try:
                client.read(job_id)
            except JobExpired:
                return not store.list("jobs") and not store.list("analysis") and not client.list().total
            return False

        until(gone, 60)

        def left() -> set[str]:
            found = {key for key in redis_node.client.keys("topclip:*") if job_id in key}
            # a job that is slower than it is kept may leave Celery's own mark of a join, for five minutes
            return {key for key in found if not (key.endswith("-join.c") and 0 < redis_node.client.ttl(key) <= 300)}

        # a result is kept from when it was stored: where the job is slow, for nearly twice as long as the job
        until(lambda: left() <= {f"topclip:gone:{job_id}"}, 30, lambda: str(left()))
        until(lambda: _is_unknown(client, job_id), 30)


def _is_unknown(client: JobClient, job_id: str) -> bool:
    """Whether the tombstone is gone too."""
    try:
        client.read(job_id)
    except UnknownJob:
        return True
    except JobExpired:
        return False
    return False


@pytest.fixture
def flower(settings: Settings) -> Iterator[str]:
    """Flower beside the workers; the URL of its API."""
    port = free_port()
    argv = [sys.executable, "-m", "celery", "-A", "workers.app", "flower", "--address=127.0.0.1", f"--port={port}"]
    env = {**os.environ, **settings.to_env(), "FLOWER_UNAUTHENTICATED_API": "true"}
    process = subprocess.Popen([*argv, "--read_only=True"], env=env, cwd=ROOT, stderr=subprocess.DEVNULL)
    yield f"http://127.0.0.1:{port}/api"
    process.terminate()
    process.wait(20)


def test_flower_shows_every_task_with_its_name_and_its_job(
    celery_setup: CeleryTestSetup,
    flower: str,
    source: Path,
    submit: Submit,
    finished: Finished,
    client: JobClient,
    tmp_path: Path,
) -> None:
    until(lambda: _get(f"{flower}/workers?refresh=1"), 30)
    job_id = submit(source, **OPTIONS)
    finished(job_id)

    def tasks() -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = _get(f"{flower}/tasks?limit=1000") or {}
        return found

    until(lambda: tasks().get(job_id, {}).get("state") == "SUCCESS", 20, lambda: str(tasks()))
    seen = tasks().values()
    assert {names.ANALYSE, names.RENDER, names.FINALISE} <= {task["name"] for task in seen}
    for task in seen:
        assert job_id in task["kwargs"]
        assert job_id in (task["root_id"], task["uuid"])
    cancelled = submit(in_a_row(4, tmp_path), **OPTIONS)
    until(lambda: any(t["root_id"] == cancelled and t["state"] == "STARTED" for t in tasks().values()), 20)
    client.cancel(cancelled)
    finished(cancelled)
    until(lambda: not any(task["state"] == "STARTED" for task in tasks().values()), 20, lambda: str(tasks()))


def _get(url: str) -> dict[str, dict[str, str]] | None:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            found: dict[str, dict[str, str]] = json.load(answer)
            return found
    except OSError:
        return None
