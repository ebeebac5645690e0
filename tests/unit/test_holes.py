"""A clip of a range whose pictures are not all there says so: zeros were written into the middle of the file."""

from pathlib import Path

import pytest

from tests.media import run
from tests.unit.conftest import request_for
from topclip import run_local
from topclip.model.manifest import Manifest
from topclip.pipeline.context import StageContext


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 s in groups of two seconds, of which those from about 7 to 13 s are zeros."""
    path = tmp_path_factory.mktemp("holes") / "damaged.mp4"
    inputs = ("-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=20,noise=alls=8:allf=t:all_seed=1")
    run(*inputs, "-c:v", "libx264", "-preset", "ultrafast", "-g", "50", "-pix_fmt", "yuv420p", path)
    content = bytearray(path.read_bytes())
    begin, end = (round(len(content) * share) for share in (0.35, 0.65))
    content[begin:end] = bytes(end - begin)
    path.write_bytes(content)
    return path


def manifest_of(path: Path, ctx: StageContext, *ranges: list[float]) -> Manifest:
    return run_local.run(request_for(path, mode="ranges", ranges=list(ranges), quality="draft"), ctx).manifest


def test_a_hole_in_a_clip_and_a_range_that_lies_in_it_are_told(damaged: Path, ctx: StageContext) -> None:
    clips = manifest_of(damaged, ctx, [1, 5], [5, 16], [9, 11.5]).clips
    assert clips[0].warnings == ()
    assert len(clips[1].warnings) == 1
    assert clips[1].warnings[0].startswith("the source has no picture from 7")
    assert clips[2].warnings[0].startswith("asked for from 9 to 11.5 s, it goes from 1")
    assert "frames allow no other" in clips[2].warnings[0]


def test_pictures_that_stand_still_in_a_source_of_uneven_ones_are_none(tmp_path: Path, ctx: StageContext) -> None:
    path = tmp_path / "screen.mp4"
    inputs = ("-f", "lavfi", "-i", "testsrc2=s=128x72:r=25:d=12")
    still = ("-vf", "select='not(between(t,3,7))'", "-fps_mode", "vfr")
    run(*inputs, *still, "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", path)
    (clip,) = manifest_of(path, ctx, [1, 10]).clips
    assert clip.warnings == ()


@pytest.mark.parametrize("span", [[1.01, 5.03], [2, 20.03]], ids=["between frames", "a rounded end"])
def test_edges_that_only_move_to_frames_are_not_worth_a_word(
    damaged: Path, ctx: StageContext, span: list[float]
) -> None:
    (clip,) = manifest_of(damaged, ctx, span).clips
    assert [text for text in clip.warnings if text.startswith("asked")] == []
