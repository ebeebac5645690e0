"""What evidence makes of a clip: faces before motion, cuts at shots, and the whole picture where there is neither."""

import numpy as np
import pytest

from bench.framing import place_at
from tests.unit.test_select import make_info
from topclip.analysers.attention import change, motion
from topclip.analysers.evidence import Evidence, EvidenceTaker
from topclip.model.framing import MOST_KEYFRAMES, Framing, Outlook
from topclip.pipeline.framing import frame_clip
from topclip.pipeline.path import SPEED

TALL = (0.316, 1.0)
COLUMNS, ROWS = 104, 56
N = 40
INFO = make_info(60)
STEP = round(0.25 / INFO.video.tick)


def evidence_of(
    faces: dict[int, list[tuple[int, int]]] | None = None,
    moves: dict[int, float] | None = None,
    cuts: tuple[int, ...] = (),
    n: int = N,
) -> Evidence:
    """faces: by picture, middle and width in thousandths. moves: by picture, where something moves. cuts: pictures."""
    rows = [(k, x, 400, size, 2 * size, 800) for k, found in (faces or {}).items() for x, size in found]
    motion_x = np.zeros((n, COLUMNS), np.int32)
    for k, at in (moves or {}).items():
        motion_x[k, max(0, round(at * COLUMNS) - 4) : round(at * COLUMNS) + 4] = 300
    return Evidence(
        pts=INFO.video.start_pts + np.arange(n) * STEP,
        cut_pts=np.array([INFO.video.start_pts + c * STEP - 1 for c in cuts], np.int64),
        looked=np.arange(n) % 2 == 0,
        faces=np.array(rows, np.int32).reshape(-1, 6),
        area=np.where(motion_x.sum(axis=1) > 0, 30, 0).astype(np.int32),
        motion_x=motion_x,
        motion_y=np.full((n, ROWS), 5, np.int32),
        contrast_x=np.ones((n, COLUMNS), np.int32),
        contrast_y=np.ones((n, ROWS), np.int32),
    )


def framed(evidence: Evidence, window: tuple[float, float] = TALL) -> Framing:
    first, end = INFO.video.start_pts, INFO.video.start_pts + len(evidence.pts) * STEP
    outlook = Outlook(n=1, start_s=0, end_s=len(evidence.pts) / 4, start_pts=first, end_pts=end)
    return frame_clip(INFO.video, outlook, evidence, window)


def test_a_still_face_is_one_keyframe() -> None:
    found = framed(evidence_of({k: [(700, 80)] for k in range(0, N, 2)}))
    (keyframe,) = found.keyframes
    assert (found.method, found.evidence) == ("faces", 1.0)
    assert (keyframe.time_s, keyframe.y, keyframe.cut) == (0.0, 0.5, False)
    assert keyframe.x == pytest.approx(0.7, abs=0.01)


def test_a_face_counts_before_what_moves_elsewhere() -> None:
    found = framed(evidence_of({k: [(250, 80)] for k in range(0, N, 2)}, dict.fromkeys(range(N), 0.8)))
    assert found.method == "faces"
    assert [k.x for k in found.keyframes] == [pytest.approx(0.25, abs=0.01)]


def test_of_two_faces_the_one_that_speaks_is_shown() -> None:
    two = {k: [(180, 80), (820, 80)] for k in range(0, N, 2)}
    for at in (0.18, 0.82):
        found = framed(evidence_of(two, dict.fromkeys(range(N), at)))
        assert [k.x for k in found.keyframes] == [pytest.approx(at, abs=0.03)]


def test_two_faces_that_fit_are_shown_together() -> None:
    found = framed(evidence_of({k: [(500, 60), (620, 60)] for k in range(0, N, 2)}))
    (keyframe,) = found.keyframes
    assert keyframe.x == pytest.approx(0.56, abs=0.03)


def test_it_jumps_where_the_new_shot_begins() -> None:
    faces = {k: [(200 if k < 17 else 800, 80)] for k in range(0, N, 2)}
    found = framed(evidence_of(faces, cuts=(17,)))
    assert [(k.x < 0.5, k.cut) for k in found.keyframes] == [(True, False), (False, True)]
    cut_s = round(float((17 * STEP - 1) * INFO.video.tick), 6)
    assert found.keyframes[1].time_s == cut_s  # the shot's first frame, not the first picture that was looked at


def test_motion_counts_where_there_is_no_face_and_both_are_mixed() -> None:
    faces = {k: [(200, 80)] for k in range(0, 20, 2)}
    found = framed(evidence_of(faces, dict.fromkeys(range(20, N), 0.75), cuts=(20,)))
    assert found.method == "mixed"
    assert [k.x for k in found.keyframes] == pytest.approx([0.2, 0.75], abs=0.02)


def test_what_stops_is_still_there() -> None:
    goes = {k: 0.2 + 0.6 * k / 12 for k in range(12)}
    found = framed(evidence_of(moves=goes, n=80))
    assert found.method == "motion"
    assert found.keyframes[-1].x > 0.7


def test_a_clock_in_the_corner_is_no_subject() -> None:
    evidence = evidence_of(moves=dict.fromkeys(range(N), 0.9))
    evidence.area[:] = 5
    assert framed(evidence).method == "blur"


@pytest.mark.parametrize("kind", ["nothing", "everywhere", "a face for a moment"])
def test_without_evidence_the_whole_picture_is_shown(kind: str) -> None:
    evidence = evidence_of({10: [(300, 80)]} if kind == "a face for a moment" else None)
    if kind == "everywhere":
        evidence.motion_x[:] = 50
        evidence.area[:] = 600
    found = framed(evidence)
    assert (found.method, found.keyframes) == ("blur", ())
    assert "shown whole" in found.reason


def test_no_picture_at_all_is_no_evidence() -> None:
    found = framed(EvidenceTaker(()).finish())
    assert (found.method, found.evidence) == ("blur", 0.0)


def test_a_lower_cut_out_moves_up_and_down_with_room_above_the_head() -> None:
    found = framed(evidence_of({k: [(300, 80)] for k in range(0, N, 2)}), (1.0, 0.316))
    (keyframe,) = found.keyframes
    assert keyframe.x == 0.5
    assert keyframe.y == pytest.approx(0.4 + 0.25 * (0.316 - 0.16) / 2, abs=0.008)


def test_a_restless_subject_gets_no_more_keyframes_than_there_may_be() -> None:
    n = 2400
    spots = 0.5 + 0.35 * np.sin(np.arange(n) * 0.2)
    found = framed(evidence_of({k: [(round(1000 * spots[k]), 80)] for k in range(0, n, 2)}, n=n))
    assert found.method == "faces"
    assert 2 < len(found.keyframes) <= MOST_KEYFRAMES


# --- a subject that the cut-out may not keep up with ----------------------------------------------------------

SLOW = [
    (0.0, 0.2008),
    (2.25, 0.2008),
    (3.0, 0.2221),
    (3.75, 0.2953),
    (7.25, 0.7174),
    (8.0, 0.7842),
    (8.75, 0.7993),
    (14.75, 0.7993),
]
"""As version 2 of framing had them, which held no subject to be too fast."""


def paces(speed: float, n: int = N) -> dict[int, float]:
    """Up and down between 0.15 and 0.85, in widths of the picture a second."""
    return {k: 0.85 - abs((speed * k / 4) % 1.4 - 0.7) for k in range(n)}


def seen_as(kind: str, at: dict[int, float], cuts: tuple[int, ...] = ()) -> Evidence:
    """Evidence of one who is at these places, by picture."""
    if kind == "motion":
        return evidence_of(moves=at, cuts=cuts, n=len(at))
    return evidence_of({k: [(round(1000 * x), 80)] for k, x in at.items() if k % 2 == 0}, cuts=cuts, n=len(at))


def missed(framing: Framing, at: dict[int, float]) -> float:
    """Share of the pictures in which the one who is at these places is outside of the cut-out."""
    return float(np.mean([abs(place_at(framing.keyframes, k / 4) - x) > TALL[0] / 2 for k, x in at.items()]))


@pytest.mark.parametrize("kind", ["faces", "motion"])
@pytest.mark.parametrize("speed", [0.8, 1.0, 1.3])
def test_one_who_outruns_the_cut_out_is_shown_whole(kind: str, speed: float) -> None:
    found = framed(seen_as(kind, paces(speed)))
    assert (found.method, found.keyframes) == ("blur", ())
    assert "moves faster than the picture may follow" in found.reason
    assert found.evidence > 0.8


@pytest.mark.parametrize("kind", ["faces", "motion"])
@pytest.mark.parametrize("speed", [0.4, 0.45, 0.5])
def test_one_whom_the_calm_way_loses_is_followed_closely(kind: str, speed: float) -> None:
    at = paces(speed)
    found = framed(seen_as(kind, at))
    assert found.method == kind
    assert missed(found, at) <= 0.1
    times_s, spots = np.array([(k.time_s, k.x) for k in found.keyframes]).T
    assert np.abs(np.diff(spots) / np.diff(times_s)).max() <= SPEED + 0.01
    assert not any(k.cut for k in found.keyframes)


@pytest.mark.parametrize("kind", ["faces", "motion"])
def test_one_who_is_too_fast_for_a_moment_only_stays_cut_out_and_the_reason_says_so(kind: str) -> None:
    there_and_back = np.interp(np.arange(N), [0, 18, 20, 22, 24, N], [0.2, 0.2, 0.8, 0.8, 0.2, 0.2])
    at = {k: float(x) + 0.01 * (k % 2) for k, x in enumerate(there_and_back)}
    found = framed(seen_as(kind, at))
    assert found.method == kind
    assert 0.05 < missed(found, at) < 0.2
    assert "outside of the cut-out in" in found.reason


def test_a_slow_one_is_framed_as_ever() -> None:
    goes = np.interp(np.arange(60), [0, 12, 32, 60], [0.2, 0.2, 0.8, 0.8])
    found = framed(seen_as("faces", {k: float(x) for k, x in enumerate(goes)}))
    assert [(k.time_s, k.x) for k in found.keyframes] == SLOW
    assert found.reason == "a face in 100% of the pictures"


def test_a_shot_that_is_too_fast_does_not_outweigh_the_others() -> None:
    still, fast = dict.fromkeys(range(60), 0.3), paces(1.0)
    both = {**still, **{60 + k: x for k, x in fast.items()}}
    assert framed(seen_as("faces", both, cuts=(60,))).method == "faces"
    assert framed(seen_as("faces", {k: both[k + 40] for k in range(60)}, cuts=(20,))).method == "blur"


def test_of_two_things_that_move_by_turns_one_is_held_though_the_other_moves_half_of_the_time() -> None:
    at = {k: (0.15, 0.85)[k // 4 % 2] + 0.05 * float(np.sin(6 * k / 4)) for k in range(48)}
    found = framed(seen_as("motion", at))
    assert found.method == "motion"
    assert len({k.x > 0.5 for k in found.keyframes}) == 1


def test_of_two_faces_in_each_picture_either_will_do() -> None:
    runs = paces(1.0)
    found = framed(evidence_of({k: [(200, 120), (round(1000 * runs[k]), 80)] for k in range(0, N, 2)}))
    assert found.method == "faces"
    assert found.keyframes[0].x == pytest.approx(0.2, abs=0.05)


def test_what_so_many_keyframes_as_there_may_be_do_not_tell_is_not_followed() -> None:
    found = framed(seen_as("faces", paces(0.5, 2000)))
    assert found.method == "blur"
    assert "faster than the picture may follow" in found.reason


# --- what moves in a picture ----------------------------------------------------------------------------------


def pictures(pan: int, noise: float, size: int = 12) -> tuple[list[np.ndarray], list[int]]:  # type: ignore[type-arg]
    """Four pictures of a square that goes right over a background that goes left by `pan` points each."""
    rng = np.random.default_rng(5)
    wide = np.kron(rng.integers(60, 180, (ROWS // 4, COLUMNS // 4 + 20)), np.ones((4, 4), int))
    found, places = [], []
    for k in range(4):
        picture = wide[:, pan * k : pan * k + COLUMNS] + rng.normal(0, noise, (ROWS, COLUMNS))
        places.append(20 + 9 * k)
        picture[20 : 20 + size, places[-1] : places[-1] + size] = 250 - 60 * (np.indices((size, size)).sum(0) // 3 % 2)
        found.append(np.clip(picture, 0, 255).astype(np.int16))
    return found, places


@pytest.mark.parametrize(("pan", "noise"), [(0, 0), (0, 2), (3, 0), (5, 2)])
def test_what_moves_of_its_own_is_found_where_it_is(pan: int, noise: float) -> None:
    (a, b, c, _), places = pictures(pan, noise)
    columns = motion(a, b, c).sum(axis=0)
    middle = float((columns * np.arange(COLUMNS)).sum() / columns.sum())
    assert middle == pytest.approx(places[1] + 5.5, abs=3)
    assert columns[places[1] - 2 : places[1] + 14].sum() > 0.9 * columns.sum()


def test_a_camera_that_pans_is_no_motion() -> None:
    (a, b, _, _), _ = pictures(4, 1, size=0)
    assert np.count_nonzero(change(a, b)) < 0.01 * a.size
    assert motion(None, a, None).sum() == 0


@pytest.mark.parametrize(("cut", "is_motion"), [(True, False), (False, True)])
def test_a_cut_is_no_motion(cut: bool, is_motion: bool) -> None:
    (a, b, _, _), _ = pictures(0, 0)
    taker = EvidenceTaker((1,) if cut else ())
    for pts, picture in enumerate((a, b)):
        taker.add(pts, picture, None)
    found = taker.finish()
    assert (found.area.shape, found.looked.any()) == ((2,), False)
    assert bool(found.motion_x.any()) is is_motion
