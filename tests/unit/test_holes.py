"""A clip of a range whose pictures are not all there says so: zeros were written into the middle of the file."""

from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.media import run
from tests.unit.conftest import request_for
from topclip import run_local
from topclip.errors import InvalidRequest
from topclip.model.manifest import Manifest
from topclip.pipeline.context import StageContext
from topclip.pipeline.cut import cut_range
from topclip.storage.base import job_folder


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
    assert clips[2].warnings == ("the source has no picture from 9 to 11.5 s: the one before it stands still there",)
    assert (clips[2].start_s, clips[2].end_s, clips[2].frames) == (9, 11.5, 1)


def test_pictures_that_stand_still_in_a_source_of_uneven_ones_are_none(tmp_path: Path, ctx: StageContext) -> None:
    path = tmp_path / "screen.mp4"
    inputs = ("-f", "lavfi", "-i", "testsrc2=s=128x72:r=25:d=12")
    still = ("-vf", "select='not(between(t,3,7))'", "-fps_mode", "vfr")
    run(*inputs, *still, "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", path)
    (clip,) = manifest_of(path, ctx, [1, 10]).clips
    assert clip.warnings == ()


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 s, of which the picture of 2.96 s, on which no other rests, stands until 7.04 s; sound from 5 s on."""
    path = tmp_path_factory.mktemp("screen") / "screen.mkv"
    picture = "testsrc2=s=160x90:r=25:d=12,select='lt(t,2.99)+gt(t,7.03)'"
    sound = "sine=f=440:r=48000:d=12,volume='gte(t,5)':eval=frame"
    inputs = ("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound, "-fps_mode", "vfr")
    order = ("-g", "250", "-bf", "3", "-b_strategy", "0", "-x264-params", "b-pyramid=none:scenecut=0")
    run(*inputs, "-c:v", "libx264", "-preset", "veryfast", *order, "-pix_fmt", "yuv420p", "-c:a", "flac", path)
    return path


def frames_of(path: Path) -> list[tuple[float, NDArray[np.uint8]]]:
    with av.open(path) as container:
        return [(float(f.time), f.to_ndarray(format="gray")) for f in container.decode(video=0) if f.time is not None]


def is_like(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> bool:
    return a.shape == b.shape and float(np.abs(a.astype(int) - b).mean()) < 3


@pytest.mark.parametrize("aspect", ["source", "9:16"])
@pytest.mark.parametrize(
    ("span", "times_s"),
    [
        ((4.5, 8.2), [0, *(round(7.04 + n / 25 - 4.5, 3) for n in range(29))]),
        ((1.0, 6.3), [n / 25 for n in range(50)]),
        ((3.5, 6.0), [0]),
    ],
    ids=["from within", "to within", "within"],
)
def test_a_clip_begins_and_ends_while_a_picture_stands(
    screen: Path, ctx: StageContext, span: tuple[float, float], times_s: list[float], aspect: str
) -> None:
    request = request_for(screen, mode="ranges", ranges=[span], quality="high", aspect=aspect, loudness=-20)
    local = run_local.run(request, ctx)
    (clip,) = local.manifest.clips
    assert (clip.start_s, clip.end_s, clip.frames) == (*span, len(times_s))
    assert clip.duration_s == pytest.approx(span[1] - span[0], abs=1e-3)
    with ctx.store.local_path(f"{job_folder(ctx.job_id)}/{clip.file}") as path:
        found, (start_s, length_s) = frames_of(path), sound_of(path)
    assert [at for at, _ in found] == pytest.approx(times_s, abs=1e-3)
    if aspect == "source":
        shown = {round(at, 2): grey for at, grey in frames_of(screen)}
        wanted = [shown[max(t for t in shown if t <= span[0] + at + 1e-3)] for at in times_s]
        assert all(is_like(grey, other) for (_, grey), other in zip(found, wanted, strict=True))
    assert start_s == pytest.approx(5 - span[0], abs=0.03)
    assert length_s == pytest.approx(span[1] - span[0], abs=0.03)


def test_a_cut_begins_and_ends_while_a_picture_stands(screen: Path, tmp_path: Path, ctx: StageContext) -> None:
    out = tmp_path / "part.mp4"
    for span, n_frames in (((4.5, 8.2), 30), ((1.0, 6.3), 50), ((3.5, 6.0), 1)):
        made = cut_range(screen, *span, out, ctx)
        assert (made.range_s, made.frames, made.moved) == (span, n_frames, None)
        found = frames_of(out)
        assert len(found) == n_frames
        first = next(grey for at, grey in reversed(frames_of(screen)) if at <= span[0] + 1e-3)
        assert is_like(found[0][1], first)
        assert sum(sound_of(out)[1:]) == pytest.approx(span[1] - span[0], abs=0.03)


def test_a_last_picture_that_stands_stays_to_its_end(tmp_path: Path, ctx: StageContext) -> None:
    path, out = tmp_path / "last.mp4", tmp_path / "part.mp4"
    inputs = ("-f", "lavfi", "-i", "testsrc2=s=160x90:r=25:d=4", "-f", "lavfi", "-i", "sine=f=440:r=48000:d=10")
    code = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-bf", "0", "-pix_fmt", "yuv420p", "-c:a", "aac")
    run(*inputs, *code, "-bsf:v", "setts=duration=if(eq(N\\,99)\\,151\\,DURATION)", path)
    for span, n_frames in (((2.0, 8.0), 50), ((5.5, 9.5), 1)):
        made = cut_range(path, *span, out, ctx)
        assert (made.range_s, made.frames, made.moved) == (span, n_frames, None)
        assert sum(sound_of(out)) == pytest.approx(span[1] - span[0], abs=0.05)
    clips = manifest_of(path, ctx, [2, 8], [5.5, 9.5]).clips
    assert [(clip.start_s, clip.end_s, clip.frames) for clip in clips] == [(2, 8, 50), (5.5, 9.5, 1)]


def sound_of(path: Path) -> tuple[float, float]:
    """When sound begins, and how long silence and sound last in all."""
    with av.open(path) as container:
        blocks = [frame.to_ndarray().mean(axis=0) for frame in container.decode(audio=0)]
        rate = container.streams.audio[0].rate
    samples = np.concatenate(blocks)
    return float(np.argmax(np.abs(samples) > 0.01)) / rate, len(samples) / rate


@pytest.mark.parametrize("span", [[1.01, 5.03], [2, 20.03]], ids=["between frames", "a rounded end"])
def test_edges_that_only_move_to_frames_are_not_worth_a_word(
    damaged: Path, ctx: StageContext, span: list[float]
) -> None:
    (clip,) = manifest_of(damaged, ctx, span).clips
    assert [text for text in clip.warnings if text.startswith("asked")] == []


def test_a_last_picture_that_is_shown_for_a_moment_does_not_stand_as_long_as_those_before_it(
    tmp_path: Path, ctx: StageContext
) -> None:
    """Slides of four seconds each, as ffmpeg's concat demuxer writes them: the last one is shown for a frame."""
    path, out = tmp_path / "slides.mp4", tmp_path / "end.mp4"
    picture = "testsrc2=s=160x90:r=25:d=20.04,select='not(mod(n,100))'"
    sound = ("-f", "lavfi", "-i", "sine=f=440:r=48000:d=20.04", "-c:a", "aac")
    last = ("-bsf:v", "setts=duration=if(eq(N\\,5)\\,0.04/TB\\,DURATION)")
    encoder = ("-c:v", "libx264", "-bf", "0", "-pix_fmt", "yuv420p")
    run("-f", "lavfi", "-i", picture, *sound, "-fps_mode", "vfr", *encoder, *last, path)
    (clip,) = manifest_of(path, ctx, [9, 20.1]).clips
    assert clip.end_s == pytest.approx(20.04, abs=0.001)
    assert clip.duration_s == pytest.approx(11.04, abs=0.001)
    with pytest.raises(InvalidRequest, match=r"it lasts 20\.04 s"):
        manifest_of(path, ctx, [9, 23])
    made = cut_range(path, 20, 20.04, out, ctx)
    assert made.range_s == pytest.approx((20, 20.04), abs=0.001)


@pytest.mark.parametrize("n_behind", range(4, 9))
def test_a_clip_that_begins_while_a_picture_stands_is_as_long_as_planned(
    tmp_path: Path, ctx: StageContext, n_behind: int
) -> None:
    """Were pictures reordered, decoding would begin as long before what is shown as the first one stands."""
    path = tmp_path / "uneven.mp4"
    at = [0, *(600 + n for n in (0, 3, 7, 10, 17, 20, 24, 30)[:n_behind])]
    picture = f"testsrc2=s=160x90:r=100:d=8,select='{'+'.join(f'eq(n,{n})' for n in at)}'"
    run("-f", "lavfi", "-i", picture, "-fps_mode", "vfr", "-c:v", "libx264", "-pix_fmt", "yuv420p", path)
    request = request_for(path, mode="ranges", ranges=[[2, at[-1] / 100]], aspect="1:1", fit="pad")
    local = run_local.run(request, ctx)
    (clip,) = local.manifest.clips
    with ctx.store.local_path(f"{job_folder(ctx.job_id)}/{clip.file}") as made, av.open(made) as container:
        assert container.duration == pytest.approx(1e6 * (clip.end_s - clip.start_s), abs=2000)
    assert clip.duration_s == pytest.approx(clip.end_s - clip.start_s, abs=0.002)


@pytest.mark.parametrize("span", [(4, 21), (10, 24), (2, 12)])
@pytest.mark.parametrize("kind", ["mp4", "mkv"])
def test_a_cut_of_slides_is_as_long_as_asked(
    tmp_path: Path, ctx: StageContext, kind: str, span: tuple[float, float]
) -> None:
    path, out = tmp_path / f"slides.{kind}", tmp_path / "part.mp4"
    sound = ("-f", "lavfi", "-i", "sine=d=30", "-c:a", "aac")
    run("-f", "lavfi", "-i", "testsrc2=s=160x90:r=1/3:d=30", *sound, "-c:v", "libx264", "-pix_fmt", "yuv420p", path)
    cut_range(path, *span, out, ctx)
    with av.open(out) as made:
        (video, audio), length_s = (made.streams.video[0], made.streams.audio[0]), span[1] - span[0]
        assert made.duration == pytest.approx(1e6 * length_s, abs=2000)
        assert float(video.duration * video.time_base) == pytest.approx(length_s, abs=0.002)
        assert float(audio.duration * audio.time_base) == pytest.approx(length_s, abs=0.002)


@pytest.mark.parametrize("span", [(1.0, 2.0), (2.0, 3.0), (3.0, 4.0)])
def test_a_clip_of_a_single_picture_is_cut_out(tmp_path: Path, ctx: StageContext, span: tuple[float, float]) -> None:
    """Of one that no other rests on too: such a one alone is passed over where pictures are looked at."""
    path = tmp_path / "stills.mp4"
    run("-f", "lavfi", "-i", "testsrc2=s=160x90:r=1:d=12", "-c:v", "libx264", "-pix_fmt", "yuv420p", path)
    request = request_for(path, mode="ranges", ranges=[span], quality="draft", aspect="9:16")
    (clip,) = run_local.run(request, ctx).manifest.clips
    assert (clip.start_s, clip.end_s, clip.frames) == (*span, 1)


def test_a_clip_of_even_pictures_has_them_reordered(tmp_path: Path, ctx: StageContext) -> None:
    path = tmp_path / "even.mp4"
    run("-f", "lavfi", "-i", "testsrc2=s=160x90:r=25:d=6", "-c:v", "libx264", "-pix_fmt", "yuv420p", path)
    local = run_local.run(request_for(path, mode="ranges", ranges=[[1, 5]], aspect="1:1", fit="pad"), ctx)
    (clip,) = local.manifest.clips
    with ctx.store.local_path(f"{job_folder(ctx.job_id)}/{clip.file}") as made, av.open(made) as container:
        pts = [packet.pts for packet in container.demux(video=0) if packet.size]
    assert pts != sorted(pts)
