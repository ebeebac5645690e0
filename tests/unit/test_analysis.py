"""Decoding by chunks, and what is drawn from it: cuts, signals, seams."""

import itertools
import math
import subprocess
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest

from tests.media import CUTS_S, LENGTH_S, LOUD_S, RATE, Media, ffmpeg
from tests.unit.conftest import make_context, request_for
from topclip.analysers.frames import FrameNumbers
from topclip.analysers.loudness import integrated_lufs
from topclip.analysers.tracks import Tracks
from topclip.errors import DecodeError, JobCancelled
from topclip.media.probe import probe
from topclip.model.analysis import Analysis, Chunk, Signal
from topclip.model.source import SourceInfo
from topclip.pipeline.analyse import analyse_chunk, measure_chunk
from topclip.pipeline.chunk import plan_chunks
from topclip.pipeline.context import StageContext
from topclip.pipeline.merge import merge_chunks
from topclip.pipeline.scoring import percentiles


def chunks_of(info: SourceInfo, length_s: int) -> list[Chunk]:
    edges = [*range(0, int(info.duration_s), length_s), info.duration_s]
    pts = [None, *(info.video.start_pts + math.ceil(t / info.video.tick) for t in edges[1:-1]), None]
    return [
        Chunk(index=i, start_s=edges[i], end_s=edges[i + 1], start_pts=pts[i], end_pts=pts[i + 1])
        for i in range(len(edges) - 1)
    ]


@cache
def analysed(path: Path, length_s: int) -> Analysis:
    info = probe(path)
    ctx = make_context(path.parent / "store")
    return merge_chunks(info, [measure_chunk(path, info, chunk, ctx) for chunk in chunks_of(info, length_s)])


def signal(analysis: Analysis, name: str) -> Signal:
    return next(s for s in analysis.signals if s.name == name)


def test_it_finds_the_cuts_to_the_frame(media: Media) -> None:
    shots = analysed(media("base.mp4"), 1000).shots
    assert [s.start_frame for s in shots] == [0, *(int(t * RATE) for t in CUTS_S)]
    assert shots[-1].end_frame == LENGTH_S * RATE
    assert [s.start_s for s in shots[1:]] == list(CUTS_S)


@pytest.mark.parametrize("name", ["base.mp4", "open_gop.mp4", "vfr.mp4", "offset.ts", "slides.mp4", "h264.avi"])
@pytest.mark.parametrize("length_s", [3, 5])
def test_a_chunk_seam_costs_nothing(media: Media, name: str, length_s: int) -> None:
    whole, parts, others = (analysed(media(name), s) for s in (1000, length_s, 8))
    assert np.array_equal(whole.frame_pts, parts.frame_pts)
    assert whole.end_pts == parts.end_pts
    assert whole.shots == parts.shots
    assert np.nanmax(np.abs(whole.loudness_lufs - parts.loudness_lufs)) < 0.5
    # seams by time leave no picture out; without any seam some may be
    assert np.allclose(signal(others, "motion").values, signal(parts, "motion").values, atol=1e-4)
    assert np.array_equal(others.fingerprints, parts.fingerprints)
    for name_of in ("speech", "crowd", "onsets"):
        assert np.array_equal(signal(whole, name_of).values, signal(parts, name_of).values)


@pytest.mark.parametrize("name", ["tiny.mpg", "tiny_h264.mpg", "tiny_b.mpg"])
def test_no_frame_is_lost_where_times_run_back(media: Media, name: str) -> None:
    with av.open(str(media(name))) as container:
        claimed = [f.pts if f.pts is not None else f.dts for f in container.decode(video=0)]
    known = [t for t in claimed if t is not None]
    assert any(b <= a for a, b in itertools.pairwise(known)), "the source is not what it is made for"
    pts = analysed(media(name), 1000).frame_pts
    assert len(pts) == len(claimed)
    assert np.all(np.diff(pts) > 0)
    assert np.array_equal(analysed(media(name), 2).frame_pts, pts)


@pytest.mark.parametrize("name", ["raw30.h264", "raw24.hevc", "raw29.m2v"])
def test_cuts_of_a_bare_stream_come_when_it_shows_them(media: Media, name: str) -> None:
    assert [s.start_s for s in analysed(media(name), 1000).shots[1:]] == [pytest.approx(CUTS_S[0], abs=0.05)]


def test_cuts_at_a_seam_are_found(media: Media) -> None:
    # a seam at each whole second: every cut of the base lies on one
    assert [s.start_s for s in analysed(media("base.mp4"), 1).shots[1:]] == list(CUTS_S)


def test_it_measures_the_planted_loud_moment(media: Media) -> None:
    loudness = signal(analysed(media("base.mp4"), 1000), "loudness")
    times = np.arange(len(loudness.values)) * loudness.hop_s
    inside = (times >= LOUD_S[0] + 0.3) & (times < LOUD_S[1] - 0.3)
    outside = (times < LOUD_S[0] - 0.5) | (times >= LOUD_S[1] + 0.5)
    assert loudness.values[inside].min() > np.nanmax(loudness.values[outside]) + 15


def test_loudness_agrees_with_a_tone_of_known_level(media: Media) -> None:
    # EBU Tech 3341: a stereo 1 kHz sine of -23 dBFS measures -23 LUFS; ours: 880 Hz, amplitude 0.6
    loud = analysed(media("base.mp4"), 1000).loudness_lufs[int(LOUD_S[0] * 10) + 5 : int(LOUD_S[1] * 10) - 5]
    measured = integrated_lufs(loud)
    assert measured == pytest.approx(20 * np.log10(0.6), abs=0.6)


def test_integrated_loudness_ignores_silence_and_pauses() -> None:
    tone = np.full(100, -20.0, np.float32)
    assert integrated_lufs(tone) == pytest.approx(-20)
    assert integrated_lufs(np.concatenate([tone, np.full(100, -45.0), np.full(100, -90.0), [np.nan]])) == pytest.approx(
        -20
    )
    assert integrated_lufs(np.full(10, -90.0)) is None
    assert integrated_lufs(np.empty(0)) is None


def test_a_source_without_sound_has_no_loudness(media: Media) -> None:
    analysis = analysed(media("mute.mp4"), 1000)
    assert [s.name for s in analysis.signals] == ["motion", "cuts"]
    assert len(analysis.loudness_lufs) == 0


def test_silent_sound_is_as_silent_throughout(media: Media) -> None:
    values = signal(analysed(media("silent.mp4"), 1000), "loudness").values
    assert len(np.unique(values[np.isfinite(values)])) == 1


def test_where_the_sound_is_missing_it_is_silent_not_unknown(media: Media) -> None:
    for name, missing_s in (("short_sound.mp4", (3.5, 8.0)), ("late_sound.mp4", (0.3, 2.0))):
        loudness = signal(analysed(media(name), 1000), "loudness").values
        first, last = (round(s * 10) for s in missing_s)
        assert loudness[first:last].max() == -70
        ranks = percentiles(loudness)
        assert ranks[first:last].max() < 0.4
        heard = np.delete(ranks, range(first, last))
        assert np.mean(heard) > ranks[first:last].max() + 0.2


def test_a_frame_shown_twice_adds_no_motion(media: Media) -> None:
    assert np.median(signal(analysed(media("vfr.mp4"), 1000), "motion").values) > 0
    black = signal(analysed(media("black.mp4"), 1000), "motion").values
    assert black.max() < 1


def test_damage_is_passed_over(media: Media) -> None:
    damaged, whole = analysed(media("damaged.ts"), 1000), analysed(media("short.ts"), 1000)
    assert 100 < len(damaged.frame_pts) <= len(whole.frame_pts)
    assert np.all(np.diff(damaged.frame_pts) > 0)


@pytest.mark.parametrize("length_s", [1000, 3])
def test_what_lies_behind_a_hole_is_not_lost(media: Media, length_s: int) -> None:
    path = media("hole.ts")
    assert probe(path).duration_s == pytest.approx(8, abs=0.05)
    pts = analysed(path, length_s).frame_pts
    decoded = subprocess.run(
        [ffmpeg(), "-v", "error", "-i", path, "-an", "-f", "null", "-progress", "-", "-"],
        capture_output=True,
        check=True,
    )
    n_frames = int(decoded.stdout.rsplit(b"frame=", 1)[1].split()[0])
    assert len(pts) == pytest.approx(n_frames, abs=3)
    assert (pts[-1] - pts[0]) / 90_000 > 7.9


@pytest.mark.parametrize("length_s", [1000, 3])
def test_a_frame_with_a_wrong_time_takes_no_others_away(media: Media, length_s: int) -> None:
    right, found = analysed(media("short.ts"), 1000).frame_pts, analysed(media("wrong_times.ts"), length_s).frame_pts
    assert 195 <= len(found) < len(right)
    assert set(found) <= set(right)


@pytest.mark.parametrize("name", ["h264.avi", "in_order.avi"])
def test_pictures_of_a_container_without_pts_come_in_their_order(media: Media, name: str) -> None:
    assert analysed(media(name), 1000).frame_pts.tolist() == list(range(8 * RATE))


def test_a_truncated_file_gives_what_it_has(media: Media) -> None:
    analysis = analysed(media("truncated.mp4"), 5)
    assert len(analysis.frame_pts) == pytest.approx(probe(media("truncated.mp4")).duration_s * RATE, abs=2)


def test_nothing_decodable_is_an_error(media: Media) -> None:
    empty = np.empty(0)
    numbers = FrameNumbers().arrays()
    tracks = Tracks(**numbers, loudness_lufs=empty, levels_db=empty, spectra=empty, n_corrupt=np.array([9]))
    with pytest.raises(DecodeError):
        merge_chunks(probe(media("short.mp4")), [tracks])


# --- the stage ------------------------------------------------------------------------------------------------


def test_the_grid_depends_on_the_duration_alone(media: Media) -> None:
    info = probe(media("short.mp4"))

    def grid(duration_s: float) -> list[float]:
        chunks = plan_chunks(info.model_copy(update={"duration_s": duration_s}))
        assert [c.index for c in chunks] == list(range(len(chunks)))
        assert all(a.end_s == b.start_s for a, b in itertools.pairwise(chunks))
        assert (chunks[0].start_s, chunks[-1].end_s) == (0, duration_s)
        return [c.duration_s for c in chunks]

    assert grid(0.04) == [0.04]
    assert grid(29.9) == [29.9]
    assert grid(30.0) == [20, 10]
    assert grid(165.0) == [20] * 7 + [25]
    assert set(grid(3_200.0)) == {50}
    assert grid(36_000.5) == [60] * 599 + [60.5]


def test_analysing_again_finds_what_is_there(media: Media, ctx: StageContext) -> None:
    path = media("short.mp4")
    info, request = probe(path, sha256="f" * 64), request_for(path)
    chunk = plan_chunks(info)[0]
    first = analyse_chunk(request, info, chunk, ctx)
    assert first.n_frames == 200
    content = ctx.store.get_bytes(first.key)
    gone = request_for(path.with_name("gone.mp4"))
    assert analyse_chunk(gone, info, chunk, ctx) == first  # not even the source is opened
    assert Tracks.from_bytes(content).to_bytes() == content


def test_an_unreadable_artifact_is_made_anew(media: Media, ctx: StageContext) -> None:
    path = media("short.mp4")
    info, request = probe(path, sha256="f" * 64), request_for(path)
    chunk = plan_chunks(info)[0]
    key = analyse_chunk(request, info, chunk, ctx).key
    ctx.store.delete(key)
    ctx.store.put_bytes(key, b"PK\x03\x04 broken")
    assert analyse_chunk(request, info, chunk, ctx).n_frames == 200


def test_analysis_stops_when_the_job_does(media: Media, tmp_path: Path) -> None:
    def stop(done_s: float, total_s: float) -> None:
        if done_s > 1:
            raise JobCancelled("cancelled")

    path = media("short.mp4")
    ctx = make_context(tmp_path / "store", report=stop)
    info = probe(path, sha256="f" * 64)
    with pytest.raises(JobCancelled):
        analyse_chunk(request_for(path), info, plan_chunks(info)[0], ctx)
    assert ctx.store.list("") == []
