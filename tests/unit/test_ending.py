"""How long the picture lasts by its packets, whatever single ones of them say."""

from fractions import Fraction
from pathlib import Path

import pytest

from tests.media import X264, Media, run, with_pts_moved
from topclip.media.ending import half_frames
from topclip.media.probe import probe

NTSC = [Fraction(n * 1000, 1001) for n in (15, 24, 30, 48, 60, 120)]
HALVES = [Fraction(n, 2) for n in (5, 15, 25, 35, 45, 59)]
HEVC = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error")


@pytest.mark.parametrize("rate", [*map(Fraction, range(1, 121)), *NTSC, *HALVES], ids=str)
def test_a_frame_counts_whole_and_a_field_half_at_any_rate(media: Media, rate: Fraction) -> None:
    video = probe(media("raw.h264")).video.model_copy(update={"fps": f"{rate.numerator}/{rate.denominator}"})
    for ticks, wanted in ((1 / (rate * video.tick), 2), (1 / (2 * rate * video.tick), 1)):
        assert half_frames(int(ticks), video) == wanted  # FFmpeg cuts them down
        assert half_frames(round(ticks), video) == wanted
    assert half_frames(None, video) == half_frames(0, video) == 2


@pytest.mark.parametrize("rate", ["7", "12", "25/2", "13", "19", "23", "26", "31", "24000/1001", "30000/1001"])
@pytest.mark.parametrize("coded", ["h264", "interlaced.h264", "hevc"])
def test_a_bare_stream_lasts_as_long_as_its_frames(tmp_path: Path, rate: str, coded: str) -> None:
    path = tmp_path / f"bare.{coded}"
    codec = HEVC if coded == "hevc" else X264
    more = ("-flags", "+ildct+ilme", "-x264-params", "tff=1") if coded.startswith("interlaced") else ()
    run("-f", "lavfi", "-i", f"testsrc2=s=128x96:r={rate}", "-frames:v", "12", *codec, *more, path)
    assert probe(path).duration_s == pytest.approx(float(12 / Fraction(rate)), abs=1e-4)


@pytest.mark.parametrize("bit", [20, 22, 26, 30, 32])
@pytest.mark.parametrize("n", [2, 100, 199])
def test_one_wrong_bit_of_a_picture_says_nothing_of_the_end(tmp_path: Path, media: Media, n: int, bit: int) -> None:
    path = tmp_path / "one_bit.ts"
    path.write_bytes(with_pts_moved(media("short.ts").read_bytes(), n, lambda pts: pts ^ 1 << bit))
    assert probe(path).duration_s == 8


@pytest.mark.parametrize("bit", [20, 22, 32])
def test_a_wrong_bit_of_the_first_picture_says_nothing_of_the_start(tmp_path: Path, media: Media, bit: int) -> None:
    path, whole = tmp_path / "one_bit.ts", media("short.ts")
    path.write_bytes(with_pts_moved(whole.read_bytes(), 1, lambda pts: pts ^ 1 << bit))
    found, right = probe(path), probe(whole)
    assert found.duration_s == pytest.approx(8 - 1 / 25)  # that picture is lost
    assert found.video.start_pts == right.video.start_pts + 3600


@pytest.mark.parametrize("rate", ["1", "1/2", "25"])
def test_pictures_may_wait_as_long_as_encoders_make_them(tmp_path: Path, rate: str) -> None:
    path = tmp_path / "reordered.ts"
    more = ("-bf", "16", "-x264-params", "b-adapt=0:b-pyramid=none:scenecut=0:rc-lookahead=0")
    run("-f", "lavfi", "-i", f"testsrc2=s=64x48:r={rate}", "-frames:v", "60", *X264, *more, "-f", "mpegts", path)
    assert probe(path).duration_s == pytest.approx(float(60 / Fraction(rate)), abs=float(1 / Fraction(rate)))


@pytest.mark.parametrize("gap_s", [1, 3])
def test_pictures_that_become_rare_count_to_the_last(tmp_path: Path, gap_s: int) -> None:
    """The encoder holds them back for their B-frames: each is shown long after it is decoded."""
    path = tmp_path / "rare.ts"
    times = f"setpts='if(lt(N,100),N/25,4+(N-99)*{gap_s})/TB'"
    source = f"testsrc2=s=64x48:r=25,trim=end_frame=104,{times}"
    run("-f", "lavfi", "-i", source, "-fps_mode", "passthrough", *X264, "-bf", "2", "-f", "mpegts", path)
    assert probe(path).duration_s == pytest.approx(4 + 4 * gap_s, abs=gap_s + 0.1)
