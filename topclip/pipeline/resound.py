"""Give a clip other sound where its loudness or its peaks are off. The picture is copied to the bit, never encoded again."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from av.container import InputContainer

from topclip.errors import CheckFailed
from topclip.media.encode import Attempt, Level, clip_allowance, even_args, limited_gain, made_even_args, sound_args
from topclip.media.ffmpeg import run_ffmpeg
from topclip.media.join import join_sound
from topclip.media.look import Sound, listen
from topclip.media.opening import open_media
from topclip.model.clip import ClipSpec
from topclip.model.source import SourceInfo
from topclip.pipeline.check import MOST_PEAK_DB
from topclip.pipeline.context import StageContext

LEAST_SLOPE, LIMITED_SLOPE = 0.2, 0.5
"""How much louder a clip grows for each decibel of gain: one, and less where the limiter holds back what is added."""
AT_LIMIT_DB = 0.3
PEAK_ROOM_DB = 0.15
"""What a lowered limit leaves below the peak that is allowed, more each time this was too little: AAC makes other peaks."""
HELD_ROOM_DB = 0.5
"""The same for a clip that has no more tries."""


@dataclass(frozen=True)
class Tried:
    """A level, and what came of it: LUFS, dBTP."""

    level: Level
    loudness: float
    peak_db: float


def next_level(tried: list[Tried], target: float) -> Level:
    """The level after those that were tried, by the line through the last two."""
    now = tried[-1]
    gain_db, limit_db = now.level.gain_db, now.level.limit_db
    slope = LIMITED_SLOPE if now.peak_db > limit_db - AT_LIMIT_DB else 1.0
    if len(tried) > 1 and abs(gain_db - tried[-2].level.gain_db) > 0.1:
        slope = (now.loudness - tried[-2].loudness) / (gain_db - tried[-2].level.gain_db)
    gain_db = limited_gain(gain_db + (target - now.loudness) / min(1.0, max(LEAST_SLOPE, slope)))
    n_loud = sum(one.peak_db > MOST_PEAK_DB for one in tried)
    if now.peak_db > MOST_PEAK_DB:
        limit_db = round(limit_db - (now.peak_db - MOST_PEAK_DB) - PEAK_ROOM_DB * n_loud, 2)
    return Level(gain_db, limit_db, now.level.search)


def held_level(tried: list[Tried], target: float) -> Level | None:
    """The level for a clip whose limiter holds back what gain is added; None if it does not, or the clip is not too quiet.

    Of what was tried the loudest whose peaks are as they should be; if there is none, the first one under a lower limit.
    """
    first = tried[0]
    if first.loudness > target or max(one.peak_db - one.level.limit_db for one in tried) <= -AT_LIMIT_DB:
        return None
    kept = [one for one in tried if one.peak_db <= MOST_PEAK_DB and one.loudness <= target]
    if kept:
        return max(kept, key=lambda one: one.loudness).level
    limit_db = first.level.limit_db - max(0.0, first.peak_db - MOST_PEAK_DB) - HELD_ROOM_DB
    return Level(first.level.gain_db, round(limit_db, 2), first.level.search)


def resound(
    clip: Path, out: Path, *, source: Path, info: SourceInfo, spec: ClipSpec, attempt: Attempt, ctx: StageContext
) -> Sound:
    """Write a clip anew with the sound of this attempt; what is to be heard in it.

    Raises: EncodeError; CheckFailed if the picture is another one; JobStopped, StorageError.
    """
    length_s = spec.end_s - spec.start_s

    def tick() -> None:
        ctx.report(length_s, length_s)

    made, even = out.with_suffix(".sound.mp4"), out.with_suffix(".even.nut")
    if attempt.is_even:
        steps = [
            even_args(source, info, spec, attempt, out=even, max_pixels=ctx.max_pixels),
            made_even_args(even, spec, attempt, made),
        ]
    else:
        steps = [sound_args(source, info, spec, attempt, out=made, max_pixels=ctx.max_pixels)]
    try:
        allowance = clip_allowance(info, spec, attempt, ctx.memory_bytes)
        for args in steps:
            run_ffmpeg(ctx.ffmpeg, args, lambda _: tick(), allowance=allowance)
        join_sound(clip, made, out, tick)
    finally:
        for path in (made, even):
            path.unlink(missing_ok=True)
    _prove_same_picture(clip, out)
    sound = listen(out, tick)
    if sound is None:
        raise CheckFailed("the clip lost its sound")
    return sound


def _prove_same_picture(clip: Path, other: Path) -> None:
    with open_media(clip) as a, open_media(other) as b:
        for one, two in zip_longest(_packets(a), _packets(b)):
            if one != two:
                raise CheckFailed("the clip's picture changed with its sound")
        if _header(a) != _header(b):
            raise CheckFailed("the clip's length or header changed with its sound")


def _header(container: InputContainer) -> tuple[int | None, bytes | None]:
    video = container.streams.video[0]
    return video.duration, video.codec_context.extradata


def _packets(container: InputContainer) -> Iterator[tuple[object, ...]]:
    video = container.streams.video[0]
    return ((p.pts, p.dts, p.time_base, bytes(p)) for p in container.demux(video) if p.size)
