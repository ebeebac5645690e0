"""Replans and recuts on real workers: nothing is analysed again, only what is new is made, and no death loses them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_celery import CeleryTestSetup

from tests.integration.faults import container, received
from tests.integration.test_retry import OPTIONS, fail, manifest_of, rendered, settings
from tests.waiting import until
from topclip.errors import JobConflict
from topclip.model.clip import Plan
from topclip.model.job import JobState, JobStatus
from topclip.model.request import Change, ClipOptions, ClipRequest, Edit, Edits
from topclip.storage.base import ArtifactStore, change_key
from workers import names
from workers.client import JobClient

__all__ = ["fail", "rendered", "settings"]

Submit = Callable[..., str]
Finished = Callable[..., JobStatus]
Rendered = Callable[[], list[int]]


def replanned(**options: object) -> Callable[[ClipRequest], Change]:
    """What the web makes of a replan."""

    def make(request: ClipRequest) -> Change:
        values = request.options.model_dump(mode="json") | options
        return Change(options=ClipOptions.model_validate(values))

    return make


def recut(plan_key: str, *clips: tuple[int, float, float]) -> Callable[[ClipRequest], Change]:
    """What the web makes of recuts."""
    edits = Edits(plan=plan_key, clips=tuple(Edit(n=n, start_s=start, end_s=end) for n, start, end in clips))
    return lambda request: Change(options=request.options, edits=edits)


def plan_of(store: ArtifactStore, status: JobStatus) -> Plan:
    assert status.plan_key
    return Plan.model_validate_json(store.get_bytes(status.plan_key))


def test_a_replan_and_a_recut_make_new_clips_alone_and_analyse_nothing(
    celery_setup: CeleryTestSetup,
    one_chunk: Path,
    submit: Submit,
    finished: Finished,
    client: JobClient,
    store: ArtifactStore,
    rendered: Rendered,
) -> None:
    job_id = submit(one_chunk, **OPTIONS)
    first = finished(job_id, 120)
    assert first.state is JobState.SUCCEEDED
    old, plan = manifest_of(store, first), plan_of(store, first)
    assert sorted(rendered()) == [1, 2, 3]
    n_analysed = received(celery_setup, names.ANALYSE)

    worker = container(celery_setup)
    worker.kill("SIGSTOP")
    begun = client.alter(job_id, replanned(count=2))
    assert (begun.state, begun.epoch, begun.options["count"]) == (JobState.QUEUED, 2, 2)
    assert begun.manifest_key == first.manifest_key  # the old one counts until there is another
    assert client.alter(job_id, replanned(count=2)).epoch == 2  # the same again changes nothing
    with pytest.raises(JobConflict):
        client.alter(job_id, replanned(count=1))
    worker.kill("SIGCONT")
    second = finished(job_id, 60)
    assert (second.state, second.epoch, second.expires_at) == (JobState.SUCCEEDED, 2, first.expires_at)
    fewer = manifest_of(store, second)
    assert {c.sha256 for c in fewer.clips} < {c.sha256 for c in old.clips}
    assert rendered() == []
    assert client.alter(job_id, replanned(count=2)).epoch == 2

    client.alter(job_id, replanned(count=3))
    third = finished(job_id, 60)
    assert manifest_of(store, third).clips == old.clips
    wide = (max(0.0, plan.highlights[1].start_s - 1.3), plan.highlights[1].end_s + 0.7)
    client.alter(job_id, recut(third.plan_key or "", (2, *wide)))
    fourth = finished(job_id, 60)
    assert rendered() == [2]
    after, edited = manifest_of(store, fourth), plan_of(store, fourth).highlights[1]
    assert [c for c in after.clips if c.n != 2] == [c for c in old.clips if c.n != 2]
    assert (edited.n, edited.start_edge, edited.end_edge) == (2, "asked", "asked")
    assert after.clips[1].frames == edited.frames > old.clips[1].frames
    client.alter(job_id, replanned(count=3))  # as it was chosen
    assert manifest_of(store, finished(job_id, 60)) == manifest_of(store, third)
    assert rendered() == []
    assert received(celery_setup, names.ANALYSE) == n_analysed


@pytest.mark.faults
def test_a_replan_outlives_its_worker_and_redis_and_the_web_process_that_began_it(
    celery_setup: CeleryTestSetup,
    one_chunk: Path,
    submit: Submit,
    finished: Finished,
    client: JobClient,
    store: ArtifactStore,
    rendered: Rendered,
    redis_node: object,
) -> None:
    job_id = submit(one_chunk, **OPTIONS)
    first = finished(job_id, 120)
    worker = container(celery_setup)
    client.alter(job_id, replanned(aspect="9:16", count=2))
    until(lambda: client.read(job_id).stage is not None, 30)
    worker.kill()
    worker.restart()
    second = finished(job_id, 120)
    assert (second.state, second.options["aspect"]) == (JobState.SUCCEEDED, "9:16")
    assert all(c.width < c.height for c in manifest_of(store, second).clips)

    redis = redis_node.client  # type: ignore[attr-defined]
    redis.flushall()  # all that Redis had: the change is in the store
    client.read(job_id)
    back = finished(job_id, 120)
    assert (back.state, back.options, back.manifest_key) == (second.state, second.options, second.manifest_key)

    # Its tail alone: the change was answered and is lost again, as it is where the web process dies in between.
    wanted = replanned(aspect="1:1")(ClipRequest.model_validate_json(redis.hget(f"topclip:job:{job_id}", "request")))
    assert store.put_bytes(change_key(job_id, 2), wanted.model_dump_json().encode())
    assert client.read(job_id).epoch == back.epoch
    until(lambda: client.read(job_id).epoch > back.epoch, 90)
    last = finished(job_id, 120)
    assert (last.state, last.options["aspect"]) == (JobState.SUCCEEDED, "1:1")
    assert all(c.width == c.height for c in manifest_of(store, last).clips)
    assert first.expires_at == last.expires_at
