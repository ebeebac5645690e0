"""A retry on real workers makes what is missing and no more. ffmpeg is behind a script that fails it where a file says so."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from celery import Celery
from celery.result import AsyncResult
from pytest_celery import CeleryTestSetup

from tests.integration.test_survival import container
from tests.nodes import RedisContainer
from tests.waiting import until
from topclip.config import Settings
from topclip.media.binary import find_ffmpeg
from topclip.model.job import JobState, JobStatus
from topclip.model.manifest import Manifest
from topclip.model.request import Change, ClipOptions
from topclip.storage.base import ArtifactStore, cancelled_key
from workers import figures
from workers.client import JobClient
from workers.figures import field_of

Submit = Callable[..., str]
Finished = Callable[..., JobStatus]
OPTIONS = {"count": 3, "min_length": 3, "max_length": 5, "quality": "draft", "aspect": "1:1", "fit": "pad"}
FFMPEG = """#!/bin/sh
# Writes down each clip that is rendered; fails it with the words of the file `fail`, whose first line names which. What looks
# for subjects writes no mp4, and is clip `look`.
for last; do :; done
case "$last" in *.mp4) ;; *)
  if [ -e {folder}/fail ] && head -n1 {folder}/fail | grep -qw look; then tail -n1 {folder}/fail >&2; exit 1; fi
  exec {ffmpeg} "$@" ;;
esac
n=$(echo "$last" | sed -E 's/.*-([0-9]+)-[0-9a-f]+\\.mp4$/\\1/')
echo "$n" >> {folder}/rendered
if [ -e {folder}/fail ] && head -n1 {folder}/fail | grep -qw "$n"; then
  dd if=/dev/zero of="${{last#file:}}" bs=1k count=64 2>/dev/null
  tail -n1 {folder}/fail >&2
  exit 1
fi
exec {ffmpeg} "$@"
"""


@pytest.fixture
def settings(redis_node: RedisContainer, tmp_path: Path) -> Settings:
    ffmpeg = tmp_path / "ffmpeg"
    ffmpeg.write_text(FFMPEG.format(ffmpeg=find_ffmpeg(""), folder=tmp_path))
    ffmpeg.chmod(0o755)
    return Settings(redis_url=redis_node.url, data_dir=tmp_path, lease_s=4, ffmpeg=str(ffmpeg))


@pytest.fixture
def fail(tmp_path: Path) -> Callable[[str, str], None]:
    """fail(clips, what ffmpeg says): these clips fail from now on."""
    return lambda clips, words: (tmp_path / "fail").write_text(f"{clips}\n{words}\n") and None


@pytest.fixture
def rendered(tmp_path: Path) -> Callable[[], list[int]]:
    """rendered() -> numbers of the clips that ffmpeg was started for since it was last asked."""

    def read() -> list[int]:
        text = (tmp_path / "rendered").read_text() if (tmp_path / "rendered").exists() else ""
        (tmp_path / "rendered").write_text("")
        return [int(n) for n in text.split()]

    return read


def manifest_of(store: ArtifactStore, status: JobStatus) -> Manifest:
    assert status.manifest_key
    return Manifest.model_validate_json(store.get_bytes(status.manifest_key))


def test_a_retry_of_a_partial_job_makes_the_missing_clip_alone(
    celery_setup: CeleryTestSetup,
    source: Path,
    submit: Submit,
    finished: Finished,
    client: JobClient,
    store: ArtifactStore,
    app: Celery,
    fail: Callable[[str, str], None],
    rendered: Callable[[], list[int]],
    redis_node: RedisContainer,
    tmp_path: Path,
) -> None:
    fail("2", "the encoder is out of order")
    job_id = submit(source, **OPTIONS)
    partial = finished(job_id, 120)
    assert partial.state is JobState.PARTIAL
    assert [c.state for c in partial.clips] == ["SUCCEEDED", "FAILED", "SUCCEEDED"]
    before = manifest_of(store, partial)
    assert [f.n for f in before.failed] == [2]
    assert {1, 2, 3} == set(rendered())
    counted = field_of(figures.FAILURES, "render/ENCODE_FAILED")
    assert float(until(lambda: redis_node.client.hget("topclip:figures", counted), 20)) == 1

    worker = container(celery_setup)
    assert "render failed: " in worker.logs()
    worker.kill("SIGSTOP")
    (tmp_path / "fail").unlink()
    begun = client.retry(job_id)
    assert (begun.state, begun.epoch, begun.attempts, begun.error) == (JobState.QUEUED, 2, 2, None)
    assert begun.manifest_key == partial.manifest_key  # what was made stays to be had meanwhile
    worker.kill("SIGCONT")
    whole = finished(job_id, 120)
    assert (whole.state, whole.epoch) == (JobState.SUCCEEDED, 2), whole.clips
    assert rendered() == [2]
    after = manifest_of(store, whole)
    assert (len(after.clips), after.failed) == (3, ())
    assert [c for c in after.clips if c.n != 2] == list(before.clips)
    assert whole.expires_at == partial.expires_at
    assert AsyncResult(job_id, app=app).result["manifest"] == whole.manifest_key != partial.manifest_key


@pytest.mark.faults
def test_a_disk_that_gets_full_fails_the_job_by_name_and_a_retry_makes_it_good(
    celery_setup: CeleryTestSetup,
    source: Path,
    submit: Submit,
    finished: Finished,
    client: JobClient,
    store: ArtifactStore,
    fail: Callable[[str, str], None],
    rendered: Callable[[], list[int]],
    tmp_path: Path,
) -> None:
    fail("1 2 3", "av_interleaved_write_frame(): No space left on device")
    job_id = submit(source, **OPTIONS)
    failed = finished(job_id, 120)
    assert failed.state is JobState.FAILED
    assert failed.error
    assert failed.error.code == "STORAGE_FULL"
    assert failed.error.hint
    assert "retry" in failed.error.hint
    assert store.staged() == []
    assert sorted(rendered()) == [1, 2, 3]  # no second try where there is no room

    (tmp_path / "fail").unlink()
    client.retry(job_id)
    assert finished(job_id, 120).state is JobState.SUCCEEDED
    assert sorted(rendered()) == [1, 2, 3]
    assert len(manifest_of(store, client.read(job_id)).clips) == 3


@pytest.mark.faults
def test_a_disk_that_is_full_while_subjects_are_looked_for_changes_no_framing(
    celery_setup: CeleryTestSetup,
    source: Path,
    submit: Submit,
    finished: Finished,
    client: JobClient,
    fail: Callable[[str, str], None],
    tmp_path: Path,
) -> None:
    cropped = {**OPTIONS, "fit": "crop"}
    fail("look", "pipe: No space left on device")
    job_id = submit(source, **cropped)
    failed = finished(job_id, 120)
    assert failed.error
    assert (failed.state, failed.error.code) == (JobState.FAILED, "STORAGE_FULL")
    (tmp_path / "fail").unlink()
    client.retry(job_id)
    again, whole = finished(job_id, 120), finished(submit(source, **cropped), 120)
    assert (again.state, whole.state) == (JobState.SUCCEEDED, JobState.SUCCEEDED)
    assert again.plan_key
    assert whole.plan_key
    assert Path(again.plan_key).name == Path(whole.plan_key).name  # which says what is in it


@pytest.mark.faults
def test_a_cancelled_job_goes_on_when_it_is_retried_and_stays_so_if_redis_loses_it(
    celery_setup: CeleryTestSetup,
    source: Path,
    submit: Submit,
    finished: Finished,
    client: JobClient,
    store: ArtifactStore,
    redis_node: RedisContainer,
) -> None:
    job_id = submit(source, **OPTIONS)
    until(lambda: client.read(job_id).stage is not None, 30)
    client.cancel(job_id)
    assert finished(job_id).state is JobState.CANCELLED
    until(lambda: store.exists(cancelled_key(job_id)), 20)
    assert client.retry(job_id).state in (JobState.QUEUED, JobState.RUNNING)  # a worker may be quicker than the answer
    status = finished(job_id, 120)
    assert (status.state, status.epoch) == (JobState.SUCCEEDED, 2)
    redis_node.client.flushall()
    client.read(job_id)
    again = finished(job_id, 120)
    assert (again.state, again.manifest_key) == (JobState.SUCCEEDED, status.manifest_key)
    assert json.loads(store.get_bytes(again.manifest_key or ""))["clips"]


def test_numbers_that_were_damaged_in_the_store_are_made_anew(
    celery_setup: CeleryTestSetup,
    one_chunk: Path,
    submit: Submit,
    finished: Finished,
    client: JobClient,
    tmp_path: Path,
) -> None:
    options = {"mode": "plan", "count": 1, "min_length": 3, "max_length": 5}
    first = finished(submit(one_chunk, **options))
    assert (first.state, first.attempts) == (JobState.SUCCEEDED, 1)
    kept = [*tmp_path.rglob("*.npz"), *tmp_path.rglob("analysis/*/transcript-*.json")]
    assert {file.suffix for file in kept} == {".npz", ".json"}
    for file in kept:
        file.write_bytes(file.read_bytes()[:20])
    again = finished(submit(one_chunk, **options))
    assert (again.state, again.attempts) == (JobState.SUCCEEDED, 2), again.error
    assert all(file.stat().st_size > 20 for file in kept)
    (transcript,) = (file for file in kept if file.suffix == ".json")
    transcript.write_bytes(b"")
    next(tmp_path.rglob(f"jobs/{again.id}/source.json")).write_bytes(b"{")
    client.alter(again.id, lambda _: Change(options=ClipOptions.model_validate({**options, "count": 2})))
    until(lambda: client.read(again.id).state is not JobState.SUCCEEDED, 20)
    assert finished(again.id).state is JobState.SUCCEEDED, again.error
    assert transcript.stat().st_size > 20
