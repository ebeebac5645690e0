"""Files that want more than their share, or what lies beside them."""

import socket
import struct
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

import pytest
from av.audio.frame import AudioFrame

from tests.media import X264, Media, ffmpeg, run
from tests.unit.conftest import make_context, request_for
from topclip import run_local
from topclip.errors import EncodeError, Killed, MediaLimit, SourceTooLarge, StorageUnavailable, UnsupportedMedia
from topclip.media.decode import Faults, Picture, Span, decode_span
from topclip.media.ffmpeg import run_ffmpeg
from topclip.media.fragments import displacing_index
from topclip.media.guard import MAX_STREAMS, file_url, input_args
from topclip.media.limits import Allowance, timed
from topclip.media.opening import open_media
from topclip.media.probe import check_limits, probe
from topclip.media.sound import RATE_HZ, Meter
from topclip.pipeline.context import StageContext

OPTIONS = {"count": 1, "min_length": 1, "max_length": 3}
ENDLESS = ("-f", "lavfi", "-i", "testsrc2=s=320x180:r=25")
YEARS_S = 3 * 365 * 86_400


def peak_mb(code: str, *args: str | Path) -> int:
    """The most memory that a Python process held. Not `ru_maxrss`: that of the process that started it counts there, too."""
    code += "\nprint(int(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0]) // 1024)"
    argv = [sys.executable, "-c", code, *map(str, args)]
    return int(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)


def test_a_file_of_nothing_but_heads_is_not_read_to_its_end(tmp_path: Path) -> None:
    """Sparse files: to read a fragment's head as long as it says, or each of a billion boxes, would take for ever."""
    heads, large = tmp_path / "heads.mp4", tmp_path / "large.mp4"
    fragment = b"tfhd" + struct.pack(">IIQ", 1, 1, 800)
    heads.write_bytes(struct.pack(">I4s", 8, b"free") * 100 + struct.pack(">I4s8s", 16, b"sidx", b""))
    with heads.open("ab") as file:
        file.write(struct.pack(">I4s", 8 + len(fragment), b"moof") + fragment)
    with large.open("wb") as file:
        file.write(struct.pack(">I4s8s", 16, b"sidx", b"") + struct.pack(">I4s", 0xFFFF_FFFF, b"moof"))
        file.truncate(1 << 33)
    assert displacing_index(heads) is None
    code = "import sys, pathlib, topclip.media.fragments as f; print(f.displacing_index(pathlib.Path(sys.argv[1])))"
    code += "\nprint(int(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0]) // 1024)"
    done = subprocess.run([sys.executable, "-c", code, large], check=True, capture_output=True, text=True)
    found, peak = done.stdout.split()
    assert found == "None"
    assert int(peak) < 300


def test_a_cover_that_unfolds_to_gigabytes_is_not_unfolded(tmp_path: Path, media: Media) -> None:
    bomb, path = tmp_path / "bomb.png", tmp_path / "cover.mp4"
    run("-f", "lavfi", "-i", "color=black:s=12000x12000", "-frames:v", "1", bomb)
    assert bomb.stat().st_size < 1_000_000
    tracks = ("-map", "0", "-map", "1", "-c", "copy", "-disposition:v:1", "attached_pic")
    run("-i", media("short.mp4"), "-i", bomb, *tracks, path)
    code = "import sys; from pathlib import Path; from topclip.media.probe import probe\n"
    assert peak_mb(code + "probe(Path(sys.argv[1]), max_pixels=1_000_000)", path) < 200
    assert probe(path, max_pixels=1_000_000).video.codec == "h264"


def test_a_picture_that_grows_in_mid_stream_is_not_decoded(tmp_path: Path, media: Media) -> None:
    large, path = tmp_path / "large.ts", tmp_path / "grows.ts"
    run("-f", "lavfi", "-i", "testsrc2=s=1920x1080:r=25:d=2", *X264, "-output_ts_offset", "8", "-f", "mpegts", large)
    path.write_bytes(media("short.ts").read_bytes() + large.read_bytes())
    info, faults = probe(path, max_pixels=320 * 180), Faults()
    items = decode_span(path, info, Span(None, None), faults, max_pixels=320 * 180)
    assert sum(isinstance(item, Picture) for item in items) == pytest.approx(200, abs=3)
    assert faults.n_corrupt
    clips = run_local.run(
        request_for(path, **OPTIONS), make_context(tmp_path / "s", max_pixels=320 * 180)
    ).manifest.clips
    assert clips[0].width == 320


@pytest.mark.parametrize("max_pixels", [320 * 180, 10**12])
def test_a_picture_within_the_limit_is_decoded_whatever_the_limit(
    tmp_path: Path, media: Media, max_pixels: int
) -> None:
    ctx = make_context(tmp_path / "s", max_pixels=max_pixels)
    assert run_local.run(request_for(media("short.mp4"), **OPTIONS), ctx).manifest.clips


def test_a_picture_with_an_endless_side_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "strip.mkv"
    run("-f", "lavfi", "-i", "color=black:s=30000x2:d=1", "-c:v", "ffv1", path)
    with pytest.raises(SourceTooLarge, match="no side"):
        check_limits(probe(path), max_duration_s=None, max_pixels=None)


@pytest.mark.parametrize("rate_hz", [1, 2_000_000_000])
def test_a_sound_of_an_absurd_rate_is_none(tmp_path: Path, media: Media, rate_hz: int) -> None:
    path = tmp_path / "rate.avi"
    sound = ("-f", "lavfi", "-t", "8", "-i", "sine=r=8000", "-map", "0:v", "-map", "1:a", "-c:v", "copy")
    run("-i", media("short.mp4"), *sound, "-c:a", "pcm_s16le", path)
    mono_at, content = struct.pack("<HHI", 1, 1, 8000), path.read_bytes()
    assert content.count(mono_at) == 1
    path.write_bytes(content.replace(mono_at, struct.pack("<HHI", 1, 1, rate_hz)))
    assert probe(path).audio is None


def silence(start_s: float, rate_hz: int = RATE_HZ) -> AudioFrame:
    frame = AudioFrame(format="fltp", layout="mono", samples=1024)
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    frame.sample_rate, frame.time_base, frame.pts = rate_hz, Fraction(1, rate_hz), round(start_s * rate_hz)
    return frame


def blocks_of(meter: Meter, starts_s: list[float]) -> list[float]:
    return [b.start_s for s in starts_s for b in meter.push(silence(s))] + [b.start_s for b in meter.finish()]


def test_a_gap_of_years_in_the_sound_is_filled_only_to_the_end() -> None:
    step_s = 1024 / RATE_HZ
    starts_s = [i * step_s for i in range(50)] + [YEARS_S + i * step_s for i in range(50)]
    found = blocks_of(Meter(Fraction(0), Fraction(20)), starts_s)
    assert found == pytest.approx([i / 10 for i in range(len(found))])
    assert 19.5 < found[-1] < 20.5


def test_one_sound_frame_with_a_time_in_years_moves_nothing() -> None:
    step_s = 1024 / RATE_HZ
    starts_s = [i * step_s for i in range(100)]
    starts_s[50] += YEARS_S
    assert blocks_of(Meter(Fraction(0), Fraction(20)), starts_s)[-1] == pytest.approx(2.0, abs=0.2)


def test_a_sound_frame_of_an_absurd_rate_is_damage() -> None:
    with pytest.raises(ValueError, match="1 Hz"):
        list(Meter(Fraction(0)).push(silence(0, rate_hz=1)))


def test_of_hundreds_of_streams_only_so_many_are_looked_at(tmp_path: Path, media: Media) -> None:
    path = tmp_path / "streams.mkv"
    run("-t", "1", "-i", media("short.mp4"), "-map", "0:v", *["-map", "0:a"] * (MAX_STREAMS + 50), "-c", "copy", path)
    assert probe(path).n_streams == MAX_STREAMS


def test_a_picture_without_a_decoder_is_not_supported(tmp_path: Path, media: Media) -> None:
    path = tmp_path / "unknown.mp4"
    path.write_bytes(media("mute.mp4").read_bytes().replace(b"avc1", b"zzzz").replace(b"avcC", b"zzzz"))
    with pytest.raises(UnsupportedMedia, match="codec is not supported"):
        probe(path)


LISTS = {
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:8,\n{url}\n#EXT-X-ENDLIST\n",
    "list.ffconcat": "ffconcat version 1.0\nfile '{url}'\n",
    "list.txt": "file '{url}'\n",
    "list.mpd": "<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011' type='static'>"
    "<Period duration='PT8S'><AdaptationSet mimeType='video/mp4'><Representation id='1' bandwidth='1'>"
    "<BaseURL>{url}</BaseURL></Representation></AdaptationSet></Period></MPD>",
    "list.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
    "list.svg": "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><image href='{url}'/></svg>",
    "list.asx": "<asx version='3.0'><entry><ref href='{url}'/></entry></asx>",
    "list.ram": "{url}\n",
    "list.srt": "1\n00:00:00,000 --> 00:00:02,000\n{url}\n",
}


@pytest.mark.parametrize("suffix", ["", ".mp4"], ids=["named as it is", "named as a video"])
@pytest.mark.parametrize("name", LISTS)
def test_a_list_reaches_no_file_and_no_network(tmp_path: Path, media: Media, name: str, suffix: str) -> None:
    callers: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        threading.Thread(target=lambda: callers.extend(_accepted(server)), daemon=True).start()
        for url in (f"http://127.0.0.1:{port}/a.mp4", f"tcp://127.0.0.1:{port}", media("short.mp4"), "short.mp4"):
            path = media.folder / f"{name}{suffix}"  # beside a file that could be read
            path.write_text(LISTS[name].format(url=url, port=port))
            with pytest.raises(UnsupportedMedia):
                probe(path)
            out = file_url(tmp_path / "out.mp4")
            with pytest.raises(EncodeError):
                run_ffmpeg(ffmpeg(), [*input_args(path, None), "-f", "mp4", out], lambda _: None)
            path.unlink()
    assert callers == []


def _accepted(server: socket.socket) -> list[object]:
    try:
        return [server.accept()]
    except OSError:  # closed at the end
        return []


@pytest.mark.parametrize(
    "name",
    ["-i.mp4", "concat:a|b.mp4", "http:x.mp4", "a%03d.mp4", "a b'c\"d;$(x).mp4", "pipe:0", "<b>&.mp4", "a\nb.mp4"],
)
def test_a_name_is_only_a_name(tmp_path: Path, media: Media, name: str, ctx: StageContext) -> None:
    path = tmp_path / name
    path.write_bytes(media("short.mp4").read_bytes())
    manifest = run_local.run(request_for(path, **OPTIONS), ctx).manifest
    assert len(manifest.clips) == 1
    assert manifest.source["name"] == name


def test_ffmpeg_may_not_take_more_memory_than_it_has(tmp_path: Path) -> None:
    large = ("-f", "lavfi", "-i", "testsrc2=s=7680x4320:d=2", *X264, str(tmp_path / "out.mp4"))
    with pytest.raises(MediaLimit, match="memory") as caught:
        run_ffmpeg(ffmpeg(), large, lambda _: None, allowance=Allowance(memory_bytes=350 << 20))
    assert "TOPCLIP_TASK_MEMORY_MB" in str(caught.value.hint)


def test_ffmpeg_may_not_write_more_than_its_room(tmp_path: Path) -> None:
    out = tmp_path / "out.mkv"
    with pytest.raises(MediaLimit, match="larger than 1 MiB"):
        run_ffmpeg(ffmpeg(), (*ENDLESS, *X264, str(out)), lambda _: None, allowance=Allowance(out_bytes=1 << 20))
    assert out.stat().st_size <= 1 << 20


def test_ffmpeg_may_not_run_longer_than_its_time() -> None:
    with pytest.raises(MediaLimit, match="longer than"):
        run_ffmpeg(ffmpeg(), (*ENDLESS, "-f", "null", "-"), lambda _: None, allowance=Allowance(wall_s=0.5))


def test_a_decode_may_not_run_longer_than_its_time() -> None:
    told: list[int] = []
    tick = timed(lambda: told.append(1), -1, "decoding")
    with pytest.raises(MediaLimit, match="decoding took longer"):
        tick()
    assert told


def test_an_ffmpeg_that_was_killed_is_told_from_one_that_failed(tmp_path: Path) -> None:
    with pytest.raises(Killed, match="killed") as caught:
        run_ffmpeg(script(tmp_path, "kill -9 $$"), [], lambda _: None)
    assert "memory" in str(caught.value.hint)
    with pytest.raises(EncodeError, match="SIGSEGV"):
        run_ffmpeg(script(tmp_path, "kill -11 $$"), [], lambda _: None)


def test_a_store_that_cannot_be_written_is_no_fault_of_the_source(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable):
        run_ffmpeg(script(tmp_path, "echo 'out.mp4: Read-only file system' >&2; exit 1"), [], lambda _: None)


def script(folder: Path, line: str) -> str:
    path = folder / "ffmpeg.sh"
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
    return str(path)


def test_decoding_may_not_take_more_memory_than_a_task_has(tmp_path: Path) -> None:
    path = tmp_path / "deep.mov"
    run("-f", "lavfi", "-i", "color=red:s=7000x4000:r=2:d=1", "-c:v", "png", "-pix_fmt", "rgba64be", path)
    code = (
        "import sys; from pathlib import Path; from topclip.media.probe import verdict\n"
        "from topclip.media.limits import cap_memory; cap_memory(int(sys.argv[2]))\n"
        "print(verdict(sys.argv[1])['code'])"
    )
    argv = [sys.executable, "-c", code, str(path), str(150 << 20)]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip() == "MEDIA_LIMIT"


def test_a_stream_that_shows_only_in_mid_file_breaks_nothing(tmp_path: Path, media: Media) -> None:
    path = tmp_path / "late.flv"
    mute, sound = tmp_path / "mute.flv", media("short.flv").read_bytes()
    run("-i", media("short.flv"), "-an", "-c", "copy", mute)
    audio = b"".join(tag for tag in _flv_tags(sound) if tag[0] == 8)
    path.write_bytes(mute.read_bytes() + audio)
    for _ in range(5):  # whether PyAV trips is a matter of what lies in its memory
        with open_media(path) as container:
            assert len(container.streams) == 1
        assert probe(path).duration_s == pytest.approx(8, abs=0.1)


def _flv_tags(content: bytes) -> list[bytes]:
    tags, at = [], 13
    while at + 11 < len(content):
        size = 11 + int.from_bytes(content[at + 1 : at + 4], "big") + 4
        tags.append(content[at : at + size])
        at += size
    return tags
