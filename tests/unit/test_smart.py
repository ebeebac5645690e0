"""Cuts that copy: every picture is the source's, the copied ones to the bit, and a decoder has nothing to say.

What is said of the result is said by ffmpeg on its own, from the source's frames and the clip's.
"""

import hashlib
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.media import RATE, X264, Media, ffmpeg, run
from tests.unit.conftest import make_context, request_for
from topclip.errors import JobCancelled
from topclip.media import h264, splice
from topclip.media.decode import Span
from topclip.media.ends import Ends, ends_args
from topclip.media.ffmpeg import run_ffmpeg
from topclip.media.join import decoding_times, join
from topclip.media.probe import probe
from topclip.model.clip import ClipSpec, RenderedClip
from topclip.model.source import SourceInfo
from topclip.pipeline import smart
from topclip.pipeline.analyse import analyse_chunk
from topclip.pipeline.chunk import plan_chunks
from topclip.pipeline.context import StageContext
from topclip.pipeline.cut import CutResult, cut_range
from topclip.pipeline.plan import make_plan
from topclip.pipeline.probe import probe_source
from topclip.pipeline.render import render_clip


def decoded(path: Path) -> tuple[list[int], NDArray[np.int16]]:
    """Of each frame, in the order of display, a name by its content, and its brightness, by ffmpeg without a word."""
    raw = ["-map", "0:v", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-"]
    done = subprocess.run([ffmpeg(), "-v", "warning", "-i", path, *raw], capture_output=True, check=True)
    assert not done.stderr, done.stderr.decode()
    with av.open(str(path)) as container:
        size = container.streams.video[0].width * container.streams.video[0].height
    frames = np.frombuffer(done.stdout, np.uint8).reshape(-1, size * 3 // 2)
    names = [int.from_bytes(hashlib.blake2b(frame.tobytes(), digest_size=8).digest()) for frame in frames]
    return names, frames[:, :size].astype(np.int16)


def times(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return sorted(float(p.pts * p.time_base) for p in container.demux(video=0) if p.pts is not None)


def samples(path: Path) -> int:
    """Samples of sound that a player hears."""
    raw = ["-map", "0:a", "-f", "s16le", "-ac", "1", "-"]
    done = subprocess.run([ffmpeg(), "-v", "warning", "-i", path, *raw], capture_output=True, check=True)
    assert not done.stderr, done.stderr.decode()
    return len(done.stdout) // 2


def compare(source: Path, made: CutResult, out: Path, first: int) -> None:
    """The clip holds the source's frames from `first` on, as many of them to the bit as it says, in one run."""
    (names, pictures), (clip_names, clip_pictures) = decoded(source), decoded(out)
    assert len(clip_names) == made.frames
    wanted = names[first : first + made.frames]
    same = [a == b for a, b in zip(wanted, clip_names, strict=True)]
    run = "".join("x" if each else "." for each in same).strip(".")
    assert sum(same) >= made.copied > 0
    assert made.copied <= len(run)
    assert "." not in run[: made.copied] or "." not in run[-made.copied :]
    apart = np.abs(pictures[first : first + made.frames] - clip_pictures).mean(axis=1)
    assert apart.max() < 3
    at = np.array(times(source)[first : first + made.frames])
    assert np.array(times(out)) == pytest.approx(at - at[0], abs=1e-3)


CLEAN = ["pyramid.mp4", "pyramid.mkv", "pyramid.ts", "late_start.mp4", "edited.mp4"]


@pytest.mark.parametrize("name", CLEAN)
@pytest.mark.parametrize("span", [(0.0, 3.02), (1.5, 6.7), (4.0, 8.9)])
def test_a_cut_copies_what_it_can(media: Media, tmp_path: Path, name: str, span: tuple[float, float]) -> None:
    out = tmp_path / "out.mp4"
    made = cut_range(media(name), *span, out, make_context(tmp_path / "store"))
    assert (made.method, made.note) == ("smart", None)
    first, last = (int(np.ceil(round(t * RATE, 6))) for t in span)
    assert made.frames == last - first
    compare(media(name), made, out, first)
    assert samples(out) == pytest.approx(made.frames / RATE * 48_000, abs=1)
    assert list(tmp_path.glob("*.mp4")) == [out]
    content = out.read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")


def test_times_as_they_are_told_are_frames_of_their_own(media: Media, tmp_path: Path) -> None:
    """Six digits, of which the last may be rounded up: 7 / 24 is told as later than it is, 10 / 24 too."""
    source, out = tmp_path / "film.mp4", tmp_path / "out.mp4"
    run("-i", media("pyramid.mp4"), "-vf", "fps=24", "-an", *X264, "-g", "1", source)
    made = cut_range(source, round(31 / 24, 6), round(58 / 24, 6), out, make_context(tmp_path / "store"))
    assert made.frames == 27
    compare(source, made, out, 31)


def test_a_range_from_key_to_end_is_copied_wholly(media: Media, tmp_path: Path) -> None:
    made = cut_range(media("pyramid.mp4"), 4, 14, tmp_path / "out.mp4", make_context(tmp_path / "store"))
    assert made == CutResult("smart", 10 * RATE, 10 * RATE, None, (4.0, 14.0))


@pytest.mark.parametrize("profile", ["baseline", "main", "high"])
def test_the_ends_are_of_the_sources_profile(media: Media, tmp_path: Path, profile: str) -> None:
    source, out = tmp_path / "source.mp4", tmp_path / "out.mp4"
    code = ["-c:v", "libx264", "-preset", "superfast", "-profile:v", profile, "-g", "25", "-an"]
    subprocess.run([ffmpeg(), "-v", "error", "-t", "5", "-i", media("pyramid.mp4"), *code, source], check=True)
    made = cut_range(source, 0.52, 3.52, out, make_context(tmp_path / "store"))
    assert made.method == "smart"
    compare(source, made, out, 13)
    with av.open(str(out)) as container:
        sets = h264.read_extradata(container.streams.video[0].codec_context.extradata)
    profiles = [h264.parse_sps(sps).profile for sps in sets.sps]
    assert [splice.PROFILES[number] for number in profiles] == [profile, profile]


@pytest.mark.parametrize("span", [(1.1, 9.3), (12.02, 20.5)])
def test_uneven_times_are_kept(media: Media, tmp_path: Path, span: tuple[float, float]) -> None:
    source, out = media("uneven.mp4"), tmp_path / "out.mp4"
    made = cut_range(source, *span, out, make_context(tmp_path / "store"))
    at = times(source)
    first = next(n for n, t in enumerate(at) if t >= at[0] + span[0] - 1e-6)
    assert made.frames == sum(span[0] - 1e-6 <= t - at[0] < span[1] - 1e-6 for t in at)
    compare(source, made, out, first)
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        length_s = float(stream.duration * stream.time_base)
    assert length_s == pytest.approx(at[first + made.frames] - at[first], abs=1e-3)


@pytest.mark.parametrize("span", [(0.0, 9.02), (3.1, 8.3)])
def test_an_open_group_is_entered_at_an_idr_picture_only(
    media: Media, tmp_path: Path, span: tuple[float, float]
) -> None:
    source, out = media("open_gop.mp4"), tmp_path / "out.mp4"
    made = cut_range(source, *span, out, make_context(tmp_path / "store"))
    first, last = (int(np.ceil(round(t * RATE, 6))) for t in span)
    assert made.frames == last - first
    if span[0] == 0:
        compare(source, made, out, 0)
    else:
        assert (made.method, made.copied) == ("encode", 0)
        assert made.note == "no picture of the range can be begun with"
        (_, pictures), (_, found) = decoded(source), decoded(out)
        assert np.abs(pictures[first:last] - found).mean(axis=1).max() < 3


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("tenbit.mkv", "not H.264"),
        ("rotated.mp4", "is to be turned"),
        ("anamorphic.mp4", "not square"),
        ("full_range.mp4", "pixels are yuvj420p"),
        ("h264.avi", "no times that can be relied on"),
        ("damaged.ts", "damaged"),
        ("interlaced.mp4", "interlaced"),
    ],
)
def test_what_cannot_be_copied_is_encoded_and_said(media: Media, tmp_path: Path, name: str, why: str) -> None:
    made = cut_range(media(name), 1, 6, tmp_path / "out.mp4", make_context(tmp_path / "store"))
    assert (made.method, made.copied) == ("encode", 0)
    assert made.note is not None
    assert why in made.note
    decoded(tmp_path / "out.mp4")


@pytest.mark.parametrize("span", [(0.4, 0.52), (2.04, 3.9), (4.0, 4.04)])
def test_a_range_without_a_whole_group_is_exact(media: Media, tmp_path: Path, span: tuple[float, float]) -> None:
    out = tmp_path / "out.mp4"
    made = cut_range(media("pyramid.mp4"), *span, out, make_context(tmp_path / "store"))
    (_, pictures), (_, found) = decoded(media("pyramid.mp4")), decoded(out)
    first, last = (int(np.ceil(round(t * RATE, 6))) for t in span)
    assert made.frames == len(found) == last - first
    assert made.method == ("smart" if span[0] == 4 else "encode")
    assert np.abs(pictures[first:last] - found).mean(axis=1).max() < 3


def test_what_is_said_of_a_cover_is_not_said_of_the_clip(media: Media, tmp_path: Path) -> None:
    cover, source, out = tmp_path / "cover.png", tmp_path / "cover.mp4", tmp_path / "out.mp4"
    run("-i", media("pyramid.mp4"), "-frames:v", "1", cover)
    with_cover = ("-map", "1", "-map", "0", "-c", "copy", "-disposition:v:0", "attached_pic")
    run("-i", media("pyramid.mp4"), "-i", cover, *with_cover, source)
    made = cut_range(source, 1.5, 6.7, out, make_context(tmp_path / "store"))
    assert (made.method, made.note) == ("smart", None)


def _flipped(source: Path, out: Path, n: int) -> Path:
    """A copy whose n-th picture, in decoding order, is damaged within."""
    with av.open(str(source)) as container:
        packet = [p for p in container.demux(video=0) if p.size][n]
    content, at = bytearray(source.read_bytes()), packet.pos or 0
    middle = at + packet.size // 2
    content[middle : middle + 60] = bytes(b ^ 0x5A for b in content[middle : middle + 60])
    out.write_bytes(bytes(content))
    return out


def test_damage_at_a_seam_falls_back(media: Media, tmp_path: Path) -> None:
    """The first picture that would be copied decodes to nothing good: the decoder says so, and all is encoded."""
    source = _flipped(media("pyramid.mp4"), tmp_path / "source.mp4", 2 * RATE)
    made = cut_range(source, 1.5, 6, tmp_path / "out.mp4", make_context(tmp_path / "store"))
    assert (made.method, made.frames, made.copied) == ("encode", 150 - 38, 0)
    assert made.note is not None
    assert "decode" in made.note
    decoded(tmp_path / "out.mp4")


def test_damage_inside_of_what_is_copied_is_found_where_all_is_decoded(media: Media, tmp_path: Path) -> None:
    """By its packets the clip is the source's to the bit, which is what was asked for, or not good enough."""
    source, ctx = (
        _flipped(media("pyramid.mp4"), tmp_path / "source.mp4", 3 * RATE + 10),
        make_context(tmp_path / "store"),
    )
    assert cut_range(source, 1.5, 6, tmp_path / "copied.mp4", ctx).method == "smart"
    made = cut_range(source, 1.5, 6, tmp_path / "out.mp4", ctx, is_all_decoded=True)
    assert (made.method, made.frames) == ("encode", 150 - 38)
    assert made.note is not None
    assert "decoder complains" in made.note
    decoded(tmp_path / "out.mp4")
    assert cut_range(media("pyramid.mp4"), 1.5, 6, tmp_path / "sound.mp4", ctx, is_all_decoded=True).method == "smart"


def prospect_of(path: Path, start_s: float, end_s: float, ctx: StageContext) -> tuple[SourceInfo, smart.Prospect]:
    info = probe(path)
    start, end = (info.video.start_pts + round(t / info.video.tick) for t in (start_s, end_s))
    return info, smart.find_prospect(path, info, Span(start, end), ctx)


def spec_of(info: SourceInfo, prospect: smart.Prospect) -> ClipSpec:
    splice = prospect.splice
    start_s, end_s = (float((p - info.video.start_pts) * info.video.tick) for p in (splice.pts[0], splice.end_pts))
    return ClipSpec.model_validate({
        "n": 1, "start_s": start_s, "end_s": end_s, "start_pts": splice.pts[0], "end_pts": splice.end_pts,
        "frames": len(splice.pts), "aspect": "source", "fit": "crop", "quality": "high", "loudness": -14,
        "source_loudness": None,
    })  # fmt: skip


Harm = Callable[[Path, Path], None]


def _filtered(how: str) -> Harm:
    return lambda made, out: subprocess.run(  # type: ignore[return-value]
        [ffmpeg(), "-v", "error", "-y", "-i", made, "-c", "copy", "-bsf:v", how, out], check=True
    )


def _trimmed(made: Path, out: Path) -> None:
    subprocess.run([ffmpeg(), "-v", "error", "-y", "-i", made, "-c", "copy", "-t", "3", out], check=True)


def _mute(made: Path, out: Path) -> None:
    cut = ["-map", "0", "-c", "copy", "-c:a", "aac", "-af", "atrim=end=2"]
    subprocess.run([ffmpeg(), "-v", "error", "-y", "-i", made, *cut, out], check=True)


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (_filtered("noise=amount=-1:drop=eq(n\\,30)"), "another time|more or fewer|to the bit|decode"),
        (
            _filtered("noise=amount=if(between(n\\,45\\,55)\\,40\\,0)"),
            "not the source's to the bit|another time|decode",
        ),
        (_filtered("setts=pts=PTS+if(eq(N\\,20)\\,9\\,0)"), "another time"),
        (_trimmed, "more or fewer|another time|last"),
        (_mute, "sound"),
    ],
)
def test_a_wrong_clip_is_not_taken(media: Media, ctx: StageContext, tmp_path: Path, harm: Harm, why: str) -> None:
    info, prospect = prospect_of(media("pyramid.mp4"), 1.5, 6.7, ctx)
    good, bad = tmp_path / "good.mp4", tmp_path / "bad.mp4"
    smart.make_smart(prospect, spec_of(info, prospect), 0.0, good, ctx)
    harm(good, bad)
    for threads in (1, 2):
        smart.prove_smart(prospect, good, lambda: None, 10**8, threads)
        with pytest.raises(smart.Obstacle, match=why):
            smart.prove_smart(prospect, bad, lambda: None, 10**8, threads)


def test_a_head_of_other_pictures_is_not_taken(media: Media, ctx: StageContext, tmp_path: Path) -> None:
    """As many pictures, at the right times, of another film."""
    path, other, out = media("base.mp4"), tmp_path / "other.mp4", tmp_path / "out.mp4"
    subprocess.run(
        [ffmpeg(), "-v", "error", "-i", path, "-vf", "negate", "-c:v", "libx264", "-c:a", "copy", other], check=True
    )
    info, prospect = prospect_of(path, 4.5, 12.0, ctx)
    ends = Ends.beside(out, info, prospect.splice)
    args = ends_args(replace(prospect, source=other), spec_of(info, prospect), ends, 0.0, 10**8)
    run_ffmpeg(ctx.ffmpeg, args, lambda _: None)
    join(prospect, ends, out, lambda: None)
    for threads in (1, 2):
        with pytest.raises(smart.Obstacle, match="a picture next to a seam is not the source's"):
            smart.prove_smart(prospect, out, lambda: None, 10**8, threads)


# --- the stage ------------------------------------------------------------------------------------------------


def rendered(path: Path, ctx: StageContext, **options: object) -> tuple[RenderedClip, Path]:
    request = request_for(path, mode="ranges", **options)
    info = probe_source(request, ctx)
    for chunk in plan_chunks(info):
        analyse_chunk(request, info, chunk, ctx)
    (spec,) = make_plan(request, info, ctx).specs
    clip = render_clip(request, info, spec, ctx)
    assert isinstance(clip, RenderedClip), clip
    with ctx.store.local_path(clip.key) as file:
        return clip, file


def test_a_clip_of_the_sources_shape_is_copied_and_loud(media: Media, ctx: StageContext) -> None:
    clip, file = rendered(media("base.mp4"), ctx, ranges=[[9.5, 14.7]], loudness=-18)
    assert (clip.method, clip.note) == ("smart", None)
    assert all(check.ok for check in clip.checks)
    assert {check.name for check in clip.checks} >= {"loudness", "decodes", "frames"}
    compare(
        media("base.mp4"), CutResult("smart", clip.frames, clip.copied, None, (9.5, 14.7)), file, int(9.5 * RATE + 0.5)
    )


def test_a_clip_of_another_shape_is_encoded_without_a_word(media: Media, ctx: StageContext) -> None:
    clip, _ = rendered(media("pyramid.mp4"), ctx, ranges=[[1.5, 6.5]], aspect="1:1")
    assert (clip.method, clip.copied, clip.note) == ("encode", 0, None)


def test_any_number_of_threads_makes_the_same_bytes(media: Media, tmp_path: Path) -> None:
    clips = [
        rendered(media("pyramid.mp4"), make_context(tmp_path / str(n), threads=n), ranges=[[1.5, 6.5]])[0]
        for n in (1, 3)
    ]
    assert clips[0].method == "smart"
    assert clips[0].sha256 == clips[1].sha256


@pytest.mark.parametrize("n_reports", [1, 6, 200, 330])
def test_a_stopped_cut_leaves_nothing(media: Media, tmp_path: Path, n_reports: int) -> None:
    """Wherever it is stopped: in the survey, in ffmpeg, in the joining, in the proof."""
    left = n_reports

    def stop(done_s: float, total_s: float) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            raise JobCancelled("cancelled")

    ctx = replace(make_context(tmp_path / "store"), report=stop)
    with pytest.raises(JobCancelled):
        cut_range(media("pyramid.mp4"), 1.5, 6.7, tmp_path / "out.mp4", ctx)
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == []


# --- the arithmetic -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pts", "wanted"),
    [
        ([0, 10, 20], [0, 10, 20]),
        ([0, 30, 10, 20], [-10, 0, 10, 20]),
        ([0, 40, 20, 10, 30], [-20, -10, 0, 10, 20]),
        ([0, 3000, 10, 20], [-10, 0, 10, 20]),
    ],
)
def test_decoding_times_rise_and_come_before_the_picture(pts: list[int], wanted: list[int]) -> None:
    assert decoding_times(pts, 10) == wanted
    assert all(dts <= at for dts, at in zip(wanted, pts, strict=True))


@pytest.mark.parametrize("junk", [b"", b"\1\2", b"\1\x64\0\x1f\xff\xe1\0", b"\1\x64\0\x1f\xff\xe1\0\5ab", b"nothing"])
def test_a_header_of_junk_is_told(junk: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        h264.read_extradata(junk)


@pytest.mark.parametrize("unit", [b"\x67", b"\x67\x64\0\x1f" + bytes(40), b"\x67\x42\0\x1e\xff", bytes(9)])
def test_parameters_of_junk_are_told(unit: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        h264.parse_sps(unit)


def test_an_avcc_record_is_read_as_it_was_made(media: Media) -> None:
    with av.open(str(media("pyramid.mp4"))) as container:
        extradata = container.streams.video[0].codec_context.extradata
    sets = h264.read_extradata(extradata)
    assert h264.read_extradata(h264.make_avcc(sets.sps, sets.pps)) == sets
    sps = h264.parse_sps(sets.sps[0])
    assert (sps.profile, sps.chroma_format, sps.bit_depths, sps.is_progressive) == (100, 1, (8, 8), True)
    with pytest.raises(ValueError, match="out of its packet"):
        list(h264.units(b"\0\0\0\7abc", 4))
