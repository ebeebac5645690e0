"""Decode one range of a source in one pass: small grey pictures and sound blocks, in bounded memory.

Who owns what is exact: a frame belongs to the range that its pts lies in, whatever was decoded to get there. What
cannot be decoded is passed over and counted.
"""

import contextlib
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame

from topclip.media.guard import decoder_pixels
from topclip.media.limits import within_memory
from topclip.media.opening import open_media
from topclip.media.packets import read_packets
from topclip.media.part import Part, part_of
from topclip.media.seek import can_seek, has_true_times
from topclip.media.skim import SKIMMABLE, Effort, Skim, Suspected, nothing_suspected
from topclip.media.sound import BLOCK_S, Meter, SoundBlock
from topclip.media.thumb import Thumb, Thumbs
from topclip.media.timeline import LEAP_FRAMES, Timeline, frame_ticks, leap_ticks
from topclip.model.source import SourceInfo

LEAD_FRAMES = 5
"""Pictures wanted before the first owned one, so that nothing about it depends on where the range begins."""
LEADS_S = (2.0, 12.0, 75.0, float("inf"))
"""How far before the range decoding begins; the next one is tried if too few pictures came out before the range."""
SOUND_LEAD_S = 1.0
"""Sound before the range that fills the 400 ms window and settles the filters."""
SOUND_SEEK_S = 1.5
"""How far before a span that begins at a key frame to seek, so that its sound has its lead-in: packets of sound are late."""
SOUND_AFTER_S = 0.4
SOUND_END_S = 1
"""Sound that begins so long after a span is not even looked at, so that no gap of years between damaged times is filled."""


@dataclass(frozen=True)
class Picture:
    """A frame: its pts and its thumb, uint8, shape (36, 64), full-range grey. Not owned: lead-in. is_drawn: not decoded."""

    pts: int
    thumb: Thumb
    is_owned: bool
    is_key: bool = False
    is_drawn: bool = False


@dataclass(frozen=True)
class Span:
    """A range of a source in pts, [start_pts, end_pts); None: open to that side.

    is_at_key: whether it begins at a key frame: then nothing before it is decoded, and there is no lead-in.
    """

    start_pts: int | None
    end_pts: int | None
    is_at_key: bool = False


@dataclass
class Faults:
    """What went wrong on the way."""

    n_corrupt: int = 0
    reasons: set[str] = field(default_factory=set)
    tick: Callable[[], None] = lambda: None
    """Called for each packet and each fault, lead-in too; may raise to stop."""

    def count(self, err: BaseException) -> None:
        """Note one packet that could not be decoded."""
        self.n_corrupt += 1
        if len(self.reasons) < 5:
            self.reasons.add(str(err))
        self.tick()


def decode_span(
    path: Path,
    info: SourceInfo,
    span: Span,
    faults: Faults,
    *,
    max_pixels: int,
    effort: Effort = Effort.WHOLE,
    suspected: Suspected = nothing_suspected,
) -> Iterator[Picture | SoundBlock]:
    """Decode a span. Pictures come in rising pts, sound blocks in time order, the two about as in the file.

    Sound is yielded from up to SOUND_LEAD_S before the span to SOUND_AFTER_S behind it. faults: is filled on the way.
    effort: less than WHOLE only of a span between key frames, or of all; other thumbs are drawn between those (skim.py).
    suspected: where all of them must be decoded all the same.
    max_pixels: much larger pictures count as damage: a frame may be of another size than the header says.
    Raises: ProbeError, UnsupportedMedia if the file cannot be opened; MediaLimit; Unsound if less than the WHOLE effort
    will not do, upon which all that came is void.
    """
    for lead_s in (None, *LEADS_S) if span.is_at_key else LEADS_S:
        with (
            _Pass(path, info, span, faults, lead_s, max_pixels=max_pixels, effort=effort, suspected=suspected) as run,
            within_memory("decoding the source"),
        ):
            if run.begin():
                yield from run.items()
                return
        faults.n_corrupt = 0


class _Pass:
    """One attempt: opened, positioned, checked for enough lead-in, then read to the end of the span.

    lead_s: how long before the span reading begins; None: at the key frame that the span begins with.
    """

    def __init__(
        self,
        path: Path,
        info: SourceInfo,
        span: Span,
        faults: Faults,
        lead_s: float | None,
        *,
        max_pixels: int,
        effort: Effort,
        suspected: Suspected,
    ) -> None:
        self._container: InputContainer = open_media(path, max_pixels, parts=_parts(info, span, lead_s))
        self._lead_s, self._max_pixels = lead_s, max_pixels
        self._info, self._span, self._faults = info, span, faults
        self._video = self._container.streams[info.video.index]
        self._audio = None if info.audio is None else self._container.streams[info.audio.index]
        self._effort = effort if info.video.codec in SKIMMABLE and has_true_times(info) else Effort.WHOLE
        self._suspected = suspected
        self._skim: Skim | None = None
        self._thumbs = Thumbs()
        self._meter = Meter(_sound_origin(info, span), _sound_end(info, span))
        self._timeline = Timeline(info.video)
        self._leap_ticks = leap_ticks(info)
        self._leapt: list[tuple[int, Thumb]] = []
        self._frame_ticks = frame_ticks(info.video)
        self._end_pts = info.video.start_pts + round(Fraction(info.duration_s) / info.video.tick)
        self._first_pts: int | None = None
        self._next_pts: int | None = None
        self._lead: deque[Picture] = deque(maxlen=LEAD_FRAMES)
        self._held: list[SoundBlock] = []
        self._first: Picture | None = None
        self._key_pts: int | None = None
        self._keys, self._drawn = set[int](), set[int]()
        self._video_done = self._audio_done = False
        self._stream: Iterator[Picture | SoundBlock] = iter(())

    def __enter__(self) -> "_Pass":
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()
        self._skim, self._stream = None, iter(())  # they know us: what they hold would stay until cycles are looked for

    def begin(self) -> bool:
        """Seek and decode up to the first owned picture; False if too little came before it and more lead may help, or
        if the key frame that it begins with does not decode by itself after all.
        """
        lead_s = self._lead_s
        context = self._video.codec_context
        context.thread_count = 1
        context.options = {"skip_loop_filter": "all", "max_pixels": str(decoder_pixels(self._max_pixels))}
        at_start = self._seek_key() if lead_s is None else self._seek(lead_s)
        if at_start:
            self._first_pts = self._next_pts = self._info.video.start_pts
        if self._effort is not Effort.WHOLE and (at_start or lead_s is None):
            self._skim = self._new_skim()
            self._drawn = self._skim.drawn
        self._stream = self._decoded()
        for item in self._stream:
            if isinstance(item, SoundBlock):
                self._held.append(item)
            elif item.is_owned:
                self._first = item
                break
            elif lead_s is not None:  # what an open group of pictures shows before its key frame is broken here
                self._lead.append(item)
        if lead_s is None:
            return self._first is not None and self._first.pts == self._span.start_pts
        return at_start or len(self._lead) == LEAD_FRAMES

    def items(self) -> Iterator[Picture | SoundBlock]:
        """Lead-in, then everything to the span's end."""
        yield from self._lead
        yield from self._held
        if self._first is not None:
            yield self._first
            yield from self._stream

    def _new_skim(self) -> Skim:
        return Skim(
            self._video.codec_context,
            effort=self._effort,
            first_pts=self._span.start_pts,
            end_pts=self._span.end_pts,
            thumb=self._thumbs.of,
            time=self._shown_at,
            tick=self._faults.tick,
            suspected=self._suspected,
        )

    def _seek_key(self) -> bool:
        """Go to where the sound's lead-in begins; packets of pictures are passed over up to the key frame."""
        start = self._key_pts = self._span.start_pts
        assert start is not None
        lead_s = SOUND_SEEK_S if self._audio is not None else 0
        with contextlib.suppress(FFmpegError):
            self._container.seek(start - round(lead_s / self._info.video.tick), stream=self._video)
        return False

    def _seek(self, lead_s: float) -> bool:
        """Whether decoding begins at the file's start."""
        start = self._span.start_pts
        if start is None or not can_seek(self._info):
            return True
        target_s = (start - self._info.video.start_pts) * self._info.video.tick
        if lead_s >= target_s:
            return True
        try:
            self._container.seek(start - round(lead_s / self._info.video.tick), stream=self._video)
        except FFmpegError:
            self._container.seek(0)
            return True
        return False

    def _decoded(self) -> Iterator[Picture | SoundBlock]:
        streams = [s for s in (self._video, self._audio) if s is not None]
        self._audio_done = self._audio is None
        packets = read_packets(self._container, *streams, on_fault=self._faults.count)
        while not (self._video_done and self._audio_done):
            try:
                packet = next(packets)
            except StopIteration:
                break
            except (FFmpegError, OSError) as err:
                self._faults.count(err)  # the file breaks off here
                break
            self._faults.tick()
            yield from self._from_packet(packet)
        if len(self._leapt) > 1:
            for pts, thumb in self._leapt:
                if pts <= self._end_pts:
                    yield from self._in_order(pts, thumb)
        if not self._audio_done:
            yield from self._meter.finish()

    def _from_packet(self, packet: "Packet[Any]") -> Iterator[Picture | SoundBlock]:
        is_video = packet.stream is self._video
        if (self._video_done or self._is_before_key(packet)) if is_video else self._audio_done:
            return
        if is_video and packet.is_keyframe and packet.pts is not None:
            self._keys.add(packet.pts)
        if is_video and self._skim is not None:
            for pts, thumb in self._skim.push(packet):
                yield from self._judged(pts, thumb)
            self._video_done = self._video_done or self._skim.is_done
            return
        try:
            for frame in packet.decode():
                if isinstance(frame, VideoFrame):
                    yield from self._pictures(frame)
                elif not self._audio_done:
                    yield from self._sound(frame)
        except (FFmpegError, ValueError) as err:
            self._faults.count(err)

    def _is_before_key(self, packet: "Packet[Any]") -> bool:
        """Whether a packet of pictures comes before the key frame to begin at; if that was missed, all is over."""
        if self._key_pts is None:
            return False
        if packet.is_keyframe and packet.pts == self._key_pts:
            self._key_pts = None
        elif packet.is_keyframe and packet.pts is not None and packet.pts > self._key_pts:
            self._video_done = self._audio_done = True
        return self._key_pts is not None

    def _pictures(self, frame: VideoFrame) -> Iterator[Picture]:
        """The frame as a picture, if its time can be believed; those before it that it speaks for."""
        pts = self._shown_at(frame)
        if pts is not None:
            yield from self._judged(pts, self._thumbs.of(frame))

    def _shown_at(self, frame: VideoFrame) -> int | None:
        """The frame's time; where that of the next one must be guessed, it follows this one."""
        pts = self._time(frame)
        if pts is not None:
            ticks = self._frame_ticks if self._info.video.is_bare else frame.duration or self._frame_ticks
            self._next_pts = pts + ticks
        return pts

    def _judged(self, pts: int, thumb: Thumb) -> Iterator[Picture]:
        """The picture, unless it leaps ahead; then those that leapt, if there are enough of them."""
        last = self._first_pts if self._timeline.last is None else self._timeline.last
        if last is None or self._leap_ticks is None or pts <= last + self._leap_ticks:
            self._leapt.clear()
            yield from self._in_order(pts, thumb)
            return
        self._leapt.append((pts, thumb))
        if len(self._leapt) >= LEAP_FRAMES:
            yield from self._believed()

    def _believed(self) -> Iterator[Picture]:
        """The first of those that leapt, by which the others are judged."""
        (pts, thumb), *others = self._leapt
        self._leapt = []
        yield from self._in_order(pts, thumb)
        for other in others:
            yield from self._judged(*other)

    def _in_order(self, pts: int, thumb: Thumb) -> Iterator[Picture]:
        """The picture at its place; nothing if it has none, or the span is over."""
        placed = None if self._video_done else self._timeline.place(pts)
        if placed is None:
            return
        start, end = self._span.start_pts, self._span.end_pts
        if end is not None and placed >= end:
            self._video_done = True
            return
        is_key, is_drawn = pts in self._keys, pts in self._drawn
        self._keys.discard(pts)
        self._drawn.discard(pts)
        yield Picture(placed, thumb, start is None or placed >= start, is_key=is_key, is_drawn=is_drawn)

    def _time(self, frame: VideoFrame) -> int | None:
        """The frame's time as ffmpeg takes it: where a pts runs back (MPEG-PS has such), the dts tells.

        None: nothing tells it, since after a seek no frame before it had a time.
        """
        pts, dts, last, lag = frame.pts, frame.dts, self._timeline.last, self._info.video.dts_lag
        if self._info.video.is_bare:
            return self._next_pts
        if lag is not None:
            pts, dts = None, None if dts is None else max(dts - lag, self._info.video.start_pts)
        if pts is not None and (last is None or pts > last or dts is None or dts <= last):
            return int(pts)
        if dts is not None:
            return int(dts)
        return self._next_pts

    def _sound(self, frame: object) -> Iterator[SoundBlock]:
        for block in self._meter.push(frame):  # type: ignore[arg-type]  # PyAV types a packet's frames as a union
            if self._is_behind(block.start_s):
                self._audio_done = True
                return
            yield block

    def _is_behind(self, start_s: float) -> bool:
        end = self._span.end_pts
        return end is not None and start_s > float(end * self._info.video.tick) + SOUND_AFTER_S


def _parts(info: SourceInfo, span: Span, lead_s: float | None) -> list[Part] | None:
    """What is read of the file for a span; None: anything."""
    if lead_s is not None and math.isinf(lead_s):
        return None
    return [part_of(info, span.start_pts, span.end_pts, SOUND_SEEK_S if lead_s is None else lead_s)]


def _sound_end(info: SourceInfo, span: Span) -> Fraction:
    """Container time by which all sound that is asked for is over."""
    first_s = info.video.start_pts * info.video.tick
    end_s = first_s + Fraction(info.duration_s) if span.end_pts is None else span.end_pts * info.video.tick
    return end_s + Fraction(SOUND_END_S)


def _sound_origin(info: SourceInfo, span: Span) -> Fraction:
    """Container time of the first sound block: on the source's grid of BLOCK_S, SOUND_LEAD_S before the span."""
    first_s = info.video.start_pts * info.video.tick
    if span.start_pts is None:
        return first_s
    offset_s = (span.start_pts - info.video.start_pts) * info.video.tick - Fraction(SOUND_LEAD_S)
    blocks = max(0, int(offset_s / Fraction(str(BLOCK_S))))
    return first_s + blocks * Fraction(str(BLOCK_S))
