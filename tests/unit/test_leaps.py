"""Recordings off the air in which single times leap ahead, or all of them behind a gap: analysis and render agree."""

import itertools
from pathlib import Path

import pytest

from tests.media import RATE, X264, Media, run, with_pts_moved
from tests.unit.conftest import request_for
from topclip import run_local
from topclip.media.decode import Faults, Picture, Span, decode_span
from topclip.media.probe import probe
from topclip.model.manifest import Manifest
from topclip.pipeline.context import StageContext

HZ = 90_000
RANGES = [[2, 5], [6, 9], [9, 12], [15, 18]]


def clipped(path: Path, ctx: StageContext, ranges: list[list[float]]) -> Manifest:
    request = request_for(path, mode="ranges", ranges=ranges, quality="draft")
    return run_local.run(request, ctx).manifest


def times_s(path: Path) -> list[float]:
    info = probe(path)
    items = decode_span(path, info, Span(None, None), Faults(), max_pixels=10**6)
    return [float((p.pts - info.video.start_pts) * info.video.tick) for p in items if isinstance(p, Picture)]


@pytest.mark.parametrize(
    ("n", "leap_s"),
    [
        (30, 10.5),
        (60, 18.7),
        (240, 3600.0),
        *(
            pytest.param(n, s, marks=pytest.mark.faults)
            for n, s in [(30, 18.7), (30, 3600.0), (60, 10.5), (60, 3600.0)]
        ),
        *(pytest.param(240, s, marks=pytest.mark.faults) for s in (10.5, 18.7)),
    ],
)
def test_one_picture_that_leaps_ahead_costs_no_other(
    media: Media, tmp_path: Path, ctx: StageContext, n: int, leap_s: float
) -> None:
    path = tmp_path / "leap.ts"
    path.write_bytes(with_pts_moved(media("offset.ts").read_bytes(), n, lambda pts: pts + round(leap_s * HZ)))
    manifest = clipped(path, ctx, RANGES)
    assert not manifest.failed
    lost = [3 * RATE - clip.frames for clip in manifest.clips]
    assert sum(lost) == (n != 30)
    assert max(lost) <= 1


def test_a_first_picture_that_leaps_ahead_costs_no_other(media: Media, tmp_path: Path, ctx: StageContext) -> None:
    path = tmp_path / "leap.ts"
    path.write_bytes(with_pts_moved(media("offset.ts").read_bytes(), 1, lambda pts: pts + 12 * HZ))
    assert len(times_s(path)) == 24 * RATE - 1
    assert [clip.frames for clip in clipped(path, ctx, [[0, 2], [10, 13]]).clips] == [50, 75]


@pytest.mark.parametrize(
    "wrong", [pytest.param(None, marks=pytest.mark.faults), 104, pytest.param(130, marks=pytest.mark.faults)]
)
def test_a_true_gap_is_kept(media: Media, tmp_path: Path, ctx: StageContext, wrong: int | None) -> None:
    path = tmp_path / "gap.ts"
    leap = "if(gte(N\\,100)\\,15/TB\\,0)"
    gap = ("-map", "0:v", "-c", "copy", "-bsf:v", f"setts=pts=PTS+{leap}:dts=DTS+{leap}", "-f", "mpegts")
    run("-i", media("offset.ts"), *gap, path)
    if wrong is not None:
        path.write_bytes(with_pts_moved(path.read_bytes(), wrong, lambda pts: pts + 11 * HZ))
    found_s = times_s(path)
    assert len(found_s) == 24 * RATE - (wrong is not None)
    gap_s = next(a for a, b in itertools.pairwise(found_s) if b - a > 14)
    ranges = [[1, gap_s + 1], [2, 25], [gap_s + 15.2, 22], [19.4, 24], [30, 39]]
    manifest = clipped(path, ctx, ranges)
    assert not manifest.failed
    wanted = [sum(start - 1e-6 <= t < end - 1e-6 for t in found_s) for start, end in ranges]
    assert [clip.frames for clip in manifest.clips] == wanted


def test_pictures_that_all_leap_are_all_kept(tmp_path: Path, ctx: StageContext) -> None:
    path = tmp_path / "slides.ts"
    slides = "testsrc2=s=64x48:r=25,select='not(mod(n,300))'"
    run("-f", "lavfi", "-i", slides, "-frames:v", "20", "-fps_mode", "vfr", *X264, "-bf", "0", "-f", "mpegts", path)
    assert times_s(path) == [12.0 * n for n in range(20)]
    assert [clip.frames for clip in clipped(path, ctx, [[0, 60], [100, 200]]).clips] == [5, 9]  # from 96 on


def test_last_pictures_that_leap_ahead_end_no_later_than_the_source(
    media: Media, tmp_path: Path, ctx: StageContext
) -> None:
    path = tmp_path / "leap.ts"
    damaged = media("offset.ts").read_bytes()
    for n in (24 * RATE - 2, 24 * RATE):  # the two that are shown last
        damaged = with_pts_moved(damaged, n, lambda pts: pts + 3600 * HZ)
    path.write_bytes(damaged)
    assert max(times_s(path)) < 24
    (clip,) = clipped(path, ctx, [[20, 23.9]]).clips
    assert clip.duration_s <= 4
