"""Looking for a subject in real pictures, and a clip whose picture is cut out where the keyframes say, frame by frame."""

from pathlib import Path

import av
import numpy as np
import pytest

from bench.framing import framed, place_at, shown
from bench.walkers import Place, Scene, make
from tests.media import AAC, X264, run
from tests.unit.conftest import make_context, request_for
from tests.unit.test_render import prepared
from topclip import run_local
from topclip.analysers.evidence import Evidence
from topclip.errors import JobStopped, MediaLimit
from topclip.model.clip import Plan, RenderedClip
from topclip.model.framing import Keyframe, Outlook
from topclip.model.geometry import plan_geometry
from topclip.model.request import Aspect, ClipRequest, Edit, Edits, Fit
from topclip.model.source import SourceInfo
from topclip.pipeline import reframe
from topclip.pipeline.context import StageContext
from topclip.pipeline.framing import FRAMING_VERSION
from topclip.pipeline.plan import make_plan
from topclip.pipeline.reframe import look_for_subject
from topclip.pipeline.render import render_clip
from topclip.run_analysis import analyse
from topclip.storage.base import drawing_key, job_folder

LENGTH_S, CUT_S, LEFT, RIGHT = 4.0, 2.2, 0.2, 0.78


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reframe")


@pytest.fixture(scope="module")
def faces(folder: Path) -> Path:
    """A face on the left, and after a cut on the right."""
    path = folder / "faces.mp4"
    make(Scene("faces", LENGTH_S, lambda t: [Place(LEFT if t < CUT_S else RIGHT, 0.12)], "face", cuts_s=(CUT_S,)), path)
    return path


def planned(request: ClipRequest, ctx: StageContext) -> tuple[Plan, bytes]:
    info = analyse(request, ctx)
    content = ctx.store.get_bytes(run_local.make_whole_plan(request, info, ctx).plan_key)
    return Plan.model_validate_json(content), content


def test_a_clip_shows_the_face_in_both_shots(faces: Path, ctx: StageContext) -> None:
    request = request_for(faces, mode="ranges", ranges=[[0.4, 3.8]], aspect="9:16", quality="draft")
    result = run_local.run(request, ctx)
    framing = Plan.model_validate_json(ctx.store.get_bytes(result.plan_key)).highlights[0].framing
    assert framing is not None
    assert framing.method == "faces"
    assert [(round(k.time_s, 3), k.cut) for k in framing.keyframes] == [(0.4, False), (CUT_S, True)]
    assert [k.x for k in framing.keyframes] == pytest.approx([LEFT, RIGHT], abs=0.03)
    (clip,) = result.manifest.clips
    assert (clip.width, clip.height) == (202, 360)
    assert ctx.store.exists(drawing_key(result.plan_key))


@pytest.mark.parametrize(("options", "is_framed"), [
    ({"aspect": "9:16"}, True), ({"aspect": "1:1", "mode": "plan", "min_length": 2, "max_length": 4}, True),
    ({"aspect": "source"}, False), ({"aspect": "16:9"}, False), ({"aspect": "9:16", "fit": "pad"}, False),
])  # fmt: skip
def test_only_where_much_is_cut_away_a_subject_is_looked_for(
    faces: Path, ctx: StageContext, options: dict[str, object], is_framed: bool
) -> None:
    ranges = {} if "mode" in options else {"mode": "ranges", "ranges": [[1.0, 2.0]]}
    plan, _ = planned(request_for(faces, **ranges, **options), ctx)
    assert {h.framing is not None for h in plan.highlights} == {is_framed}
    assert ("framing" in plan.version) is is_framed


def test_the_plan_is_the_same_on_any_number_of_threads_and_of_what_was_seen_before(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_for(faces, mode="ranges", ranges=[[0.4, 3.8]], aspect="9:16")
    first, second = (make_context(tmp_path / str(n), threads=n) for n in (1, 2))
    (_, one), (_, two) = (planned(request, ctx) for ctx in (first, second))
    assert one == two
    monkeypatch.setattr(reframe, "gather", None)  # nothing is looked at again, whatever the shape is
    assert planned(request, first)[1] == one
    square, _ = planned(request_for(faces, mode="ranges", ranges=[[0.4, 3.8]], aspect="1:1"), first)
    assert square.highlights[0].framing is not None


def test_faces_are_looked_for_where_a_shot_begins(faces: Path, ctx: StageContext) -> None:
    request = request_for(faces, mode="ranges", ranges=[[0.4, 3.8]], aspect="9:16")
    info, outlook = _outlook(request, ctx)
    evidence = Evidence.from_bytes(ctx.store.get_bytes(look_for_subject(request, info, outlook, ctx).key))
    first = int(np.searchsorted(evidence.pts, outlook.cut_pts[0]))
    assert evidence.looked[first]
    assert not evidence.looked[first - 1 : first + 2].all()  # and not in all pictures
    assert [len(evidence.faces[evidence.faces[:, 0] == k]) for k in np.flatnonzero(evidence.looked)] == [1] * int(
        evidence.looked.sum()
    )


def test_evidence_that_cannot_be_read_is_gathered_anew(faces: Path, ctx: StageContext) -> None:
    request = request_for(faces, mode="ranges", ranges=[[1.0, 2.0]], aspect="9:16")
    info, outlook = _outlook(request, ctx)
    key = look_for_subject(request, info, outlook, ctx).key
    whole = ctx.store.get_bytes(key)
    ctx.store.delete(key)
    ctx.store.put_bytes(key, whole[:100])
    assert look_for_subject(request, info, outlook, ctx).key == key
    assert ctx.store.get_bytes(key) == whole


def _outlook(request: ClipRequest, ctx: StageContext) -> tuple[SourceInfo, Outlook]:
    info = analyse(request, ctx)
    (outlook,) = make_plan(request, info, ctx).outlooks
    return info, outlook


def test_a_subject_that_cannot_be_looked_for_costs_the_framing_and_not_the_clip(
    faces: Path, ctx: StageContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> Evidence:
        raise MediaLimit("looking takes too much")

    monkeypatch.setattr(reframe, "gather", fails)
    result = run_local.run(request_for(faces, mode="ranges", ranges=[[1, 2]], aspect="9:16", quality="draft"), ctx)
    framing = Plan.model_validate_json(ctx.store.get_bytes(result.plan_key)).highlights[0].framing
    assert framing is not None
    assert (framing.method, "takes too much" in framing.reason) == ("blur", True)
    (clip,) = result.manifest.clips
    wanted = plan_geometry(analyse(request_for(faces), ctx).video, Aspect.VERTICAL, Fit.CROP).canvas
    assert (clip.width, clip.height) == wanted


def test_a_clip_that_is_shown_whole_is_as_large_as_those_cut_out_beside_it(folder: Path, ctx: StageContext) -> None:
    path = folder / "first.mp4"
    make(Scene("first", 4.0, lambda t: [Place(LEFT, 0.12)] if t < 2 else [], "face", cuts_s=(2.0,)), path)
    request = request_for(path, mode="ranges", ranges=[[0.2, 1.8], [2.2, 3.8]], aspect="9:16", quality="draft")
    result = run_local.run(request, ctx)
    plan = Plan.model_validate_json(ctx.store.get_bytes(result.plan_key))
    assert [h.framing.method for h in plan.highlights if h.framing] == ["faces", "blur"]
    files = [f"{job_folder(ctx.job_id)}/{clip.file}" for clip in result.manifest.clips]
    sizes, last = [], None
    for file in files:
        with ctx.store.local_path(file) as clip, av.open(str(clip)) as container:
            last = next(container.decode(video=0)).to_ndarray(format="gray")
            sizes.append(last.shape)
    assert sizes == [(360, 202)] * 2
    across, source = last[124:236].mean(axis=0), frame_at(path, 2.2).mean(axis=0)
    assert (
        np.corrcoef(across, np.interp(np.linspace(0, 639, 202), range(640), source))[0, 1] > 0.95
    )  # all of it is there


def frame_at(path: Path, time_s: float) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    """The first frame from a time on, grey."""
    with av.open(str(path)) as container:
        return next(f for f in container.decode(video=0) if f.time >= time_s - 1e-3).to_ndarray(format="gray")


def test_a_stop_leaves_nothing_behind(faces: Path, ctx: StageContext) -> None:
    request = request_for(faces, mode="ranges", ranges=[[1.0, 2.0]], aspect="9:16")
    info, outlook = _outlook(request, ctx)

    def stop(done_s: float, total_s: float) -> None:
        if done_s > 0.7 * total_s:
            raise JobStopped("cancelled")

    before = set(ctx.store.list("analysis"))
    with pytest.raises(JobStopped):
        look_for_subject(request, info, outlook, StageContext(**{**vars(ctx), "report": stop}))
    assert set(ctx.store.list("analysis")) == before
    assert ctx.store.staged() == []


def edited(request: ClipRequest, plan_key: str, *clips: Edit) -> ClipRequest:
    return request.model_copy(update={"edits": Edits(plan=plan_key, clips=clips)})


def test_a_framing_that_a_person_set_is_the_plans_and_is_rendered_so_while_others_are_as_they_were(
    faces: Path, ctx: StageContext
) -> None:
    request = request_for(faces, mode="ranges", ranges=[[0.4, 3.8], [0.4, 1.8]], aspect="9:16", quality="draft")
    first = run_local.run(request, ctx)
    keyframes = tuple(
        Keyframe(time_s=t, x=x, y=0.5, cut=cut)
        for t, x, cut in ((0.4, 0.3, False), (2.0, 0.6, False), (3.0, 0.8, True))
    )
    again = run_local.run(edited(request, first.plan_key, Edit(n=1, keyframes=keyframes)), ctx)
    before, after = (Plan.model_validate_json(ctx.store.get_bytes(r.plan_key)).highlights for r in (first, again))
    assert after[0].framing is not None
    assert (after[0].framing.method, after[0].framing.keyframes) == ("asked", keyframes)
    assert after[0].model_copy(update={"framing": before[0].framing}) == before[0]  # its range is as it was chosen
    assert after[1] == before[1]
    clip = again.manifest.clips[0]
    assert again.manifest.clips[1] == first.manifest.clips[1]
    with ctx.store.local_path(f"{job_folder(ctx.job_id)}/{clip.file}") as path:
        for time_s in (0.0, 1.0, 2.4, 2.6, 3.36):
            found = frame_at(path, time_s).astype(float)
            left = place_at(keyframes, clip.start_s + time_s) * 640 - 101
            source = frame_at(faces, clip.start_s + time_s).astype(float)
            off = {by: np.abs(source[:, round(left) + by :][:, :202] - found).mean() for by in range(-12, 13, 2)}
            assert abs(min(off, key=lambda by: off[by])) <= 2, (time_s, off)


def test_all_framings_set_by_a_person_need_no_look(faces: Path, ctx: StageContext) -> None:
    request = request_for(faces, mode="ranges", ranges=[[0.4, 1.8]], aspect="9:16")
    info = analyse(request, ctx)
    key = run_local.make_whole_plan(request, info, ctx).plan_key
    edit = Edit(n=1, keyframes=(Keyframe(time_s=0.4, x=0.5, y=0.5),))
    chosen = make_plan(edited(request, key, edit), info, ctx)
    assert chosen.outlooks == ()
    assert chosen.specs[0].keyframes == edit.keyframes


def test_a_plan_that_an_older_release_framed_is_framed_anew_by_one_version(
    faces: Path, ctx: StageContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_for(faces, mode="ranges", ranges=[[0.4, 3.8]], aspect="9:16")
    monkeypatch.setattr("topclip.pipeline.plan.FRAMING_VERSION", "evidence 1, framing 1")
    old, _ = planned(request, ctx)
    key = run_local.make_whole_plan(request, analyse(request, ctx), ctx).plan_key
    monkeypatch.undo()
    plan, _ = planned(edited(request, key, Edit(n=1, start_s=0.5, end_s=1.5)), ctx)
    assert plan.version == old.version.replace("evidence 1, framing 1", FRAMING_VERSION)


@pytest.mark.parametrize("changes", [{"aspect": Aspect.SOURCE}, {"fit": Fit.PAD}, {"aspect": Aspect.SQUARE}])
def test_a_plan_that_was_framed_for_another_shape_brings_no_framing_along(
    faces: Path, ctx: StageContext, changes: dict[str, object]
) -> None:
    request = request_for(faces, mode="ranges", ranges=[[0.4, 3.8], [0.4, 1.8]], aspect="9:16")
    first, _ = planned(request, ctx)
    info = analyse(request, ctx)
    key = run_local.make_whole_plan(request, info, ctx).plan_key
    other = request.model_copy(update={"options": request.options.model_copy(update=changes)})
    edit = Edit(n=2, start_s=0.5, end_s=1.5, keyframes=(Keyframe(time_s=0.5, x=0.6, y=0.5),))
    plan, _ = planned(edited(other, key, edit), ctx)
    is_cut_out = "aspect" in changes and changes["aspect"] is Aspect.SQUARE
    assert plan.version == (first.version if is_cut_out else plan.version.partition(", evidence")[0])
    assert [h.framing.method if h.framing else None for h in plan.highlights] == (
        ["faces", "asked"] if is_cut_out else [None, None]
    )
    framings = [h.framing for h in (*first.highlights, *plan.highlights)]
    assert framings[0] != framings[2]  # a square is wider, and stands elsewhere


# --- two far apart: one is held -----------------------------------------------------------------------------------


def _turns(subject: int, turn: int, t: float) -> float:
    """Where one of two stands in a turn: it moves in its own, and is still in the other one's."""
    return (0.16, 0.84)[subject] + (0.02 * np.sin(6 * t) if turn == subject else 0.0)


TWO = {
    "faces that take turns": ("face", lambda t: [Place(_turns(n, int(t / 2) % 2, t), 0.1) for n in (0, 1)]),
    "faces that come from the middle": (
        "face",
        lambda t: [Place(0.45 - 0.3 * min(1, t / 4), 0.1), Place(0.6 + 0.27 * min(1, t / 4), 0.1)],
    ),
    "one of two goes away": (
        "face",
        lambda t: [p for p in (Place(_turns(0, 0, t) - 0.5 * max(0, t - 7), 0.12), Place(0.84, 0.08)) if p.x > 0],
    ),
    "things": (
        "thing",
        lambda t: [Place(0.15 + 0.05 * np.sin(3 * t), 0.1), Place(0.85 + 0.05 * np.sin(3 * t + 2), 0.1)],
    ),
}


@pytest.mark.parametrize("name", TWO)
def test_of_two_far_subjects_one_is_whole_in_every_frame_and_the_gap_is_never_shown(name: str, tmp_path: Path) -> None:
    kind, where = TWO[name]
    scene = Scene(name, 12.0 if "away" in name else 6.0, where, kind)
    make(scene, tmp_path / "two.mp4")
    found, window = framed(tmp_path / "two.mp4", tmp_path, scene.length_s)
    truth = scene.truth()
    assert found.method == {"face": "faces", "thing": "motion"}[kind]
    way = [place_at(found.keyframes, n / 25) for n in range(len(truth))]
    assert shown(truth, way, window) >= (0.96 if "away" in name else 1.0)  # who goes away is seen to the last
    if "middle" not in name:
        assert all(abs(at - 0.5) > 0.3 for at in way)


# --- one that the cut-out may not keep up with ----------------------------------------------------------------------


@pytest.mark.parametrize(("speed", "method"), [(0.4, "faces"), (1.0, "blur")])
def test_a_face_that_runs_is_kept_or_the_whole_picture_is_shown(speed: float, method: str, tmp_path: Path) -> None:
    scene = Scene("runs", 8.0, lambda t: [Place(0.85 - abs(speed * t % 1.4 - 0.7), 0.1)], "face")
    make(scene, tmp_path / "runs.mp4")
    found, window = framed(tmp_path / "runs.mp4", tmp_path, scene.length_s)
    assert found.method == method
    assert ("faster than the picture may follow" in found.reason) is (method == "blur")
    assert found.evidence > 0.9
    if method == "faces":
        truth = scene.truth()
        assert shown(truth, [place_at(found.keyframes, n / 25) for n in range(len(truth))], window) > 0.7


# --- the render follows the keyframes -------------------------------------------------------------------------

RAMP = "color=c=gray:s=320x180:r=25,format=yuv420p,geq=lum='20+200*X/W':cb=128:cr=128"
GLIDE = (
    Keyframe(time_s=0.2, x=0.25, y=0.25), Keyframe(time_s=0.6, x=0.25, y=0.25), Keyframe(time_s=1.0, x=0.7, y=0.7),
    Keyframe(time_s=1.4, x=0.3, y=0.3, cut=True), Keyframe(time_s=1.8, x=0.5, y=0.5),
)  # fmt: skip
SOURCES = {
    "plain.mp4": ("9:16", ()),
    "odd.mkv": ("9:16", ("-vf", "scale=317:179", "-pix_fmt", "yuv444p")),
    "uneven.mp4": ("1:1", ("-vf", "select='mod(n,5)+lt(n,10)'", "-fps_mode", "vfr")),
    "wide_points.mp4": ("9:16", ("-vf", "scale=240:180,setsar=4/3")),
    "turned.mp4": ("1:1", ()),
}


@pytest.mark.parametrize("name", SOURCES)
def test_each_frame_is_cut_out_where_the_keyframes_say(name: str, folder: Path, ctx: StageContext) -> None:
    aspect, more = SOURCES[name]
    path, plain = folder / name, folder / f"straight-{name}"
    sound = ("-f", "lavfi", "-i", "sine=300:duration=2")
    run("-f", "lavfi", "-i", RAMP, *sound, "-t", "2", *X264, *more, *AAC, plain)
    if name == "turned.mp4":
        run("-display_rotation", "90", "-i", plain, "-c", "copy", path)
    else:
        plain.rename(path)
    request = request_for(path, mode="ranges", ranges=[[0.2, 1.9]], aspect=aspect, quality="high")
    info, (spec,) = prepared(request, ctx)
    clip = render_clip(request, info, spec.model_copy(update={"keyframes": GLIDE}), ctx)
    assert isinstance(clip, RenderedClip), clip
    crop = plan_geometry(info.video, spec.aspect, spec.fit).crop
    across = crop.width < info.video.display_width
    side = info.video.display_width if across else info.video.display_height
    half = (crop.width if across else crop.height) / side / 2
    with ctx.store.local_path(clip.key) as file:
        found, times_s = _middles(file)
    assert len(found) == spec.frames
    for tone, t in zip(found, times_s, strict=True):
        wanted = min(1 - half, max(half, place_at(GLIDE, spec.start_s + t)))  # never beyond the picture
        at = (tone - 20) / 200
        at = 1 - at if name == "turned.mp4" else at  # turned to the left, its right edge is on top
        assert at == pytest.approx(wanted, abs=2.5 / side + 0.006), t


def _middles(path: Path) -> tuple[list[float], list[float]]:
    """Mean luma of each frame, which is that of its middle on the ramp, and the frames' times."""
    tones, times = [], []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            plane = frame.planes[0]
            tones.append(float(np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:, : plane.width].mean()))
            times.append(float(frame.time))
    return tones, times
