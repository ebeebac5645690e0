"""Clips as an independent decoder sees them: which frames, what shape, how loud, and what is left behind."""

import subprocess
from contextlib import AbstractContextManager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.media import CUTS_S, RATE, Media, ffmpeg
from tests.nodes import ROOT
from tests.unit.conftest import make_context, request_for
from topclip import run_local
from topclip.errors import InvalidRequest, JobCancelled, MediaError, StorageFull
from topclip.media.probe import probe
from topclip.model.clip import ClipSpec, FailedClip, RenderedClip
from topclip.model.geometry import plan_geometry
from topclip.model.request import Aspect, ClipRequest, Fit
from topclip.model.source import SourceInfo
from topclip.pipeline.analyse import analyse_chunk
from topclip.pipeline.chunk import plan_chunks
from topclip.pipeline.context import StageContext
from topclip.pipeline.cut import cut_range
from topclip.pipeline.finalise import finalise
from topclip.pipeline.plan import make_plan
from topclip.pipeline.probe import probe_source
from topclip.pipeline.render import render_clip
from topclip.storage.base import Tick, job_folder, no_tick
from topclip.storage.local import LocalStore

WIDTH, HEIGHT = 48, 28


def frames_of(path: Path, *more: str) -> NDArray[np.int16]:
    """The file's frames as small grey pictures, in display order, by ffmpeg itself."""
    # The pictures are numbered anew: a source whose own times repeat makes the raw writer complain, not the decoder.
    scale = ["-vf", f"scale={WIDTH}:{HEIGHT},format=gray,settb=1/25,setpts=N"]
    raw = ["-fps_mode", "passthrough", "-enc_time_base", "filter", "-f", "rawvideo", "-"]
    done = subprocess.run(
        [ffmpeg(), "-v", "error", "-xerror", "-i", path, *more, *scale, *raw], capture_output=True, check=True
    )
    assert not done.stderr, done.stderr.decode()
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, HEIGHT, WIDTH).astype(np.int16)


def prepared(request: ClipRequest, ctx: StageContext) -> tuple[SourceInfo, tuple[ClipSpec, ...]]:
    info = probe_source(request, ctx)
    for chunk in plan_chunks(info):
        analyse_chunk(request, info, chunk, ctx)
    return info, make_plan(request, info, ctx).specs


def rendered(path: Path, ctx: StageContext, **options: object) -> list[tuple[RenderedClip, Path]]:
    request = request_for(path, **options)
    info, specs = prepared(request, ctx)
    clips = []
    for spec in specs:
        result = render_clip(request, info, spec, ctx)
        assert isinstance(result, RenderedClip), result
        with ctx.store.local_path(result.key) as file:
            clips.append((result, file))
    return clips


@pytest.mark.parametrize("name", ["short.avi", "short.flv", "short.mp4"])
def test_sound_goes_on_without_a_step_whatever_the_clock_of_the_picture(
    media: Media, ctx: StageContext, name: str
) -> None:
    for _, file in rendered(media(name), ctx, count=1, min_length=2, max_length=4):
        with av.open(str(file)) as container:
            times = [p.pts for p in container.demux(audio=0) if p.pts is not None]
        assert set(np.diff(times[:-1])) == {1024}


EXACT = [
    *("short.mp4", "open_gop.mp4", "vfr.mp4", "short.ts", "offset.ts", "short.avi", "short.webm", "tenbit.mkv"),
    *("ntsc.mkv", "backwards.ts", "short.mpg", "short.mov", "slides.mp4", "short.flv", "fragmented.mp4", "raw.h264"),
    *(
        "h264.avi",
        "pyramid.avi",
        "in_order.avi",
        "packed.avi",
        "wrong_times.ts",
        "raw12.h264",
        "raw30.h264",
        "raw24.hevc",
        "raw29.m2v",
        "untimed.hevc",
        "small.mjpeg",
        "large.mjpeg",
    ),
    *("tiny.mpg", "indexed.mp4"),
]
RATES = {"ntsc.mkv": 30000 / 1001, "raw29.m2v": 30000 / 1001, "raw12.h264": 12.5, "raw30.h264": 30, "raw24.hevc": 24}


@pytest.mark.parametrize("name", EXACT)
def test_a_clip_holds_exactly_the_frames_of_its_range(media: Media, ctx: StageContext, name: str) -> None:
    (first, start), (middle, part) = rendered(media(name), ctx, mode="ranges", ranges=[[0, 1.7], [3.3, 5.9]])
    source = frames_of(media(name))
    for clip, file in ((first, start), (middle, part)):
        found = frames_of(file)
        assert len(found) == clip.frames
        begin = (
            0 if clip is first else int(np.argmin([np.abs(source[i] - found[0]).mean() for i in range(len(source))]))
        )
        assert np.abs(source[begin : begin + len(found)] - found).mean() < 4
        assert clip.duration_s == pytest.approx(clip.end_s - clip.start_s, abs=0.05)
    if name not in ("vfr.mp4", "slides.mp4", "wrong_times.ts"):
        rate = RATES.get(name, RATE)
        assert middle.frames == pytest.approx((middle.end_s - middle.start_s) * rate, abs=0.1)
        apart = np.abs(source - found[-1]).mean(axis=(1, 2))
        assert apart[round(middle.end_s * rate) - 1] < apart.min() + 0.5  # a rate conversion shows a frame twice


@pytest.mark.parametrize("name", ["tiny.mpg", "tiny_h264.mpg", "tiny_b.mpg"])
def test_clips_that_adjoin_lose_no_frame_where_times_run_back(media: Media, ctx: StageContext, name: str) -> None:
    ranges = [[0, 4.3], [4.3, probe(media(name)).duration_s]]
    (first, start), (second, rest) = rendered(media(name), ctx, mode="ranges", ranges=ranges)
    assert first.end_s == second.start_s
    found, source = np.concatenate([frames_of(start), frames_of(rest)]), frames_of(media(name))
    assert len(found) == len(source)
    assert np.abs(found - source).mean() < 4


@pytest.mark.parametrize(("start_s", "end_s", "field"), [(1, 9999, "end"), (8, 8.02, "start"), (7, 8.1, "end")])
def test_a_cut_beyond_the_sources_end_is_refused(
    media: Media, tmp_path: Path, start_s: float, end_s: float, field: str
) -> None:
    with pytest.raises(InvalidRequest, match="it lasts 8 s") as caught:
        cut_range(media("short.mp4"), start_s, end_s, tmp_path / "out.mp4", make_context(tmp_path / "store"))
    assert caught.value.detail["field"] == field


@pytest.mark.parametrize("span", [(4.5, 6.02), (5.2, 7.5)])
def test_the_last_frame_lasts_as_long_as_in_the_source(media: Media, tmp_path: Path, span: tuple[float, float]) -> None:
    source, out = media("slowing.mkv"), tmp_path / "out.mp4"
    frames = cut_range(source, *span, out, make_context(tmp_path / "store")).frames
    assert frames == pytest.approx((span[1] - span[0]) * 12.5, abs=1)
    assert probe(out).duration_s == pytest.approx(span[1] - span[0], abs=0.081)


def test_a_clip_that_ends_at_a_cut_shows_nothing_of_the_next_shot(media: Media, ctx: StageContext) -> None:
    ((_, file),) = rendered(media("base.mp4"), ctx, mode="ranges", ranges=[[CUTS_S[0], CUTS_S[1]]])
    found, source = frames_of(file), frames_of(media("base.mp4"))
    first, last = int(CUTS_S[0] * RATE), int(CUTS_S[1] * RATE)
    assert len(found) == last - first
    for frame, inside, outside in ((found[0], first, first - 1), (found[-1], last - 1, last)):
        assert np.abs(frame - source[inside]).mean() * 4 < np.abs(frame - source[outside]).mean()


def test_fragments_that_an_index_displaces_are_read_and_cut_like_those_without_it(
    media: Media, ctx: StageContext, tmp_path: Path
) -> None:
    """Neither FFmpeg nor its tools read such a file, so what it should be is known from the same one without an index."""
    files = [rendered(media(name), ctx, count=1, min_length=2, max_length=4, aspect="9:16")[0][1]
             for name in ("fragmented.mp4", "misplaced.mp4")]  # fmt: skip
    assert files[0].read_bytes() == files[1].read_bytes()
    cuts = [tmp_path / f"{n}.mp4" for n in range(2)]
    for name, out in zip(("fragmented.mp4", "misplaced.mp4"), cuts, strict=True):
        assert cut_range(media(name), 0.0, 6.1, out, ctx).method == "smart"
    assert cuts[0].read_bytes() == cuts[1].read_bytes()


SHAPES = [("9:16", "crop"), ("9:16", "blur"), ("1:1", "pad"), ("4:5", "crop"), ("16:9", "blur"), ("source", "crop")]
ODD_ONES = ["short.mp4", "rotated.mp4", "anamorphic.mp4", "odd.mkv", "rgb.mov", "full_range.mp4", "interlaced.mpg"]


@pytest.mark.parametrize("name", ODD_ONES)
@pytest.mark.parametrize(("aspect", "fit"), SHAPES)
def test_every_source_gets_the_wanted_shape(media: Media, name: str, aspect: str, fit: str) -> None:
    video = probe(media(name)).video
    geometry = plan_geometry(video, Aspect(aspect), Fit(fit))
    wanted = video.display_width / video.display_height
    if aspect != "source":
        wanted = float(Fraction(aspect.replace(":", "/")))
    assert geometry.canvas.width / geometry.canvas.height == pytest.approx(
        wanted, abs=0.02 if aspect == "source" else 0.01
    )
    assert geometry.canvas.width % 2 == geometry.canvas.height % 2 == 0
    assert geometry.scaled.width <= geometry.crop.width + 1
    assert geometry.scaled.height <= geometry.crop.height + 1


@pytest.mark.parametrize(("name", "aspect", "fit"), [
    ("rotated.mp4", "source", "crop"), ("anamorphic.mp4", "9:16", "crop"), ("odd.mkv", "1:1", "blur"),
    ("rgb.mov", "9:16", "pad"), ("interlaced.mpg", "4:5", "blur"), ("full_range.mp4", "16:9", "crop"),
])  # fmt: skip
def test_the_shape_is_rendered(media: Media, ctx: StageContext, name: str, aspect: str, fit: str) -> None:
    ((clip, file),) = rendered(media(name), ctx, mode="ranges", ranges=[[0.5, 1.5]], aspect=aspect, fit=fit)
    video = probe(file).video
    assert (
        (video.width, video.height)
        == (clip.width, clip.height)
        == plan_geometry(probe(media(name)).video, Aspect(aspect), Fit(fit)).canvas
    )
    assert (video.pixel_format, video.sample_aspect, video.rotation) == ("yuv420p", "1/1", 0)


def test_a_rotated_picture_comes_out_upright(media: Media, ctx: StageContext) -> None:
    ((_, file),) = rendered(media("rotated.mp4"), ctx, mode="ranges", ranges=[[1, 2]])
    flat = frames_of(media("short.mp4"))[30]
    upright = frames_of(file)[5]
    turned = np.rot90(flat, 1)  # as the display matrix says: 90 degrees counter-clockwise
    small = upright[:: HEIGHT // 14, :: WIDTH // 16][:14, :16]
    same, other = (t[:: t.shape[0] // 14, :: t.shape[1] // 14][:14, :14] for t in (turned, np.rot90(turned, 2)))
    assert np.abs(small[:14, :14] - same).mean() < np.abs(small[:14, :14] - other).mean()


def test_pad_and_blur_keep_the_whole_picture_in_the_middle(media: Media, ctx: StageContext) -> None:
    ((padded, file),) = rendered(media("short.mp4"), ctx, mode="ranges", ranges=[[5, 6]], aspect="1:1", fit="pad")
    frame = frames_of(file)[3]
    assert padded.width == padded.height
    assert frame[:4].max() < 24
    assert frame[10:18].max() > 40


@pytest.mark.parametrize("target", [-14.0, -20.0])
def test_loudness_is_on_target(media: Media, ctx: StageContext, target: float) -> None:
    for clip, file in rendered(media("base.mp4"), ctx, mode="ranges", ranges=[[1, 5], [10, 14]], loudness=target):
        done = subprocess.run(
            [ffmpeg(), "-i", file, "-af", "ebur128", "-f", "null", "-"], capture_output=True, text=True, check=True
        )
        summary = done.stderr[done.stderr.rindex("Integrated loudness") :]
        assert float(summary.split("I:")[1].split("LUFS")[0]) == pytest.approx(target, abs=1)
        assert {c.name for c in clip.checks} >= {"frames", "duration", "decodes", "starts_together", "loudness", "size"}


@pytest.mark.parametrize(
    "name", ["mute.mp4", "silent.mp4", "late_sound.mp4", "short_sound.mp4", "surround.mkv", "mono.mp4", "black.mp4"]
)
def test_any_kind_of_sound_makes_a_good_clip(media: Media, ctx: StageContext, name: str) -> None:
    (_, _), (clip, file) = rendered(media(name), ctx, mode="ranges", ranges=[[0, 2], [4, 6]])
    assert all(c.ok for c in clip.checks)
    audio = probe(file).audio
    if name == "mute.mp4":
        assert audio is None
    else:
        assert audio is not None
        assert (audio.codec, audio.sample_rate_hz, audio.channels) == ("aac", 48_000, 2)


def test_the_file_is_ready_for_the_web(media: Media, ctx: StageContext) -> None:
    ((clip, file),) = rendered(media("short.mp4"), ctx, mode="ranges", ranges=[[1, 3]])
    content = file.read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")
    with ctx.store.local_path(clip.thumbnail_key) as thumbnail:
        assert thumbnail.read_bytes()[:3] == b"\xff\xd8\xff"


# --- the stage ------------------------------------------------------------------------------------------------


def test_rendering_again_finds_what_is_there(media: Media, ctx: StageContext) -> None:
    request = request_for(media("short.mp4"), mode="ranges", ranges=[[1, 3]])
    info, (spec,) = prepared(request, ctx)
    first = render_clip(request, info, spec, ctx)
    without_ffmpeg = StageContext(**{**vars(ctx), "ffmpeg": "/nowhere/ffmpeg"})
    assert render_clip(request, info, spec, without_ffmpeg) == first


def test_a_clip_left_without_its_description_is_taken_up(media: Media, ctx: StageContext) -> None:
    request = request_for(media("short.mp4"), mode="ranges", ranges=[[1, 3]])
    info, (spec,) = prepared(request, ctx)
    first = render_clip(request, info, spec, ctx)
    assert isinstance(first, RenderedClip)
    ctx.store.delete(first.key.replace(".mp4", ".json"))
    assert render_clip(request, info, spec, ctx) == first
    ctx.store.delete(first.key.replace(".mp4", ".json"))
    ctx.store.delete(first.key)
    ctx.store.put_bytes(first.key, b"not a clip")
    again = render_clip(request, info, spec, ctx)
    assert isinstance(again, RenderedClip)
    assert ctx.store.size(again.key) == again.size_bytes > 1000


def test_a_cancelled_clip_leaves_nothing(media: Media, tmp_path: Path) -> None:
    path = media("base.mp4")
    request = request_for(path, mode="ranges", ranges=[[1, 20]], quality="high")
    ctx = make_context(tmp_path / "store")
    info, (spec,) = prepared(request, ctx)

    def stop(done_s: float, total_s: float) -> None:
        raise JobCancelled("cancelled")

    stopping = StageContext(**{**vars(ctx), "report": stop})
    with pytest.raises(JobCancelled):
        render_clip(request, info, spec, stopping)
    assert list(ctx.store.staging().iterdir()) == []
    assert not any("clips" in key for key in ctx.store.list(job_folder(ctx.job_id)))


class _SlowStore(LocalStore):
    """Notes whether those who wait for it can be told that the job has ended."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.ticks: list[Tick] = []

    def put_file(self, key: str, path: Path, tick: Tick = no_tick) -> bool:
        self.ticks.append(tick)
        return super().put_file(key, path, tick)

    def local_path(self, key: str, tick: Tick = no_tick) -> AbstractContextManager[Path]:
        self.ticks.append(tick)
        return super().local_path(key, tick)


def test_a_clip_on_its_way_to_or_from_the_store_is_no_silence(media: Media, tmp_path: Path) -> None:
    store, seen = _SlowStore(tmp_path / "store"), []
    ctx = replace(make_context(tmp_path / "store"), store=store, report=lambda *_: seen.append(1))
    request = request_for(media("short.mp4"), mode="ranges", ranges=[[1, 3]])
    info, (spec,) = prepared(request, ctx)
    store.ticks.clear()
    made = render_clip(request, info, spec, ctx)
    assert isinstance(made, RenderedClip)
    store.delete(made.key.replace(".mp4", ".json"))
    assert render_clip(request, info, spec, ctx) == made
    assert len(store.ticks) == 2  # the clip; the clip looked at
    for tick in store.ticks:
        seen.clear()
        tick()
        assert seen


def test_a_clip_that_cannot_be_made_is_a_value(media: Media, ctx: StageContext) -> None:
    request = request_for(media("short.mp4"), mode="ranges", ranges=[[1, 3], [4, 5]])
    info, (good, bad) = prepared(request, ctx)
    results = [render_clip(request, info, spec, ctx) for spec in (good, bad.model_copy(update={"frames": 99}))]
    assert isinstance(results[1], FailedClip)
    assert results[1].code == "CHECK_FAILED"
    assert "frames" in results[1].message
    final = finalise(request, info, make_plan(request, info, ctx).plan_key, results, ctx)
    assert [c.n for c in final.manifest.clips] == [1]
    assert [c.n for c in final.manifest.failed] == [2]
    with pytest.raises(MediaError):
        finalise(request, info, "jobs/x/plan-y.json", results[1:], ctx)
    full = results[1].model_copy(update={"code": StorageFull.code})
    with pytest.raises(StorageFull):
        finalise(request, info, "jobs/x/plan-y.json", [full], ctx)
    assert list(ctx.store.staging().iterdir()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"frames": 99}, "it has 50 frames, wanted 99"),
        ({"start_pts": 1, "end_pts": 2}, "no picture came out of this range"),
        ({"source_loudness": -30.0}, "it is silent, although the source can be heard here"),
    ],
)
def test_what_cannot_be_mended_is_tried_once_more_and_said_in_words(
    media: Media, tmp_path: Path, change: dict[str, object], words: str
) -> None:
    log, counting = tmp_path / "runs", tmp_path / "ffmpeg"
    counting.write_text(f'#!/bin/sh\necho run >>"{log}"\nexec "{ffmpeg()}" "$@"\n')
    counting.chmod(0o755)
    request = request_for(media("silent.mp4"), mode="ranges", ranges=[[0, 2]])
    ctx = make_context(tmp_path / "store", ffmpeg=str(counting))
    info, (spec,) = prepared(request, ctx)
    failed = render_clip(request, info, spec.model_copy(update=change), ctx)
    assert isinstance(failed, FailedClip)
    assert words in failed.message
    assert "None" not in failed.message
    assert failed.hint is not None
    assert "choose another range" in failed.hint
    assert log.read_text().count("run") == (1 if "silent" in words else 2)  # of sound another encoding changes nothing


# --- the whole flow -------------------------------------------------------------------------------------------


def test_peaks_over_little_else_reach_the_wanted_loudness(ctx: StageContext) -> None:
    path = ROOT / "demo" / "footage.mp4"
    result = run_local.run(request_for(path, mode="ranges", ranges=[[39.88, 47.6]], quality="draft"), ctx)
    (clip,) = result.manifest.clips
    assert [c.ok for c in clip.checks if c.name == "loudness"] == [True]
