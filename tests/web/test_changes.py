"""Replan and recut over HTTP: what is asked is merged and checked, and every fault names its field."""

from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient

from tests.fakes import FakeClient, make_status
from tests.unit.test_select import make_analysis, make_info
from topclip.config import Settings
from topclip.model.job import JobState
from topclip.model.request import ClipOptions, ClipRequest, Upload
from topclip.pipeline.plan import plan_document
from topclip.pipeline.plot import draw_plan
from topclip.pipeline.select import select_clips
from topclip.storage.base import drawing_key, info_key, plan_key
from topclip.storage.local import LocalStore

OPTIONS = ClipOptions(count=3, min_length=8, max_length=20, weights={"loudness": 1.0, "motion": 0.2})  # type: ignore[arg-type]


@pytest.fixture
def planned(client: FakeClient, store: LocalStore) -> str:
    """A finished job of a source of 300 s, with a real plan of three clips."""
    job_id, analysis, info = str(uuid4()), make_analysis(300, ((60, 75), (150, 170), (240, 252))), make_info(300)
    plan = select_clips(info, analysis, OPTIONS)
    key = plan_key(job_id, "a")
    store.put_bytes(key, plan_document(plan))
    store.put_bytes(drawing_key(key), draw_plan(plan, analysis).encode())
    store.put_bytes(info_key(job_id), info.model_copy(update={"name": "Größe <b>.mp4"}).model_dump_json().encode())
    client.requests[job_id] = ClipRequest(source=Upload(key="k", name="talk.mp4"), options=OPTIONS)
    client.jobs[job_id] = make_status(
        job_id, state=JobState.SUCCEEDED, plan_key=key, name="Größe <b>.mp4", options=OPTIONS.to_dict()
    )
    return job_id


def replan(http: FlaskClient, job: str, **asked: Any) -> Any:
    return http.post(f"/api/jobs/{job}/replan", json=asked)


def test_a_replan_changes_what_is_named_and_nothing_else(http: FlaskClient, client: FakeClient, planned: str) -> None:
    answer = replan(http, planned, count=2, weights={"motion": 2})
    assert (answer.status_code, answer.json["state"], answer.json["epoch"]) == (202, "QUEUED", 2)
    now = client.requests[planned].options
    assert now == OPTIONS.model_copy(update={"count": 2, "weights": OPTIONS.weights.model_copy(update={"motion": 2.0})})
    client.finish(planned)
    assert replan(http, planned, weights=None, count=None).status_code == 202
    assert client.requests[planned].options == ClipOptions(min_length=8, max_length=20)


def test_another_mode_begins_with_its_own_lengths(http: FlaskClient, client: FakeClient, planned: str) -> None:
    assert replan(http, planned, mode="shots", aspect="1:1").status_code == 202
    now = client.requests[planned].options
    assert (now.mode, now.count, now.min_length, now.max_length, now.aspect) == ("shots", 50, 1.0, 3600.0, "1:1")
    client.finish(planned)
    assert replan(http, planned, ranges=[[1, 9]]).status_code == 202
    assert (client.requests[planned].options.mode, client.requests[planned].options.count) == ("ranges", 5)


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({}, "body"),
    ({"source": "other.mp4"}, "source"),
    ({"volume": 3}, "volume"),
    ({"count": "2"}, "count"),
    ({"count": 99}, "count"),
    ({"min_length": 30}, "max_length"),
    ({"weights": {"colour": 1}}, "weights.colour"),
    ({"mode": "ranges"}, "ranges"),
    ({"ranges": [[1, 9], [300.5, 310]]}, "ranges.1.0"),
    ({"ranges": [[1, 9], [290, 301]]}, "ranges.1.1"),
    ({"callback_url": "https://example.com/"}, "callback_url"),
]


@pytest.mark.parametrize(("asked", "field"), FAULTS)
def test_a_wrong_option_of_a_replan_is_named(
    http: FlaskClient, client: FakeClient, planned: str, asked: dict[str, Any], field: str
) -> None:
    answer = replan(http, planned, **asked)
    assert (answer.status_code, answer.json["field"]) == (422, field)
    assert (client.jobs[planned].epoch, client.requests[planned].options) == (1, OPTIONS)


def test_a_job_that_runs_or_is_unknown_or_is_sent_no_json_is_refused(http: FlaskClient, job: str) -> None:
    assert replan(http, job, count=1).status_code == 409
    assert replan(http, str(uuid4()), count=1).status_code == 404
    assert http.post(f"/api/jobs/{job}/replan", data=b"{").status_code == 400
    assert http.patch(f"/api/jobs/{job}/clips/1", json={"start_s": 1}).status_code == 409


def test_a_recut_sets_one_clip_and_later_ones_add_to_it(http: FlaskClient, client: FakeClient, planned: str) -> None:
    plan = http.get(f"/api/jobs/{planned}/plan").json["highlights"]
    assert http.patch(f"/api/jobs/{planned}/clips/2", json={"start_s": 1.5, "end_s": 90}).status_code == 202
    client.finish(planned)
    assert http.patch(f"/api/jobs/{planned}/clips/1", json={"end_s": 299.5}).status_code == 202
    client.finish(planned)
    edits = client.requests[planned].edits
    assert edits
    assert edits.plan == plan_key(planned, "a")
    assert [(e.n, e.start_s, e.end_s) for e in edits.clips] == [(1, plan[0]["start_s"], 299.5), (2, 1.5, 90.0)]
    assert replan(http, planned, aspect="9:16").status_code == 202
    assert client.requests[planned].edits == edits  # they choose nothing else
    client.finish(planned)
    back = {"start_s": None, "end_s": None}
    assert http.patch(f"/api/jobs/{planned}/clips/2", json=back).status_code == 202
    assert client.requests[planned].edits == edits.model_copy(update={"clips": edits.clips[:1]})
    client.finish(planned)
    assert http.patch(f"/api/jobs/{planned}/clips/1", json=back).status_code == 202
    assert client.requests[planned].edits is None
    client.finish(planned)
    assert http.patch(f"/api/jobs/{planned}/clips/1", json={"end_s": 299.5}).status_code == 202
    client.finish(planned)
    assert replan(http, planned, count=2).status_code == 202
    assert client.requests[planned].edits is None


RECUT_FAULTS: list[tuple[dict[str, Any], str]] = [
    ({}, "start_s"),
    ({"start_s": None}, "start_s"),
    ({"start_s": 300, "end_s": 301}, "start_s"),
    ({"end_s": 300.5}, "end_s"),
    ({"start_s": 20, "end_s": 20}, "end_s"),
    ({"start_s": 299}, "start_s"),
    ({"start_s": -1}, "start_s"),
    ({"start_s": "1"}, "start_s"),
    ({"start_s": 1, "aspect": "1:1"}, "aspect"),
]


@pytest.mark.parametrize(("asked", "field"), RECUT_FAULTS)
def test_a_wrong_range_of_a_recut_is_named(http: FlaskClient, planned: str, asked: dict[str, Any], field: str) -> None:
    answer = http.patch(f"/api/jobs/{planned}/clips/1", json=asked)
    assert (answer.status_code, answer.json["field"]) == (422, field)


def framing(*keyframes: tuple[float, float, float]) -> dict[str, Any]:
    return {"framing": {"keyframes": [{"time_s": t, "x": x, "y": y, "cut": False} for t, x, y in keyframes]}}


def test_a_framing_is_set_beside_a_range_and_kept_until_it_is_taken_back(
    http: FlaskClient, client: FakeClient, planned: str
) -> None:
    assert replan(http, planned, aspect="9:16").status_code == 202
    client.finish(planned)
    at = f"/api/jobs/{planned}/clips/2"
    clip = http.get(f"/api/jobs/{planned}/plan").json["highlights"][1]
    asked = framing((clip["start_s"], 0.2, 0.5), (clip["end_s"], 0.8, 0.5))
    for changes in (asked, {"end_s": clip["end_s"] + 1}, asked):
        assert http.patch(at, json=changes).status_code == 202
        client.finish(planned)
    edits = client.requests[planned].edits
    assert edits
    (edit,) = edits.clips
    assert (edit.n, edit.start_s, edit.end_s) == (2, clip["start_s"], clip["end_s"] + 1)
    assert [(k.time_s, k.x) for k in edit.keyframes] == [(clip["start_s"], 0.2), (clip["end_s"], 0.8)]
    assert replan(http, planned, quality="high").status_code == 202
    assert client.requests[planned].edits == edits
    client.finish(planned)
    assert http.patch(at, json={"start_s": None, "end_s": None}).status_code == 202
    client.finish(planned)
    left = client.requests[planned].edits
    assert left
    assert left.clips == (edit.model_copy(update={"start_s": None, "end_s": None}),)
    assert http.patch(at, json={"framing": None}).status_code == 202
    assert client.requests[planned].edits is None


FRAMING_FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"framing": {}}, "framing.keyframes"),
    ({"framing": {"keyframes": []}}, "framing.keyframes"),
    ({"framing": {"keyframes": [{"time_s": 1.0, "x": 0.5, "y": 0.5}] * 301}}, "framing.keyframes"),
    ({"framing": {"keyframes": [{"time_s": 1.0, "x": 1.5, "y": 0.5}]}}, "framing.keyframes.0.x"),
    ({"framing": {"keyframes": [{"time_s": "1", "x": 0.5, "y": 0.5}]}}, "framing.keyframes.0.time_s"),
    ({"framing": {"keyframes": [{"time_s": 1.0, "x": 0.5, "y": 0.5, "w": 0.2}]}}, "framing.keyframes.0.w"),
    (framing((5, 0.5, 0.5), (12, 0.5, 0.5)), "framing.keyframes.1.time_s"),
    (framing((3, 0.5, 0.5)), "framing.keyframes.0.time_s"),
    (framing((5, 0.5, 0.5), (5, 0.6, 0.5)), "framing.keyframes.1.time_s"),
    (framing((5, 0.1, 0.5)), "framing.keyframes.0.x"),
    (framing((5, 0.5, 0.5), (6, 0.9, 0.5)), "framing.keyframes.1.x"),
    (framing((5, 0.5, 0.45)), "framing.keyframes.0.y"),
]


@pytest.mark.parametrize(("asked", "field"), FRAMING_FAULTS)
def test_a_wrong_framing_is_named_to_the_keyframe(
    http: FlaskClient, client: FakeClient, planned: str, asked: dict[str, Any], field: str
) -> None:
    assert replan(http, planned, aspect="9:16").status_code == 202
    client.finish(planned)
    answer = http.patch(f"/api/jobs/{planned}/clips/1", json={"start_s": 4, "end_s": 11, **asked})
    assert (answer.status_code, answer.json["field"]) == (422, field)
    assert client.requests[planned].edits is None


def test_a_job_whose_clips_show_all_of_the_picture_takes_no_framing(http: FlaskClient, planned: str) -> None:
    answer = http.patch(f"/api/jobs/{planned}/clips/1", json={"start_s": 4, "end_s": 11, **framing((5, 0.5, 0.5))})
    assert (answer.status_code, answer.json["field"]) == (422, "framing")
    assert "aspect" in answer.json["hint"]


def test_a_clip_that_the_plan_has_not_is_404(http: FlaskClient, planned: str) -> None:
    assert http.patch(f"/api/jobs/{planned}/clips/4", json={"start_s": 1}).status_code == 404


def test_a_plan_is_drawn_and_exported(http: FlaskClient, planned: str) -> None:
    links = http.get(f"/api/job-status/{planned}").json["links"]
    drawing = http.get(links["plan_svg"])
    assert (drawing.status_code, drawing.content_type) == (200, "image/svg+xml")
    assert drawing.data.startswith(b"<svg")
    assert drawing.headers["Content-Security-Policy"] == "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    assert drawing.headers["X-Content-Type-Options"] == "nosniff"
    assert set(links["exports"]) == {"edl", "fcpxml", "csv", "chapters", "ffmetadata"}
    for kind, path in links["exports"].items():
        answer = http.get(path)
        assert answer.status_code == 200
        assert f"Gr%C3%B6%C3%9Fe%20_b_.{kind}" in answer.headers["Content-Disposition"]
    edl = http.get(links["exports"]["edl"]).text
    assert "FCM: NON-DROP FRAME" in edl
    assert "* FROM CLIP NAME: Größe <b>.mp4" in edl
    assert 'src="Gr%C3%B6%C3%9Fe%20%3Cb%3E.mp4"' in http.get(links["exports"]["fcpxml"]).text
    assert http.get(f"/api/jobs/{planned}/export.exe").status_code == 404


def test_exports_of_a_damaged_plan_say_so(http: FlaskClient, planned: str, store: LocalStore) -> None:
    links = http.get(f"/api/job-status/{planned}").json["links"]
    (plan,) = (key for key in store.list(f"jobs/{planned}") if "/plan" in key and key.endswith(".json"))
    with store.local_path(plan) as path:
        path.write_bytes(path.read_bytes()[:100])
    answer = http.get(links["exports"]["edl"])
    assert (answer.status_code, answer.json["code"]) == (404, "ARTIFACT_MISSING")
    assert "plan is damaged" in answer.json["detail"]
    assert "replan" in answer.json["hint"]


def test_what_is_not_planned_yet_cannot_be_drawn_or_exported(http: FlaskClient, job: str) -> None:
    assert [http.get(f"/api/jobs/{job}/{name}").status_code for name in ("plan.svg", "export.edl")] == [409, 409]


def test_a_callback_that_stays_is_not_checked_again(http: FlaskClient, client: FakeClient, planned: str) -> None:
    assert not Settings().webhook_secret
    told = OPTIONS.model_copy(update={"callback_url": "https://example.com/"})
    client.requests[planned] = client.requests[planned].model_copy(update={"options": told})
    assert replan(http, planned, count=1).status_code == 202
    assert client.requests[planned].options.callback_url == "https://example.com/"
