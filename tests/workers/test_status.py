"""The status document from what Redis holds."""

import json

import pytest

from topclip.model.base import JsonDict
from topclip.model.job import JobState, JobStatus, Stage
from topclip.model.request import ClipOptions, ClipRequest, MediaPath
from workers.status import status_of

JOB = "8f14e45f-ceea-467f-9575-111111111111"
REQUEST = ClipRequest(source=MediaPath(path="/media/a.mp4", name="a.mp4"), options=ClipOptions())


def record(state: JobState, stage: Stage | None = None, **more: str) -> dict[str, str]:
    fields = {"request": REQUEST.model_dump_json(), "name": "a.mp4", "state": state, "epoch": "1", "revision": "4"}
    times = {"created_at": "1000.5", "expires_at": "2000"}
    return fields | times | ({"stage": stage} if stage else {}) | more


def progress(done_s: float, total_s: float) -> JsonDict:
    return {"status": "PROGRESS", "result": {"done_s": done_s, "total_s": total_s}}


def analysing(parts: list[JsonDict | None]) -> JobStatus:
    meta = {"result": {"stage": "analyse", "tasks": ["a", "b"], "sizes_s": [20.0, 20.0]}}
    return status_of(JOB, record(JobState.RUNNING, Stage.ANALYSE), meta, parts, -1)


def test_a_queued_job_tells_its_place() -> None:
    status = status_of(JOB, record(JobState.QUEUED), {"result": {}}, [], 3)
    assert (status.state, status.stage, status.progress, status.queue_position) == (JobState.QUEUED, None, 0.0, 3)


def test_progress_adds_up_the_running_parts() -> None:
    none, half, all_ = (
        analysing([None, None]),
        analysing([progress(20, 20), None]),
        analysing([{"status": "SUCCESS"}] * 2),
    )
    assert none.progress == 0.02
    assert none.progress < half.progress < all_.progress
    assert half.progress == pytest.approx((none.progress + all_.progress) / 2, abs=0.001)


def test_clips_have_their_own_states() -> None:
    clips = [{"n": n, "start_s": n * 10.0, "end_s": n * 10.0 + 5} for n in (1, 2, 3, 4)]
    meta = {"result": {"stage": "render", "tasks": list("abcd"), "sizes_s": [5.0] * 4, "clips": clips, "plan": "p"}}
    failed = {"status": "SUCCESS", "result": {"outcome": "failed", "code": "KILLED", "message": "m", "hint": None}}
    parts: list[JsonDict | None] = [{"status": "SUCCESS", "result": {"outcome": "ok"}}, progress(2.5, 5), failed, None]
    status = status_of(JOB, record(JobState.RUNNING, Stage.RENDER), meta, parts, -1)
    assert [clip.state for clip in status.clips] == ["SUCCEEDED", "RUNNING", "FAILED", "QUEUED"]
    assert [clip.progress for clip in status.clips] == [1.0, 0.5, 0.0, 0.0]
    assert status.clips[2].error == {"code": "KILLED", "message": "m", "hint": None}
    assert status.plan_key == "p"


def test_while_subjects_are_looked_for_progress_lies_between_select_and_render_and_no_clip_is_done() -> None:
    looked = {"status": "SUCCESS", "result": {"outcome": "ok", "n": 1, "key": "k"}}
    meta = {"result": {"stage": "reframe", "tasks": ["a", "b"], "sizes_s": [5.0, 5.0], "plan": "p"}}
    at = [
        status_of(JOB, record(JobState.RUNNING, Stage.REFRAME), meta, parts, -1)
        for parts in ([None, None], [looked, None], [looked, looked])
    ]
    low, high = (
        status_of(JOB, record(JobState.RUNNING, s), None, [], -1).progress for s in (Stage.SELECT, Stage.RENDER)
    )
    assert low < at[0].progress < at[1].progress < at[2].progress == high
    assert {status.clips for status in at} == {()}
    assert at[0].plan_key == "p"


def test_an_error_is_told_with_code_hint_and_stage() -> None:
    failure = {
        "exc_type": "NoHighlights",
        "exc_message": ["too short", {"hint": "ask less"}],
        "exc_module": "topclip.errors",
    }
    status = status_of(JOB, record(JobState.FAILED, Stage.SELECT), {"result": failure}, [], -1)
    assert status.error
    assert status.error.to_dict() == {
        "code": "NO_HIGHLIGHTS",
        "stage": "select",
        "message": "too short",
        "hint": "ask less",
        "retryable": False,
    }


def test_an_error_that_is_not_ours_is_internal() -> None:
    failure = {"exc_type": "ZeroDivisionError", "exc_message": ["division by zero"], "exc_module": "builtins"}
    status = status_of(JOB, record(JobState.FAILED, Stage.PROBE), {"result": failure}, [], -1)
    assert status.error
    assert (status.error.code, status.error.message) == ("INTERNAL", "division by zero")


def test_an_estimate_needs_some_progress() -> None:
    started = {"started_at": "1001.0"}
    meta = {"result": {"stage": "analyse", "tasks": ["a"], "sizes_s": [20.0]}}
    early = status_of(JOB, record(JobState.RUNNING, Stage.ANALYSE, **started), meta, [None], -1)
    later = status_of(JOB, record(JobState.RUNNING, Stage.ANALYSE, **started), meta, [progress(10, 20)], -1)
    assert early.eta_s is None
    assert later.eta_s


def test_a_cancelled_job_still_shows_how_far_it_came() -> None:
    clips = [{"n": n, "start_s": n * 10.0, "end_s": n * 10.0 + 5} for n in (1, 2)]
    doing = {"result": {"stage": "render", "tasks": ["a", "b"], "sizes_s": [5.0] * 2, "clips": clips, "plan": "p"}}
    parts: list[JsonDict | None] = [{"status": "SUCCESS", "result": {"outcome": "ok"}}, progress(2.5, 5)]
    running = status_of(JOB, record(JobState.RUNNING, Stage.RENDER), doing, parts, -1)
    ended = record(JobState.CANCELLED, Stage.RENDER, last=json.dumps(doing))
    status = status_of(JOB, ended, {"result": None}, parts, -1)
    assert status.progress == running.progress
    assert [clip.state for clip in status.clips] == ["SUCCEEDED", "CANCELLED"]
    assert status.plan_key == "p"


def test_a_download_is_progress_of_the_first_stage() -> None:
    said = '{"done_bytes": 50, "total_bytes": 100}'
    status = status_of(JOB, record(JobState.RUNNING, Stage.PROBE, download=said), {"result": {}}, [], -1)
    assert status.download
    assert (status.download.done_bytes, status.progress) == (50, 0.01)
    unknown = '{"done_bytes": 50, "total_bytes": null}'
    assert status_of(JOB, record(JobState.RUNNING, Stage.PROBE, download=unknown), {"result": {}}, [], -1).progress == 0
    after = status_of(JOB, record(JobState.RUNNING, Stage.ANALYSE, download=said), {"result": {}}, [], -1)
    assert (after.download, after.progress) == (None, 0.02)


def test_where_a_callback_goes_is_shown_without_its_query_and_changes_no_clip() -> None:
    told = REQUEST.model_copy(update={"options": ClipOptions(callback_url="https://a.b/hook?key=secret")})
    status = status_of(JOB, record(JobState.QUEUED, request=told.model_dump_json()), {"result": {}}, [], 0)
    assert status.options["callback_url"] == "https://a.b/hook?..."
    assert "callback_url" not in status_of(JOB, record(JobState.QUEUED), {"result": {}}, [], 0).options
    assert told.options.to_dict() == REQUEST.options.to_dict()
