"""Analysis that leaves pictures out: fewer are decoded, and nothing is lost by it."""

from pathlib import Path

import av
import numpy as np
import pytest

from tests.media import CUTS_S, RATE, Media, run
from tests.media import X264 as X264_ARGS
from tests.unit.conftest import make_context, request_for
from topclip import run_local
from topclip.analysers.shots import find_cuts
from topclip.analysers.tracks import Array, Tracks
from topclip.media import decode, skim
from topclip.media.probe import probe
from topclip.media.thumb import Thumbs
from topclip.pipeline.analyse import measure_chunk
from topclip.pipeline.chunk import plan_chunks

CUTS = [int(t * RATE) for t in CUTS_S]
LONG_GROUPS = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "24", "-pix_fmt", "yuv420p", "-bf", "3")
LONG_GROUPS += ("-b_strategy", "0", "-g", "110", "-keyint_min", "110", "-sc_threshold", "0", "-an")
OPEN = ("-x264-params", "open-gop=1")
X265 = "log-level=none:keyint=110:min-keyint=110:scenecut=0:pools=none:frame-threads=1"
"""Key frames by the clock: cuts fall among the pictures that nothing rests on."""


@pytest.fixture
def n_decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts thumbs that are made of frames."""
    made = [0]
    thumb_of = Thumbs.of

    def counted(self: Thumbs, frame: av.VideoFrame) -> skim.Thumb:
        made[0] += 1
        return thumb_of(self, frame)

    monkeypatch.setattr(Thumbs, "of", counted)
    return made


def measured(path: Path) -> Tracks:
    info = probe(path)
    (chunk,) = plan_chunks(info)
    return measure_chunk(path, info, chunk, make_context(path.parent / "store"))


def cuts_of(tracks: Tracks) -> Array:
    return find_cuts(tracks, RATE, 1 / (RATE * float(np.median(np.diff(tracks.pts)))))


@pytest.fixture(scope="module")
def long_groups(media: Media, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("skim") / "groups.mp4"
    run("-i", media("base.mp4"), *LONG_GROUPS, path)
    return path


def test_cuts_are_found_to_the_frame_where_a_third_is_left_out(long_groups: Path, n_decoded: list[int]) -> None:
    tracks = measured(long_groups)
    assert cuts_of(tracks).tolist() == CUTS
    assert n_decoded[0] < 0.67 * len(tracks.pts)


def test_a_group_too_large_to_keep_is_decoded_as_it_comes(
    long_groups: Path, n_decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(skim, "MAX_PACKETS", 40)
    tracks = measured(long_groups)
    assert cuts_of(tracks).tolist() == CUTS
    assert n_decoded[0] >= len(tracks.pts)
    monkeypatch.setattr(decode, "SKIMMABLE", frozenset())
    whole = measured(long_groups)
    assert np.array_equal(tracks.pts, whole.pts)
    assert np.allclose(tracks.differences, whole.differences, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize(("n_frames", "code"), [(101, ("-bf", "0")), (101, ("-bf", "3", *OPEN)), (60, ("-g", "1"))])
def test_a_key_frame_with_nothing_behind_it_is_there(
    media: Media, tmp_path: Path, n_frames: int, code: tuple[str, ...]
) -> None:
    path, clock = tmp_path / "last.mp4", ("-g", "50", "-keyint_min", "50", "-sc_threshold", "0")
    run("-i", media("base.mp4"), "-an", "-frames:v", str(n_frames), "-c:v", "libx264", *clock, *code, path)
    assert len(measured(path).pts) == n_frames


@pytest.mark.parametrize(("codec", "first"), [("h264", 130), ("h264", 110), ("hevc", 110)])  # 110: with the key frame
def test_damage_costs_no_more_frames_than_it_breaks(
    long_groups: Path, media: Media, monkeypatch: pytest.MonkeyPatch, codec: str, first: int
) -> None:
    path = long_groups
    if codec == "hevc":
        path = long_groups.with_name("hevc.mp4")
        run(
            "-i",
            media("base.mp4"),
            "-t",
            "10",
            "-an",
            "-c:v",
            "libx265",
            "-preset",
            "ultrafast",
            "-x265-params",
            X265,
            path,
        )
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    for position, size in packets[first : first + 3]:
        content[position : position + size] = bytes(size)
    broken = path.with_name(f"broken{first}.mp4")
    broken.write_bytes(bytes(content))
    found = measured(broken)
    monkeypatch.setattr(decode, "SKIMMABLE", frozenset())
    whole = measured(broken)
    assert len(whole.pts) < len(packets), "the file is not what it is made for"
    assert np.array_equal(found.pts, whole.pts)
    assert found.n_corrupt.tolist() == whole.n_corrupt.tolist()


def still(path: Path, with_other: bool) -> Path:
    """A still, grainy picture of 12 s, key frames each 4 s; perhaps with another one from 5.2 to 6.4 s."""
    other = (
        "[1]trim=duration=1.2,setpts=PTS+5.2/TB[o];[b][o]overlay=enable='between(t,5.2,6.39)'"
        if with_other
        else "[b]null"
    )
    graph = f"[0]loop=-1:1,noise=alls=2:allf=t:all_seed=1,trim=duration=12[b];{other},format=yuv420p[v]"
    pictures = ("-f", "lavfi", "-i", "mandelbrot=s=320x180:r=25", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=25")
    code = ("-c:v", "libx264", "-crf", "24", "-g", "100", "-keyint_min", "100", "-sc_threshold", "0")
    run(*pictures, "-filter_complex", graph, "-map", "[v]", *code, path)
    return path


def test_a_still_scene_is_hardly_decoded(tmp_path: Path, n_decoded: list[int]) -> None:
    tracks = measured(still(tmp_path / "still.mp4", with_other=False))
    assert len(tracks.pts) == 300
    assert cuts_of(tracks).tolist() == []
    assert n_decoded[0] < 75  # the last group, behind which no key frame tells that all was still, and a few


def test_a_cut_and_back_in_a_still_scene_is_found(tmp_path: Path) -> None:
    assert cuts_of(measured(still(tmp_path / "other.mp4", with_other=True))).tolist() == [130, 160]


def test_cuts_of_a_montage_fall_among_pictures_that_nothing_rests_on(tmp_path: Path) -> None:
    # a cut each 7 to 13 frames, long runs of B-frames: no change stands out beside the others
    lengths = [7, 13, 9, 11, 8, 12, 10, 7, 13, 9]
    sources = [
        f"gradients=s=320x180:r=25:seed={n}:n=3:speed=0.01:c0=#{n * 1677721:06x}:c1=#{0xFFFFFF - n * 1500000:06x}"
        for n in range(10)
    ]
    parts = "".join(f"[{n}]trim=end_frame={length},setpts=N/25/TB[p{n}];" for n, length in enumerate(lengths))
    graph = f"{parts}{''.join(f'[p{n}]' for n in range(10))}concat=n=10,format=yuv420p[v]"
    inputs = [arg for source in sources for arg in ("-f", "lavfi", "-t", "1", "-i", source)]
    code = ("-c:v", "libx264", "-bf", "16", "-b-pyramid", "none", "-b_strategy", "0", "-g", "250", "-sc_threshold", "0")
    run(*inputs, "-filter_complex", graph, "-map", "[v]", *code, tmp_path / "montage.mp4")
    tracks, wanted = measured(tmp_path / "montage.mp4"), np.cumsum(lengths)[:-1].tolist()
    assert set(cuts_of(tracks).tolist()) <= set(wanted)
    assert len(cuts_of(tracks)) >= len(wanted) - 1  # none is told among the first frames


def test_what_only_seems_to_be_a_dissolve_without_the_pictures_between_is_none(tmp_path: Path) -> None:
    # every second picture, on which nothing rests, is half light and half dark; the others go straight to another scene
    straight = "gte(N,60)*(1-gte(N,90))*(N-60)/30+gte(N,90)"
    first, last = "120+80*sin(X/60)*cos(Y/200)", "120+80*cos(X/90)*sin(Y/30+1)"
    other = "mod(N,2)*25*(2*gte(mod(X,80),40)-1)*gte(N,60)*(1-gte(N,90))"
    grey = f"geq=lum='({first})*(1-({straight}))+({last})*({straight})+{other}':cb=128:cr=128"
    path = tmp_path / "seeming.mp4"
    code = ("-c:v", "libx264", "-crf", "12", "-bf", "1", "-b-pyramid", "none", "-b_strategy", "0", "-g", "150")
    run("-f", "lavfi", "-i", f"color=s=320x180:r=25:d=6,format=yuv420p,{grey}", *code, "-sc_threshold", "0", path)
    assert cuts_of(measured(path)).tolist() == []


def test_frames_behind_a_recovery_point_are_all_there(media: Media, tmp_path: Path) -> None:
    path = tmp_path / "refresh.mp4"
    run("-i", media("base.mp4"), "-an", *X264_ARGS, "-x264-params", "intra-refresh=1:keyint=50", path)
    tracks = measured(path)
    assert len(tracks.pts) == 24 * RATE
    assert cuts_of(tracks).tolist() == CUTS


def test_a_clip_is_made_of_the_frames_that_decode_where_a_picture_is_broken_that_was_passed_over(
    long_groups: Path, tmp_path: Path
) -> None:
    content = bytearray(long_groups.read_bytes())
    with av.open(str(long_groups)) as container:
        stream = container.streams.video[0]
        stream.codec_context.skip_frame = "NONREF"
        told = {frame.pts for frame in container.decode(stream)}
        third = (stream.duration or 0) // 3
    with av.open(str(long_groups)) as container:
        passed_over = [p for p in container.demux(video=0) if p.size and p.pts not in told and p.pts > third]
        content[passed_over[0].pos : passed_over[0].pos + passed_over[0].size] = bytes(passed_over[0].size)
        at_s = float(passed_over[0].pts * passed_over[0].time_base)
    broken = tmp_path / "passed.mp4"
    broken.write_bytes(bytes(content))
    request = request_for(broken, mode="ranges", ranges=[[at_s - 1, at_s + 1]], aspect="1:1", fit="pad")
    (clip,) = run_local.run(request, make_context(tmp_path / "store")).manifest.clips
    assert clip.frames == 2 * RATE - 1
