"""Look at a rendered clip as a stranger would: open it anew, decode it to the end, compare with what was wanted."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from numpy.typing import NDArray

from topclip.errors import CheckFailed, TopClipError
from topclip.media.geometry import Size, plan_geometry
from topclip.media.limits import within_memory
from topclip.media.opening import open_media
from topclip.media.sound import measure_file
from topclip.media.thumb import Thumbs
from topclip.model.clip import Check, ClipSpec
from topclip.model.source import SourceInfo

LOUDNESS_TOLERANCE_LU = 1.0
START_TOLERANCE_S = 0.03
AUDIO_END_TOLERANCE_S = 0.1
BLACK_LEVEL = 4.0
"""Mean grey of a frame, 0-255, below which it counts as black."""
DAMAGED_HINT = (
    "the source may be damaged here: choose another range, or convert it: ffmpeg -i IN -c:v libx264 -c:a aac OUT.mkv"
)


@dataclass
class Pictures:
    """What decoding the picture showed. Seconds; brightest: largest mean grey of a frame; fault: why it broke off."""

    n_frames: int = 0
    start_s: float = 0.0
    end_s: float = 0.0
    brightest: float = 0.0
    fault: str | None = None


@dataclass(frozen=True)
class Found:
    """What a file holds. audio_s: start and end of the sound in seconds, None without. momentary_lufs: float64."""

    codecs: tuple[str, ...]
    pixel_format: str
    size: Size
    pictures: Pictures
    audio_s: tuple[float, float] | None
    momentary_lufs: NDArray[np.float64]


def look(path: Path, tick: Callable[[], None]) -> Found:
    """Decode a clip to the end.

    tick(): called for each frame; may raise to stop. Raises: CheckFailed if it cannot be opened or has no picture.
    """
    with _opened(path) as container, within_memory("checking the clip"):
        if not container.streams.video:
            raise CheckFailed("no picture came out of this range of the source", {"hint": DAMAGED_HINT})
        context = container.streams.video[0].codec_context
        audio = next(iter(container.streams.audio), None)
        audio_s = None
        if audio is not None:
            unit = audio.time_base or Fraction(1, 48_000)
            start = float((audio.start_time or 0) * unit)
            audio_s = (start, start + float((audio.duration or 0) * unit))
        return Found(
            codecs=tuple(s.codec_context.name for s in (*container.streams.video, *container.streams.audio)),
            pixel_format=str(context.pix_fmt),
            size=Size(context.width, context.height),
            pictures=_watch(container, tick),
            audio_s=audio_s,
            momentary_lufs=np.array([b.momentary_lufs for b in measure_file(path, tick)]),
        )


def _opened(path: Path) -> InputContainer:
    try:
        return open_media(path)
    except TopClipError as err:
        raise CheckFailed(f"the clip cannot be read: {err.message}", {"hint": DAMAGED_HINT}) from err


def _watch(container: InputContainer, tick: Callable[[], None]) -> Pictures:
    video = container.streams.video[0]
    video.codec_context.thread_count = 1
    unit_s = float(video.time_base or Fraction(1))
    thumbs, seen = Thumbs(), Pictures()
    try:
        for frame in container.decode(video):
            tick()
            at_s = (frame.pts or 0) * unit_s
            if not seen.n_frames:
                seen.start_s = at_s
            seen.n_frames += 1
            seen.end_s = at_s + (frame.duration or 0) * unit_s  # shown at least so long
            seen.brightest = max(seen.brightest, float(np.mean(thumbs.of(frame))))
    except FFmpegError as err:
        seen.fault = str(err)
    if video.duration:
        seen.end_s = seen.start_s + video.duration * unit_s
    return seen


def check_clip(
    found: Found, info: SourceInfo, spec: ClipSpec, *, loudness: float | None, may_be_black: bool, at_limit: bool
) -> tuple[Check, ...]:
    """Compare a file with its spec.

    loudness: integrated, LUFS, None if silent. may_be_black: the source's range is black itself. at_limit: the gain is
    as large as it may be, so that a quieter clip than wanted is right.
    """
    return tuple(_picture_checks(found, info, spec, may_be_black=may_be_black)) + tuple(
        _sound_checks(found, info, spec, loudness=loudness, at_limit=at_limit)
    )


def _picture_checks(found: Found, info: SourceInfo, spec: ClipSpec, *, may_be_black: bool) -> Iterator[Check]:
    codecs = ("h264",) if info.audio is None else ("h264", "aac")
    yield _equal("streams", list(found.codecs), list(codecs))
    yield _equal("pixel_format", found.pixel_format, "yuv420p")
    size = plan_geometry(info.video, spec.aspect, spec.fit).canvas
    yield _equal("size", list(found.size), list(size))
    yield Check(name="decodes", ok=found.pictures.fault is None, found=found.pictures.fault, wanted=None)
    yield _equal("frames", found.pictures.n_frames, spec.frames)
    frame_s = float(1 / info.video.rate)
    yield _near("duration", found.pictures.end_s - found.pictures.start_s, spec.end_s - spec.start_s, frame_s)
    bright = found.pictures.brightest
    yield Check(name="not_black", ok=bright > BLACK_LEVEL or may_be_black, found=round(bright, 1), wanted=BLACK_LEVEL)


def _sound_checks(
    found: Found, info: SourceInfo, spec: ClipSpec, *, loudness: float | None, at_limit: bool
) -> Iterator[Check]:
    if info.audio is None or found.audio_s is None:
        return
    start_s, end_s = found.audio_s
    yield _near("starts_together", start_s, found.pictures.start_s, START_TOLERANCE_S)
    yield _near("ends_together", end_s, found.pictures.start_s + spec.end_s - spec.start_s, AUDIO_END_TOLERANCE_S)
    if spec.source_loudness is None:
        return
    difference = -np.inf if loudness is None else loudness - spec.loudness
    is_ok = abs(difference) <= LOUDNESS_TOLERANCE_LU or (at_limit and loudness is not None and difference < 0)
    heard = None if loudness is None else round(loudness, 2)
    yield Check(name="loudness", ok=bool(is_ok), found=heard, wanted=spec.loudness)


def in_words(check: Check) -> str:
    """What a failed check says of the clip."""
    match check.name:
        case "decodes":
            return f"it breaks off: {check.found}"
        case "not_black":
            return "it is black, although the source is not"
        case "loudness" if check.found is None:
            return "it is silent, although the source can be heard here"
        case "loudness":
            return f"its loudness is {check.found} LUFS, wanted {check.wanted}"
        case "frames":
            return f"it has {check.found} frames, wanted {check.wanted}"
        case _:
            return f"{check.name} is {check.found}, wanted {check.wanted}"


def _equal(name: str, found: object, wanted: object) -> Check:
    return Check(name=name, ok=found == wanted, found=found, wanted=wanted)


def _near(name: str, found: float, wanted: float, tolerance: float) -> Check:
    is_ok = abs(found - wanted) <= tolerance + 1e-6
    return Check(name=name, ok=is_ok, found=round(found, 6), wanted=round(wanted, 6))
