"""The ffmpeg command that makes one clip. Pure: builds arguments, runs nothing.

Frames are chosen by their pts in the source's own time base, so the choice is exact whatever the frame rate does. Seeking
only gets near; what the demuxer hands over before the range is decoded and dropped.
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from topclip.media.colour import clip_filter, reading_filter, scale_filter
from topclip.media.glide import crop_place
from topclip.media.guard import file_url, input_args
from topclip.media.limits import Allowance, work_s
from topclip.media.opening import MJPEG_FORMAT
from topclip.media.sound import CLAMP
from topclip.media.timeline import leap_test, number_filter, timeline_filter
from topclip.model.clip import ClipSpec
from topclip.model.framing import Outlook
from topclip.model.geometry import Geometry, clip_geometry
from topclip.model.request import Fit, Quality
from topclip.model.source import SLOW_S, SourceInfo

MAX_GAIN_DB = 30.0
"""More gain than this makes noise, not sound."""
PEAK_LIMIT_DB = -1.5
"""Of the samples, to begin with: mostly what lies between them, and what AAC adds, stays below -1 dB."""
EVEN = 1.02
"""A source whose base rate is more times its rate lacks pictures, or varies."""
AUDIO_RATE_HZ = 48_000
AUDIO_BITRATE = "160k"
EVEN_FORM = f"aformat=sample_fmts=fltp:channel_layouts=stereo:sample_rates={AUDIO_RATE_HZ}"
BLUR_SHRINK = 8
INTERLACEABLE = frozenset({"h264", "mpeg2video", "vc1", "mpeg4", "dvvideo", "prores", "dnxhd", "ffv1", "mjpeg"})
"""Codecs that flag each frame, whether it is two fields: those that are lose their comb, others pass as they are."""
LEAST_ROOM_BYTES = 64 << 20
"""For sound and headers."""

X264 = {
    Quality.DRAFT: ("superfast", "27"),
    Quality.STANDARD: ("veryfast", "22"),
    Quality.HIGH: ("slow", "19"),
}


@dataclass(frozen=True)
class Level:
    """How the sound is brought to its loudness: a gain, then a limit of the samples' peaks, dB.

    search: how FFmpeg's AAC coder looks for its steps. The usual way may make a peak of its own where a clip begins, 4 dB above
    any limit; the quick one does not, and sounds a little worse.
    """

    gain_db: float
    limit_db: float = PEAK_LIMIT_DB
    search: Literal["twoloop", "fast"] = "twoloop"


@dataclass(frozen=True)
class Attempt:
    """What may differ from one try to the next.

    level: for the sound. seek_lead_s: how long before the range decoding begins, None: with the file. is_steady: filters are
    not set up anew where size or colours change, as where recordings were joined: what they hold of the one before is lost.
    is_even: the sound is brought to one form beforehand, for where its rate or its channels change.
    """

    level: Level
    seek_lead_s: float | None
    is_steady: bool = False
    is_even: bool = False


def first_level(spec: ClipSpec) -> Level:
    """By the loudness that analysis measured."""
    return Level(first_gain_db(spec))


def first_gain_db(spec: ClipSpec) -> float:
    """The gain that brings the measured range to the wanted loudness; none if it is silent."""
    return 0.0 if spec.source_loudness is None else limited_gain(spec.loudness - spec.source_loudness)


def limited_gain(gain_db: float) -> float:
    """The gain within what is sensible, dB."""
    return round(min(MAX_GAIN_DB, max(-MAX_GAIN_DB, gain_db)), 2)


def clip_allowance(info: SourceInfo, spec: ClipSpec, attempt: Attempt, memory_bytes: int | None) -> Allowance:
    """What making the clip may use. Its file is never longer than its pictures would be without any compression."""
    lead_s = spec.start_s if attempt.seek_lead_s is None else attempt.seek_lead_s
    read_s, pixels = lead_s + spec.end_s - spec.start_s, info.video.width * info.video.height
    canvas = clip_geometry(info.video, spec).canvas
    raw_bytes = spec.frames * canvas.width * canvas.height * 3 // 2
    n_frames = spec.frames + lead_s * float(info.video.rate)
    return Allowance(memory_bytes, LEAST_ROOM_BYTES + raw_bytes, work_s(read_s, n_frames * pixels))


def clip_args(
    source: Path,
    info: SourceInfo,
    spec: ClipSpec,
    attempt: Attempt,
    *,
    out: Path,
    threads: int,
    max_pixels: int,
    overlay: str | None = None,
) -> list[str]:
    """Arguments of ffmpeg that make the clip as an mp4.

    max_pixels: largest picture that is allowed. overlay: filters that draw on the finished pictures, in the clip's own time.
    """
    args = ["-copyts", *_input(source, info, spec, attempt, max_pixels), "-map", f"0:{info.video.index}"]
    args += ["-vf", video_filter(info, spec, attempt, overlay), *_video_codec(info, spec)]
    if info.audio is not None:
        args += _sound(info.audio.index, audio_filter(info, spec, attempt.level))
    args += ["-threads", str(threads), "-filter_threads", str(threads), "-max_muxing_queue_size", "9999"]
    return [*args, *_mp4(out)]


def sound_args(
    source: Path, info: SourceInfo, spec: ClipSpec, attempt: Attempt, *, out: Path, max_pixels: int
) -> list[str]:
    """Arguments of ffmpeg that make a clip's sound alone."""
    assert info.audio is not None
    args = ["-copyts", *_input(source, info, spec, attempt, max_pixels)]
    args += _sound(info.audio.index, audio_filter(info, spec, attempt.level))
    return [*args, *_sound_alone(attempt, out)]


def even_args(
    source: Path, info: SourceInfo, spec: ClipSpec, attempt: Attempt, *, out: Path, max_pixels: int
) -> list[str]:
    """Arguments of ffmpeg that write the range's sound in one form, at its times from the range's start.

    Where the form changes, ffmpeg sets up its filters anew, and one that fills what is missing begins at the start again.
    """
    assert info.audio is not None
    chain = ",".join([*_of_range(info, spec), f"aresample={AUDIO_RATE_HZ}:async=1", EVEN_FORM])
    args = ["-copyts", *_input(source, info, spec, attempt, max_pixels), "-map", f"0:{info.audio.index}", "-af", chain]
    return [*args, "-vn", "-c:a", "pcm_f32le", "-f", "nut", file_url(out)]


def made_even_args(even: Path, spec: ClipSpec, attempt: Attempt, out: Path) -> list[str]:
    """The same as `sound_args`, from what `even_args` wrote."""
    chain = ",".join(_filled(spec, attempt.level))
    return ["-copyts", *input_args(even, None), *_sound(0, chain), *_sound_alone(attempt, out)]


def _sound_alone(attempt: Attempt, out: Path) -> list[str]:
    return ["-vn", "-aac_coder", attempt.level.search, *_mp4(out)]


def _input(source: Path, info: SourceInfo, spec: ClipSpec, attempt: Attempt, max_pixels: int) -> list[str]:
    form = ("-f", MJPEG_FORMAT) if info.container == MJPEG_FORMAT else ()
    steady = ("-reinit_filter:v", "0") if attempt.is_steady else ()
    return [*_seek(info, spec, attempt), *form, *steady, *input_args(source, max_pixels)]


def _sound(index: int, chain: str) -> list[str]:
    code = ["-c:a", "aac", "-b:a", AUDIO_BITRATE, "-ar", str(AUDIO_RATE_HZ), "-ac", "2"]
    return ["-map", f"0:{index}", "-af", chain, *code]


def _mp4(out: Path) -> list[str]:
    args = ["-sn", "-dn", "-map_metadata", "-1", "-map_chapters", "-1", "-fflags", "+bitexact"]
    return [*args, "-movflags", "+faststart", "-f", "mp4", file_url(out)]


def _seek(info: SourceInfo, spec: ClipSpec, attempt: Attempt) -> list[str]:
    if attempt.seek_lead_s is None:
        return []
    at_s = float(spec.first_pts * info.video.tick) - attempt.seek_lead_s
    return ["-seek_timestamp", "1", "-noaccurate_seek", "-ss", f"{at_s:.6f}"]


def video_filter(info: SourceInfo, spec: ClipSpec, attempt: Attempt, overlay: str | None = None) -> str:
    """Choose the frames, start them at 0, make them upright (ffmpeg has turned them), square-pixelled and sized."""
    video, geometry = info.video, clip_geometry(info.video, spec)
    chain = chosen_frames(info, spec, is_from_start=attempt.seek_lead_s is None)
    if attempt.is_steady:
        size = (video.width, video.height) if video.rotation % 180 == 0 else (video.height, video.width)
        chain.append(f"scale={size[0]}:{size[1]}")
    chain += reading_filter(video)
    if video.interlaced or video.codec in INTERLACEABLE:
        chain.append("bwdif=mode=send_frame:deint=interlaced")
    fitted = _fitted(geometry, spec, info)
    drawn = [overlay] if overlay else []
    return ",".join([*chain, fitted, "setsar=1", clip_filter(video), *drawn, f"settb={video.time_base}"])


def chosen_frames(info: SourceInfo, spec: ClipSpec | Outlook, *, is_from_start: bool) -> list[str]:
    """Filters that let the frames of the range through, their times counted from its first one.

    is_from_start: whether decoding begins with the file.
    """
    video = info.video
    return [
        f"settb={video.time_base}",
        *([number_filter(video)] if video.is_bare or video.dts_lag is not None else []),
        timeline_filter(video, leap_test(info, spec, is_from_start=is_from_start)),
        f"trim=start_pts={spec.first_pts}:end_pts={spec.end_pts}",
        f"setpts='max(PTS,{spec.start_pts})-{spec.start_pts}'",
    ]


def _fitted(geometry: Geometry, spec: ClipSpec, info: SourceInfo) -> str:
    crop, scaled, canvas = geometry
    scale = scale_filter(info.video, scaled)
    if scaled == canvas:
        if (crop.width, crop.height) == (info.video.display_width, info.video.display_height):
            return scale
        width, height = crop.width / info.video.display_width, crop.height / info.video.display_height
        where = crop_place(spec.keyframes, spec.start_s)
        return f"crop=w=iw*{width:.9f}:h=ih*{height:.9f}{where},{scale}"
    if spec.fit is Fit.PAD:
        return f"{scale},pad={canvas.width}:{canvas.height}:(ow-iw)/2:(oh-ih)/2"
    small = f"{max(2, canvas.width // BLUR_SHRINK)}:{max(2, canvas.height // BLUR_SHRINK)}"
    behind = (
        f"scale={small}:force_original_aspect_ratio=increase:flags=area,setsar=1,crop={small},"
        f"gblur=sigma=4,scale={canvas.width}:{canvas.height}:flags=bilinear"
    )
    return f"{scale},setsar=1,split[a][front];[a]{behind}[behind];[behind][front]overlay=(W-w)/2:(H-h)/2"


def _video_codec(info: SourceInfo, spec: ClipSpec) -> list[str]:
    preset, crf = X264[spec.quality]
    # A muxer guesses how long the last frame lasts; where frames come unevenly it guesses wrong. Which packet is shown
    # last is not known here, so each one claims to last to the end: mp4 keeps that of the last in decoding order, and the
    # end of the one shown last, and takes all else from the next one's time. Players take the shorter of that end and of
    # all packets' time in decoding order, so the last packet claims what makes that as long, if that is more. One number can
    # be both only where pictures are decoded as long before they are shown at the end as at the start.
    length = spec.end_pts - spec.start_pts
    to_end = f"{length}-PTS+STARTPTS"
    lasts = f"if(eq(N\\,{spec.frames - 1})\\,max({length}-DTS+STARTDTS\\,{to_end})\\,{to_end})"
    return [
        *("-bsf:v", f"setts=pts=PTS:dts=DTS:duration={lasts}"),
        *("-fps_mode", "passthrough", "-enc_time_base:v", info.video.time_base.replace("/", ":")),
        *("-c:v", "libx264", "-preset", preset, "-crf", crf, *(("-bf", "0") if _is_uneven(info, spec) else ())),
        *("-profile:v", "high", "-flags:v", "+bitexact"),
    ]


def _is_uneven(info: SourceInfo, spec: ClipSpec) -> bool:
    """Whether pictures of a clip may be shown for unlike times, some of them for long."""
    rate = info.video.rate
    n_if_even = (spec.end_pts - spec.start_pts) * info.video.tick * rate
    varies = info.base_fps is not None and Fraction(info.base_fps) > EVEN * rate
    return varies or n_if_even > EVEN * spec.frames + 1 or spec.held_pts is not None or 1 / rate > SLOW_S


def audio_filter(info: SourceInfo, spec: ClipSpec, level: Level) -> str:
    """Choose the sound of the range to the sample, fill what is missing with silence, bring it to the wanted loudness."""
    return ",".join([*_of_range(info, spec), *_filled(spec, level)])


def _of_range(info: SourceInfo, spec: ClipSpec) -> list[str]:
    start_s = float(spec.start_pts * info.video.tick)
    length_s = spec.end_s - spec.start_s
    return [f"atrim=start={start_s:.9f}:end={start_s + length_s:.9f}", f"asetpts=PTS-{start_s:.9f}/TB"]


def _filled(spec: ClipSpec, level: Level) -> list[str]:
    length_s = spec.end_s - spec.start_s
    chain = [
        f"aresample={AUDIO_RATE_HZ}:async=1:first_pts=0",
        EVEN_FORM,
        *(f"{name}={options}" for name, options in CLAMP),
    ]
    if spec.source_loudness is not None:
        limit = 10 ** (level.limit_db / 20)
        chain += [f"volume={level.gain_db:.2f}dB", f"alimiter=limit={limit:.6f}:level=0:attack=5:release=60:latency=1"]
    return [*chain, f"apad=whole_dur={length_s:.6f}", f"atrim=end={length_s:.6f}"]
