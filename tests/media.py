"""Small videos with known content, made by ffmpeg's own sources on first use; none lies in the repository.

Base: 320x180 at 25 frames a second, 24 s; five shots that begin at CUTS_S, each a moving picture of its own; a quiet hum
with pauses, and from LOUD_S[0] to LOUD_S[1] a loud tone over the busiest picture.

Each file is the same byte for byte whenever it is made: no colours by chance, no random identifiers, one thread.
"""

import subprocess
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from topclip.media.binary import find_ffmpeg

RATE = 25
LENGTH_S = 24
CUTS_S = (4.0, 9.0, 15.0, 20.0)
LOUD_S = (10.0, 14.0)

SHOTS = (
    ("gradients=s=320x180:r=25:seed=3:speed=0.01:c0=#305030:c1=#a08040", 4),
    ("mandelbrot=s=320x180:r=25:end_pts=800", 5),
    ("life=s=160x90:r=25:seed=7:mold=10:life_color=#ff8000:death_color=#000080,scale=320:180:flags=neighbor", 6),
    ("gradients=s=320x180:r=25:seed=11:speed=0.02:c0=#202020:c1=#f0f0f0", 5),
    ("testsrc2=s=320x180:r=25", 4),
)
HUM = "0.02*sin(2*PI*220*t)*lt(mod(t,3),2.4)"
TONE = f"0.6*sin(2*PI*880*t)*between(t,{LOUD_S[0]},{LOUD_S[1]})"

X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "20", "-pix_fmt", "yuv420p")
FRAGMENTS = "frag_keyframe+empty_moov"
AAC = ("-c:a", "aac", "-b:a", "96k")


@cache
def ffmpeg() -> str:
    return find_ffmpeg("")


def run(*args: str | Path) -> None:
    """ffmpeg, which writes the last argument."""
    *args, path = args
    command = [ffmpeg(), "-v", "error", "-nostdin", "-y", *args, "-threads", "1", "-bitexact", path]
    subprocess.run([str(part) for part in command], check=True, stderr=subprocess.PIPE)


class Media:
    """Files by name, each made once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str) -> Path:
        """The file of that name, such as `vfr.mp4`; RECIPES lists them."""
        path = self.folder / name
        if not path.exists():
            RECIPES[name](self, path)
        return path

    def derive(self, path: Path, *args: str | Path, seconds: float = 8, before: Sequence[str] = ()) -> None:
        """Make a file out of the first seconds of the base."""
        run(*before, "-t", str(seconds), "-i", self("base.mp4"), *args, path)


def _base(media: Media, path: Path) -> None:
    graph = ";".join(
        f"{source},format=yuv420p,trim=start_frame=40:end_frame={40 + n * RATE},setpts=PTS-STARTPTS,setsar=1[v{i}]"
        for i, (source, n) in enumerate(SHOTS)
    )
    joined = "".join(f"[v{i}]" for i in range(len(SHOTS))) + f"concat=n={len(SHOTS)}[v]"
    sound = f"aevalsrc='{HUM}+{TONE}|{HUM}+{TONE}':s=48000:d={LENGTH_S}[a]"
    run(
        "-filter_complex",
        f"{graph};{joined};{sound}",
        "-map",
        "[v]",
        "-map",
        "[a]",
        *X264,
        "-bf",
        "2",
        "-g",
        "50",
        *AAC,
        path,
    )


def _from_base(*args: str, **kwargs: float) -> Callable[[Media, Path], None]:
    return lambda media, path: media.derive(path, *args, **kwargs)


def _rotated(media: Media, path: Path) -> None:
    run("-display_rotation", "90", "-i", media("short.mp4"), "-c", "copy", path)


def _truncated(media: Media, path: Path) -> None:
    whole = path.with_name("whole.mp4")
    media.derive(whole, *X264, *AAC, "-movflags", "+faststart", seconds=LENGTH_S)
    content = whole.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])


def _headless(media: Media, path: Path) -> None:
    content = media("short.mp4").read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _damaged(media: Media, path: Path) -> None:
    content = bytearray(media("short.ts").read_bytes())
    for at in range(len(content) // 3, len(content) // 3 + 40_000, 700):
        content[at : at + 90] = b"\x55" * 90
    path.write_bytes(bytes(content))


def _hole(media: Media, path: Path) -> None:
    content = bytearray(media("short.ts").read_bytes())
    middle = len(content) // 2
    content[middle - 75_000 : middle + 75_000] = bytes(150_000)
    path.write_bytes(bytes(content))


def _joined(media: Media, path: Path) -> None:
    path.write_bytes(media("short.ts").read_bytes() * 2)


def _wrong_times(media: Media, path: Path) -> None:
    """Three pictures say that they come hours later, as damage makes them: one bit of their times is turned."""
    content = bytearray(media("short.ts").read_bytes())
    at = 0
    for n in range(1, 151):
        at = content.index(b"\0\0\1\xe0", at + 1)
        if n % 50 == 0:
            content[at + 9] ^= 2
            content[at + 14] ^= 2 if content[at + 7] & 0x40 else 0
    path.write_bytes(bytes(content))


def with_pts_moved(ts: bytes, n: int, move: Callable[[int], int]) -> bytes:
    """An MPEG-TS whose n-th picture, from 1 in decoding order, has another presentation time, in ticks of 90 kHz."""
    content, at = bytearray(ts), -1
    for _ in range(n):
        at = content.index(b"\0\0\1\xe0", at + 1)
    at += 9
    high, middle, low = content[at], content[at + 1 : at + 3], content[at + 3 : at + 5]
    pts = (high >> 1 & 7) << 30 | int.from_bytes(middle) >> 1 << 15 | int.from_bytes(low) >> 1
    pts = move(pts)
    content[at] = (high & 0xF1) | (pts >> 30 & 7) << 1
    content[at + 1 : at + 5] = ((pts >> 15 & 0x7FFF) << 17 | 1 << 16 | (pts & 0x7FFF) << 1 | 1).to_bytes(4)
    return bytes(content)


def _cover(media: Media, path: Path) -> None:
    picture = path.with_name("picture.png")
    run("-f", "lavfi", "-i", "testsrc2=s=640x640", "-frames:v", "1", picture)
    tracks = [
        "-map",
        "1:v",
        "-map",
        "0:v",
        "-map",
        "0:a",
        "-c",
        "copy",
        "-c:v:0",
        "png",
        "-disposition:v:0",
        "attached_pic",
    ]
    run("-i", media("short.mp4"), "-i", picture, *tracks, path)


def _two_sounds(media: Media, path: Path) -> None:
    second = ["-f", "lavfi", "-t", "8", "-i", "sine=f=500:r=44100"]
    run(
        "-i",
        media("short.mp4"),
        *second,
        "-map",
        "0:v",
        "-map",
        "1:a",
        "-map",
        "0:a",
        "-c:v",
        "copy",
        *AAC,
        "-disposition:a:0",
        "0",
        "-disposition:a:1",
        "default",
        path,
    )


def _late_sound(media: Media, path: Path) -> None:
    run(
        "-i",
        media("short.mp4"),
        "-itsoffset",
        "2.5",
        "-i",
        media("short.mp4"),
        "-map",
        "0:v",
        "-map",
        "1:a",
        "-c",
        "copy",
        "-t",
        "8",
        path,
    )


def _short_sound(media: Media, path: Path) -> None:
    run("-i", media("short.mp4"), "-t", "3", "-i", media("short.mp4"), "-map", "0:v", "-map", "1:a", "-c", "copy", path)


def _raw(media: Media, path: Path) -> None:
    run("-i", media("short.mp4"), "-map", "0:v", "-c", "copy", "-bsf:v", "h264_mp4toannexb", path)


def _sound_only(media: Media, path: Path) -> None:
    run("-i", media("short.mp4"), "-vn", "-c", "copy", path)


def _picture(media: Media, path: Path) -> None:
    run("-f", "lavfi", "-i", "testsrc2=s=64x64", "-frames:v", "1", path)


def _black(media: Media, path: Path) -> None:
    run(
        "-f",
        "lavfi",
        "-i",
        "color=black:s=320x180:r=25:d=8",
        "-f",
        "lavfi",
        "-i",
        "anullsrc=r=48000",
        "-t",
        "8",
        *X264,
        *AAC,
        path,
    )


def _edited(media: Media, path: Path) -> None:
    """Begins between key frames: an edit list hides what comes before, and what lies behind the end."""
    run("-ss", "1.4", "-t", "9", "-i", media("pyramid.mp4"), "-c", "copy", path)


def _remuxed(*args: str) -> Callable[[Media, Path], None]:
    return lambda media, path: run("-i", media("pyramid.mp4"), "-c", "copy", *args, path)


def _slides(media: Media, path: Path) -> None:
    slide = "select='not(mod(n,40))'"
    media.derive(path, "-vf", slide, "-fps_mode", "vfr", *X264, "-bf", "0", *AAC, seconds=LENGTH_S)


PLAIN = "asm=0"
"""For libx264 where a file's sizes matter: it decides by rounding, which differs from one kind of processor to another."""
TINY = ("-vf", "scale=160:90", "-c:v", "libx264", "-preset", "veryfast", "-crf", "36", "-x264-params", PLAIN)
HEVC = ("-c:v", "libx265", "-preset", "ultrafast", "-an", "-f", "hevc", "-x265-params")
NO_SOUND = ("-an", *X264)
PYRAMID = (
    "-preset",
    "veryfast",
    "-bf",
    "4",
    "-g",
    "50",
    "-sc_threshold",
    "0",
    "-x264-params",
    f"b-pyramid=normal:b-adapt=0:{PLAIN}",
)
RECIPES: dict[str, Callable[[Media, Path], None]] = {
    "base.mp4": _base,
    "short.mp4": _from_base(*X264, "-bf", "2", *AAC),
    "short.ts": _from_base(*X264, "-bf", "2", *AAC, "-f", "mpegts"),
    "short.mov": _from_base("-c:v", "prores_ks", "-profile:v", "0", "-c:a", "pcm_s16le"),
    "short.avi": _from_base("-c:v", "mpeg4", "-bf", "2", "-q:v", "4", "-c:a", "libmp3lame"),
    "in_order.avi": _from_base(*X264, "-bf", "0", "-g", "40", "-c:a", "libmp3lame"),
    "packed.avi": _from_base("-c:v", "libxvid", "-bf", "2", "-g", "40", "-q:v", "4", "-c:a", "libmp3lame"),
    "h264.avi": _from_base(*X264, "-preset", "veryfast", "-bf", "3", "-g", "40", "-c:a", "libmp3lame"),
    "short.flv": _from_base(*X264, *AAC),
    # One reference frame whose pts lies two frames too early, as MPEG-PS writers are seen to leave them.
    "backwards.ts": _from_base(
        *("-c:v", "mpeg2video", "-q:v", "4", "-bf", "2", "-c:a", "mp2"),
        *("-bsf:v", "setts=pts=if(eq(N\\,100)\\,PTS-2*DURATION\\,PTS)", "-f", "mpegts"),
    ),
    # So small frames that many share a packet, of which one has a time: FFmpeg guesses the others', some of them back.
    "tiny.mpg": _from_base("-vf", "scale=160:90", "-c:v", "mpeg2video", "-q:v", "4", "-bf", "2", "-c:a", "mp2"),
    "tiny_h264.mpg": _from_base(*TINY, "-bf", "0", "-r", "12.5", "-c:a", "mp2", "-f", "vob"),
    "tiny_b.mpg": _from_base(*TINY, "-bf", "2", "-c:a", "mp2", "-f", "vob"),
    "short.mpg": _from_base("-c:v", "mpeg2video", "-q:v", "4", "-bf", "2", "-c:a", "mp2"),
    "short.webm": _from_base(
        "-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "-8", "-b:v", "400k", "-c:a", "libopus"
    ),
    "vp9.webm": _from_base(
        "-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "400k", "-c:a", "libopus"
    ),
    "tenbit.mkv": _from_base(
        "-c:v",
        "libx265",
        "-preset",
        "ultrafast",
        "-x265-params",
        "log-level=error",
        "-pix_fmt",
        "yuv420p10le",
        "-c:a",
        "flac",
    ),
    "open_gop.mp4": _from_base(
        *X264,
        "-bf",
        "3",
        "-g",
        "25",
        "-sc_threshold",
        "0",
        "-x264-params",
        "open-gop=1:b-adapt=0",
        *AAC,
        seconds=LENGTH_S,
    ),
    "pyramid.mp4": _from_base(*X264, *PYRAMID, *AAC, seconds=14),
    "pyramid.mkv": _remuxed(),
    "pyramid.avi": _remuxed(),  # every second place of its index is empty
    "pyramid.ts": _remuxed("-f", "mpegts"),
    "late_start.mp4": _remuxed("-output_ts_offset", "3.1"),
    "edited.mp4": _edited,
    "uneven.mp4": _from_base(
        *("-vf", "select='not(between(mod(n,30),10,19))'", "-fps_mode", "vfr"),
        *(*X264, "-bf", "2", "-g", "40", *AAC),
        seconds=LENGTH_S,
    ),
    "interlaced.mp4": _from_base(*X264, "-flags", "+ilme+ildct", "-x264-params", "tff=1", *AAC),
    "vfr.mp4": _from_base(
        "-vf", "select='not(between(mod(n,30),10,19))'", "-fps_mode", "vfr", *X264, "-bf", "2", *AAC, seconds=LENGTH_S
    ),
    "slides.mp4": _slides,
    # 50 frames a second, then 12.5: a frame lasts four times as long as the header says.
    "slowing.mkv": _from_base(
        *("-vf", "fps=50,select='lt(t\\,4)+not(mod(n\\,4))'", "-fps_mode", "vfr"), *X264, "-preset", "veryfast", *AAC
    ),
    "ntsc.mkv": _from_base("-r", "30000/1001", *X264, "-bf", "2", "-c:a", "libvorbis"),
    "offset.ts": _from_base(*X264, "-bf", "2", *AAC, "-output_ts_offset", "1000.7", "-f", "mpegts", seconds=LENGTH_S),
    "fragmented.mp4": _from_base(*X264, "-bf", "2", *AAC, "-movflags", FRAGMENTS),
    "indexed.mp4": _from_base(*X264, "-bf", "2", *AAC, "-movflags", f"{FRAGMENTS}+global_sidx+default_base_moof"),
    "misplaced.mp4": _from_base(*X264, "-bf", "2", *AAC, "-movflags", f"{FRAGMENTS}+global_sidx"),
    "silent.mp4": _from_base(*X264, "-af", "volume=0", *AAC),
    "mute.mp4": _from_base(*NO_SOUND),
    "rotated.mp4": _rotated,
    "anamorphic.mp4": _from_base("-vf", "scale=240:192,setsar=64/45", *X264, *AAC),
    "odd.mkv": _from_base(
        "-vf", "scale=321:181,setsar=1", "-c:v", "ffv1", "-pix_fmt", "yuv444p", "-c:a", "pcm_s16le", seconds=4
    ),
    "rgb.mov": _from_base("-c:v", "qtrle", "-pix_fmt", "rgb24", "-c:a", "pcm_s16le", seconds=4),
    "interlaced.mpg": _from_base(
        "-vf", "tinterlace=interleave_top", "-c:v", "mpeg2video", "-flags", "+ilme+ildct", "-q:v", "4", "-c:a", "mp2"
    ),
    "surround.mkv": _from_base(*X264, "-af", "pan=5.1|FL=FL|FR=FR|FC=FL|BL=FR|BR=FL", "-c:a", "ac3"),
    "mono.mp4": _from_base(*X264, "-ac", "1", "-ar", "22050", *AAC),
    "full_range.mp4": _from_base("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuvj420p", *AAC),
    "short.gif": _from_base("-an", "-vf", "fps=10,scale=160:-2", seconds=6),
    "truncated.mp4": _truncated,
    "headless.mp4": _headless,
    "damaged.ts": _damaged,
    "hole.ts": _hole,
    "joined.ts": _joined,
    "wrong_times.ts": _wrong_times,
    "cover.mp4": _cover,
    "two_sounds.mkv": _two_sounds,
    "late_sound.mp4": _late_sound,
    "short_sound.mp4": _short_sound,
    "raw.h264": _raw,
    "raw12.h264": _from_base("-vf", "fps=12.5", *X264, "-an", "-f", "h264"),
    "raw30.h264": _from_base("-vf", "fps=30", *X264, "-bf", "2", "-an", "-f", "h264"),
    "raw24.hevc": _from_base("-vf", "fps=24", *HEVC, "log-level=error"),
    "raw29.m2v": _from_base(
        "-vf", "fps=30000/1001", "-an", "-c:v", "mpeg2video", "-q:v", "4", "-bf", "2", "-f", "mpeg2video"
    ),
    "untimed.hevc": _from_base("-vf", "fps=30", *HEVC, "log-level=error:vui-timing-info=0"),
    "small.mjpeg": _from_base("-an", "-c:v", "mjpeg", "-f", "mjpeg"),
    "large.mjpeg": _from_base("-an", "-vf", "scale=1280:720", "-c:v", "mjpeg", "-q:v", "2", "-f", "mjpeg"),
    "animated.webp": _from_base("-an", "-vf", "scale=64:-2", "-loop", "0", seconds=1),
    "sound_only.m4a": _sound_only,
    "picture.png": _picture,
    "black.mp4": _black,
}
