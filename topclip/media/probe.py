"""Read a file's facts: container, the picture and sound that clips are made of, true duration. Decodes one frame.

`python -m topclip.media.probe FILE` prints them as JSON, or an error document with exit code 1. The web server runs
that as a child process, since a parser of hostile files does not belong inside it; so this module must stay quick to
load.
"""

import contextlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from av import time_base as AV_TIME_BASE
from av.audio.stream import AudioStream as AvAudio
from av.container import InputContainer
from av.error import FFmpegError
from av.format import ContainerFormat
from av.format import Flags as FormatFlags
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream as AvVideo

from topclip.errors import (
    ProbeError,
    SourceTooLarge,
    StorageUnavailable,
    TopClipError,
    UnsupportedMedia,
)
from topclip.media.colour import colour_of
from topclip.media.ending import end_of_picture, header_duration_s
from topclip.media.guard import AUDIO_FORMATS, STILL_FORMATS, decoder_pixels
from topclip.media.limits import FLOOR_S, READ_BYTES_PER_S, no_memory, timed, within_memory
from topclip.media.opening import MJPEG_FORMAT, open_media, reason_of
from topclip.media.packets import read_packets
from topclip.media.part import Part
from topclip.media.timeline import RESTARTING_FORMATS, is_far_ahead
from topclip.model.source import AudioStream, SourceInfo, VideoStream

MAX_UNDECODABLE = 400
"""Packets that may fail before the first frame shows: a recording that begins between key frames."""
MAX_SILENT = 5000
"""Packets that may be decoded to nothing before it."""
BEGINNING = Part(0.0, 300.0)
"""So many packets last less: where the first frame is looked for."""
MAX_SIDE_PX = 16_384
"""H.264 ends there."""
SOUND_RATES_HZ = range(1000, 3_000_001)
"""Beyond them filters take gigabytes, and nobody hears anything."""
WEBP_FORMAT = "webp_pipe"
FEWEST_JPEGS = 4
"""Phones write a photo as two or three pictures."""
DEFAULT_RATE = Fraction(25)
LEAST_LEAD_S, MOST_LEAD_S = 0.05, 3600.0
"""Of a file before its first frame: less is priming of the sound, more a clock that is wrong."""
FIELD_ORDERS = range(2, 6)
"""FFmpeg's numbers of a stream whose frames are two fields each."""
NO_PTS_FORMAT, NO_PTS_CODECS = "avi", frozenset({"h264", "hevc", "vvc"})
"""AVI stores no presentation times, and for these codecs FFmpeg makes up some that are not in order."""
PACKED = re.compile(rb"DivX\d+(?:b|Build)\d+p")
"""So DivX and XviD say of themselves that they put two pictures into one packet; their times are guessed wrong, too."""


def probe(
    path: Path,
    *,
    sha256: str = "",
    name: str = "",
    max_pixels: int | None = None,
    tick: Callable[[], None] = lambda: None,
) -> SourceInfo:
    """Read what a source holds.

    sha256: hex digest of the content where known. name: for people; the file's own by default. max_pixels: what will be
    allowed; nothing much larger is decoded. tick(): called for each packet that is looked at; may raise to stop.
    Raises: SourceNotFound; UnsupportedMedia if it is not a video; ProbeError if it is damaged beyond reading; SourceTooLarge;
    MediaLimit; StorageUnavailable.
    """
    with open_media(path, max_pixels, parts=[BEGINNING]) as container, within_memory("decoding the source"):
        tick = timed(tick, FLOOR_S + path.stat().st_size / READ_BYTES_PER_S, "reading the source")
        stream = _video_stream(container, path)
        if max_pixels is not None and stream.width * stream.height > decoder_pixels(max_pixels):
            raise _too_many_pixels(stream.width, stream.height, max_pixels)
        video = _describe_video(container.format, stream, _first_frame(container, stream, max_pixels, tick))
        sound = audio_stream(container)
        audio = None if sound is None else _describe_audio(sound)
        format_name, n_streams, timecode = container.format.name, len(container.streams), _timecode(container)
        base_fps = str(stream.base_rate) if stream.base_rate else None
        lead_s, header_s = _lead_s(container, video), header_duration_s(container, video)
    end = end_of_picture(path, video, header_s, max_pixels, tick)
    if end.n_packets < (FEWEST_JPEGS if format_name == MJPEG_FORMAT else 2):
        raise UnsupportedMedia("the source is a still image, no moving picture", {"field": "source"})
    if end.restart_s is not None:
        raise UnsupportedMedia(
            f"the source's clock starts anew after {end.restart_s:.1f} s: it is several recordings joined",
            {"field": "source", "hint": "give it one clock: ffmpeg -i IN -map 0 -c copy OUT.mkv"},
        )
    return SourceInfo(
        sha256=sha256,
        size_bytes=path.stat().st_size,
        container=format_name,
        duration_s=round(end.duration_s, 6),
        video=video,
        audio=audio,
        n_streams=n_streams,
        timecode=timecode,
        base_fps=base_fps,
        lead_s=lead_s,
        name=name or path.name,
    )


def _lead_s(container: InputContainer, video: VideoStream) -> float:
    """How long the file lasts before its first frame; none where the picture has no times, or it is what a coder needs."""
    if container.start_time is None or video.is_bare or video.dts_lag is not None:
        return 0.0
    lead_s = float(video.start_pts * video.tick - Fraction(container.start_time, AV_TIME_BASE))
    return round(lead_s, 3) if LEAST_LEAD_S <= lead_s <= MOST_LEAD_S else 0.0


def _timecode(container: InputContainer) -> str | None:
    """What a camera counted the first frame as: of the picture, of a track of its own, or of the whole."""
    found = (entry.metadata.get("timecode") for entry in (*container.streams.video, *container.streams, container))
    return next((text for text in found if text), None)


def audio_stream(container: InputContainer) -> AvAudio | None:
    """The sound that goes with the picture: the default one, else most channels, else the first."""
    usable = [s for s in container.streams.audio if _has_decoder(s) and s.rate in SOUND_RATES_HZ and s.channels]
    return max(usable, key=lambda s: (bool(s.disposition & Disposition.default), s.channels, -s.index), default=None)


def _video_stream(container: InputContainer, path: Path) -> AvVideo:
    """The moving picture: the default one, else most pixels, else the first. Cover art is none."""
    aside = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
    moving = [s for s in container.streams.video if not s.disposition & aside]
    usable = [s for s in moving if _has_decoder(s) and s.width and s.height]
    formats = set(container.format.name.split(","))
    if WEBP_FORMAT in formats and _is_animated_webp(path):
        raise UnsupportedMedia(
            "the source is an animated WebP image, which is not read", {"field": "source", "hint": "convert it to MP4"}
        )
    if formats & set(STILL_FORMATS.split(",")):
        raise UnsupportedMedia("the source is a still image, no moving picture", {"field": "source"})
    if not usable and not any(_has_decoder(s) for s in moving) and moving:
        raise UnsupportedMedia(
            "the picture's codec is not supported", {"field": "source", "hint": "convert it to H.264"}
        )
    if not usable and moving:
        raise UnsupportedMedia(
            "the size of the source's picture is not told: its headers are missing",
            {"field": "source", "hint": "take the file as it was recorded, from its beginning"},
        )
    if not usable:
        sound = bool(container.streams.audio) or bool(formats & set(AUDIO_FORMATS.split(",")))
        what = "sound only, there is no moving picture" if sound else "no moving picture"
        raise UnsupportedMedia(f"the source has {what}", {"field": "source", "hint": "send a video"})
    return max(usable, key=lambda s: (bool(s.disposition & Disposition.default), s.width * s.height, -s.index))


def _is_animated_webp(path: Path) -> bool:
    """Whether the header of a WebP file says so: bit 1 of its extended features."""
    with path.open("rb") as file:
        head = file.read(21)
    return head[12:16] == b"VP8X" and len(head) == 21 and bool(head[20] & 2)


def _has_decoder(stream: AvVideo | AvAudio) -> bool:
    return stream.codec_context is not None


class _First(NamedTuple):
    """The first frame that decodes, the decoding time of the key packet that it came out of, and when the one behind it comes
    out, where presentation times are none.
    """

    frame: VideoFrame
    key_dts: int | None
    next_dts: int | None = None


def _first_frame(
    container: InputContainer, stream: AvVideo, max_pixels: int | None, tick: Callable[[], None]
) -> _First:
    """The first frame that decodes and whose time can be right, else the first that decodes."""
    stream.codec_context.thread_count = 1
    stream.codec_context.options = {} if max_pixels is None else {"max_pixels": str(decoder_pixels(max_pixels))}
    frames = _frames(container, stream, tick)
    first = next(frames)
    if _has_no_pts(container.format, stream):
        with contextlib.suppress(ProbeError):  # it is the only one
            first = first._replace(next_dts=next(frames).frame.dts)
        return first
    if not _is_time_wrong(container, stream, first.frame):
        return first
    try:
        return next(other for other in frames if not _is_time_wrong(container, stream, other.frame))
    except ProbeError:
        return first


def _frames(container: InputContainer, stream: AvVideo, tick: Callable[[], None]) -> Iterator[_First]:
    """The frames from the start; packets that do not decode are passed over up to a bound. Ends with an error."""
    failed, key_dts = 0, None
    reason: BaseException | None = None
    try:
        for n, packet in enumerate(read_packets(container, stream, on_fault=lambda _: tick())):
            tick()
            if n > MAX_SILENT:
                break
            if key_dts is None or (packet.is_keyframe and failed):
                key_dts = packet.dts
            try:
                for frame in packet.decode():
                    yield _First(frame, key_dts)
            except (FFmpegError, ValueError) as err:
                failed, reason = failed + 1, err
                if failed > MAX_UNDECODABLE:
                    break
    except (FFmpegError, OSError) as err:
        raise ProbeError(f"the source breaks off before its first picture: {reason_of(err)}") from err
    if isinstance(reason, MemoryError):
        raise no_memory("decoding the source")
    raise ProbeError("no picture of the source can be decoded", {"field": "source", "hint": "the file is damaged"})


def _is_time_wrong(container: InputContainer, stream: AvVideo, frame: VideoFrame) -> bool:
    """Whether damage has put the frame far ahead. The source's time would begin there."""
    if container.format.name not in RESTARTING_FORMATS or frame.pts is None or frame.dts is None:
        return False
    return is_far_ahead(frame.pts, frame.dts, _rate(stream, is_bare=False), stream.time_base or 1 / DEFAULT_RATE)


def _has_no_pts(container_format: ContainerFormat, stream: AvVideo) -> bool:
    if container_format.name != NO_PTS_FORMAT:
        return False
    context = stream.codec_context
    return context.codec.canonical_name in NO_PTS_CODECS or bool(PACKED.search(context.extradata or b""))


def _describe_video(container_format: ContainerFormat, stream: AvVideo, first: _First) -> VideoStream:
    frame, key_dts, next_dts = first
    is_bare = bool(container_format.flags & FormatFlags.no_timestamps.value)  # type: ignore[operator]  # an int in truth
    rotation = (-round(frame.rotation / 90) * 90) % 360
    aspect = _pixel_aspect(stream, frame)
    width, height = max(1, round(frame.width * aspect)), frame.height
    if rotation in (90, 270):
        width, height = height, width
    tick = stream.time_base or 1 / DEFAULT_RATE
    codec = stream.codec_context.codec.canonical_name
    has_no_pts = not is_bare and _has_no_pts(container_format, stream)
    rate = _rate(stream, is_bare=is_bare)
    if has_no_pts and stream.base_rate and rate % stream.base_rate == 0:  # every so many places of its index are empty
        rate = Fraction(stream.base_rate)
    start_pts, lag = frame.pts if frame.pts is not None else (frame.dts or 0), None
    if is_bare:
        start_pts = 0
    elif has_no_pts:
        start_pts = key_dts or 0
        # FFmpeg leaves a place empty behind the first frame: by the second one those that follow are counted without a gap.
        comes_out = frame.dts if next_dts is None else next_dts - max(1, round(1 / (rate * tick)))
        lag = 0 if comes_out is None else comes_out - start_pts
    return VideoStream(
        index=stream.index,
        codec=codec,
        width=frame.width,
        height=frame.height,
        rotation=rotation,
        sample_aspect=_fraction(aspect),
        display_width=width,
        display_height=height,
        fps=_fraction(rate),
        time_base=_fraction(tick),
        start_pts=start_pts,
        dts_lag=lag,
        is_bare=is_bare,
        pixel_format=frame.format.name,
        bit_depth=max(component.bits for component in frame.format.components),
        interlaced=frame.interlaced_frame or int(stream.codec_context.field_order) in FIELD_ORDERS,
        colour=colour_of(frame),
    )


def _pixel_aspect(stream: AvVideo, frame: VideoFrame) -> Fraction:
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    plausible = aspect is not None and Fraction(1, 16) <= aspect <= 16
    return Fraction(aspect) if plausible and aspect is not None and frame.width * aspect >= 1 else Fraction(1)


def _rate(stream: AvVideo, *, is_bare: bool) -> Fraction:
    """Average frame rate. Of a bare stream FFmpeg has no average but its default, and its guess may be of fields: 12 is 24."""
    first = stream.codec_context.framerate if is_bare else stream.average_rate
    for rate in (first, stream.guessed_rate, stream.base_rate):
        if rate is not None and Fraction(1, 100) <= rate <= 1000:
            return Fraction(rate)
    return DEFAULT_RATE


def _describe_audio(stream: AvAudio) -> AudioStream:
    context = stream.codec_context
    codec = context.codec.canonical_name
    return AudioStream(index=stream.index, codec=codec, sample_rate_hz=context.rate, channels=context.channels)


def _fraction(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}"


def check_limits(info: SourceInfo, *, max_duration_s: float | None, max_pixels: int | None) -> None:
    """Refuse a source that is longer or larger than this server takes; None: no limit. Raises: SourceTooLarge."""
    if max_duration_s is not None and info.duration_s > max_duration_s:
        raise SourceTooLarge(
            f"the source lasts {info.duration_s:.0f} s, this server takes {max_duration_s:.0f} s at most",
            {"field": "source", "hint": "cut it, or raise TOPCLIP_MAX_DURATION_S"},
        )
    video = info.video
    if (
        max_pixels is not None
        and max(video.width * video.height, video.display_width * video.display_height) > max_pixels
    ):
        raise _too_many_pixels(video.width, video.height, max_pixels)
    if max(video.width, video.height, video.display_width, video.display_height) > MAX_SIDE_PX:
        raise SourceTooLarge(
            f"the source's picture is {video.width}x{video.height}, no side may be longer than {MAX_SIDE_PX} pixels",
            {"field": "source", "hint": "scale it down"},
        )


def _too_many_pixels(width: int, height: int, max_pixels: int) -> SourceTooLarge:
    return SourceTooLarge(
        f"the source's picture is {width}x{height}, this server takes {max_pixels} pixels at most",
        {"field": "source", "hint": "scale it down, or raise TOPCLIP_MAX_PIXELS"},
    )


def verdict(path: str, max_duration_s: float | None = None, max_pixels: int | None = None) -> dict[str, str] | None:
    """The code and the message of what speaks against a file as a source, None if nothing does."""
    try:
        check_limits(probe(Path(path), max_pixels=max_pixels), max_duration_s=max_duration_s, max_pixels=max_pixels)
    except StorageUnavailable:
        return None  # that says nothing of the file
    except TopClipError as err:
        return {"code": err.code, "message": err.message}
    return None


def fault(path: str, max_duration_s: float | None = None, max_pixels: int | None = None) -> str | None:
    """The message alone of `verdict`."""
    found = verdict(path, max_duration_s, max_pixels)
    return None if found is None else found["message"]


def main(argv: list[str]) -> int:
    """Print the probe of a file, or why there is none."""
    out = sys.stdout
    try:
        info = probe(Path(argv[0]))
    except TopClipError as err:
        json.dump({"code": err.code, "message": err.message, "detail": err.detail}, out)
        return 1
    json.dump(info.to_dict(), out)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
