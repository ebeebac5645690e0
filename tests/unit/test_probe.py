import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from tests.media import X264, Media, run
from topclip.errors import ProbeError, SourceNotFound, TopClipError, UnsupportedMedia
from topclip.media.probe import fault, probe, verdict

READABLE = [
    *("short.ts", "short.mov", "short.avi", "short.flv", "short.mpg", "short.webm", "vp9.webm", "tenbit.mkv"),
    *("fragmented.mp4", "indexed.mp4", "misplaced.mp4", "full_range.mp4", "cover.mp4", "late_sound.mp4"),
]


@pytest.mark.parametrize("name", READABLE)
def test_it_reads_the_true_duration_and_rate(media: Media, name: str) -> None:
    info = probe(media(name))
    assert info.duration_s == pytest.approx(8, abs=0.05)
    assert info.video.rate == 25
    assert (info.video.display_width, info.video.display_height) == (320, 180)
    assert info.audio is not None


@pytest.mark.parametrize(
    ("name", "rate", "duration_s"),
    [
        ("raw.h264", 25, 8),
        ("raw12.h264", Fraction(25, 2), 8),
        ("raw30.h264", 30, 8),
        ("raw24.hevc", 24, 8),
        ("raw29.m2v", Fraction(30000, 1001), 8),
        ("untimed.hevc", 25, 9.6),
        ("large.mjpeg", 25, 8),
    ],
)
def test_it_believes_a_bare_stream_about_its_rate(
    media: Media, name: str, rate: Fraction | int, duration_s: float
) -> None:
    info = probe(media(name))
    assert info.video.rate == rate
    assert info.duration_s == pytest.approx(duration_s, abs=0.09)


@pytest.mark.parametrize("name", ["tiny.mpg", "tiny_h264.mpg", "tiny_b.mpg"])
def test_it_finds_the_end_behind_the_last_packet_that_has_a_time(media: Media, name: str) -> None:
    assert probe(media(name)).duration_s == pytest.approx(8, abs=0.2)


def test_it_turns_the_size_of_a_rotated_picture(media: Media) -> None:
    video = probe(media("rotated.mp4")).video
    assert (video.width, video.height, video.rotation) == (320, 180, 270)
    assert (video.display_width, video.display_height) == (180, 320)


def test_it_widens_anamorphic_pixels(media: Media) -> None:
    video = probe(media("anamorphic.mp4")).video
    assert (video.sample_aspect, video.display_width, video.display_height) == ("64/45", 341, 192)


def test_it_sees_depth_and_fields(media: Media) -> None:
    assert probe(media("tenbit.mkv")).video.bit_depth == 10
    assert probe(media("interlaced.mpg")).video.interlaced
    assert not probe(media("short.mpg")).video.interlaced


def test_it_takes_the_default_sound_and_no_cover_art(media: Media) -> None:
    sounds = probe(media("two_sounds.mkv"))
    assert sounds.audio is not None
    assert sounds.audio.index == 2
    assert probe(media("cover.mp4")).video.codec == "h264"


def test_it_knows_that_there_is_no_sound(media: Media) -> None:
    assert probe(media("mute.mp4")).audio is None


def test_it_believes_packets_more_than_the_header(media: Media) -> None:
    assert 10 < probe(media("truncated.mp4")).duration_s < 16


def test_it_does_not_believe_a_time_that_stands_alone(media: Media) -> None:
    assert probe(media("wrong_times.ts")).duration_s == pytest.approx(8, abs=0.05)


def test_it_starts_counting_at_the_first_picture(media: Media) -> None:
    video = probe(media("offset.ts")).video
    assert float(video.start_pts * video.tick) > 1000
    assert probe(media("offset.ts")).duration_s == pytest.approx(24, abs=0.05)


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("headless.mp4", ProbeError, "damaged"),
        ("sound_only.m4a", UnsupportedMedia, "no moving picture"),
        ("picture.png", UnsupportedMedia, "still image"),
        ("animated.webp", UnsupportedMedia, "animated WebP"),
        ("joined.ts", UnsupportedMedia, "clock starts anew after 8.0 s"),
    ],
)
def test_it_says_why_a_file_is_no_source(media: Media, name: str, kind: type[TopClipError], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        probe(media(name))
    assert caught.value.detail["field"] == "source"


def test_a_picture_whose_headers_are_missing_is_not_called_sound(media: Media, tmp_path: Path) -> None:
    path = tmp_path / "headless.ts"
    run("-i", media("short.mp4"), *X264, "-g", "1000", "-c:a", "aac", "-f", "mpegts", path)
    content = path.read_bytes()
    path.write_bytes(content[len(content) // 2 // 188 * 188 :])
    with pytest.raises(UnsupportedMedia, match="headers are missing"):
        probe(path)


def test_a_photo_written_as_several_pictures_is_still_one(media: Media, tmp_path: Path) -> None:
    video, path = media("large.mjpeg").read_bytes(), tmp_path / "upload"
    path.write_bytes(video[: [at for at in range(len(video) - 1) if video[at : at + 2] == b"\xff\xd8"][3]])
    with pytest.raises(UnsupportedMedia, match="still image"):
        probe(path)


@pytest.mark.parametrize(
    "content", [b"", b"just some text\n" * 50, b"\0" * 5000, b"#EXTM3U\n#EXTINF:5,\nfile:///etc/hostname\n"]
)
def test_it_refuses_what_is_no_media(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "upload.mp4"
    path.write_bytes(content)
    with pytest.raises(UnsupportedMedia):
        probe(path)


def test_a_playlist_cannot_name_other_files(tmp_path: Path, media: Media) -> None:
    path = tmp_path / "list.ffconcat"
    path.write_text(f"ffconcat version 1.0\nfile {media('short.mp4')}\n")
    with pytest.raises(UnsupportedMedia):
        probe(path)


def test_it_says_that_there_is_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound):
        probe(tmp_path / "none.mp4")


def test_what_it_advises_for_joined_recordings_helps(tmp_path: Path, media: Media) -> None:
    out = tmp_path / "one_clock.mkv"
    run("-i", media("joined.ts"), "-map", "0", "-c", "copy", out)
    assert probe(out).duration_s == pytest.approx(16, abs=0.1)


def test_it_names_codecs_not_decoders(tmp_path: Path) -> None:
    path = tmp_path / "av1.mkv"
    run("-f", "lavfi", "-i", "testsrc2=s=64x64:r=10:d=1", "-c:v", "libaom-av1", "-cpu-used", "8", path)
    assert probe(path).video.codec == "av1"


def test_the_first_look_refuses_what_is_too_long_or_too_large(media: Media) -> None:
    path = str(media("short.mp4"))
    assert verdict(path) is None
    assert verdict(path, 8.5, 320 * 180) is None
    for limits in ((7.5, None), (None, 320 * 180 - 1)):
        found = verdict(path, *limits)
        assert found is not None
        assert found["code"] == "SOURCE_TOO_LARGE"
        assert found["message"] == fault(path, *limits)


def run_module(path: Path) -> tuple[int, dict[str, object]]:
    done = subprocess.run([sys.executable, "-m", "topclip.media.probe", path], capture_output=True, check=False)
    return done.returncode, json.loads(done.stdout)


def test_as_a_program_it_prints_the_facts_or_the_fault(media: Media) -> None:
    code, facts = run_module(media("short.mp4"))
    assert (code, facts["duration_s"]) == (0, 8.0)
    code, fault = run_module(media("picture.png"))
    assert (code, fault["code"]) == (1, "UNSUPPORTED_MEDIA")
    assert fault["message"]


def test_as_a_program_it_loads_no_numpy() -> None:
    code = "import sys, topclip.media.probe; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
