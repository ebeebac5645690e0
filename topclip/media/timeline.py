"""Where a frame stands in time when its own time cannot be right. Analysis asks it frame by frame, a render as a filter.

Where several frames share a packet (MPEG-PS with small frames) only the first one's time is stored. FFmpeg guesses the
others', and at times a frame then comes before the one that is shown before it, or together with it. Such a frame is
shown half a frame after the last one, so that none is lost, and frames overtaken by that follow at once. Both sides must
do the same, to the tick: a clip's frames are counted.

In recordings off the air a frame whose time leaps ahead may be damage, or the first behind a gap. Analysis waits for those
that follow and tells a render, whose filter cannot look ahead, which leaps are true.
"""

from collections.abc import Iterable
from fractions import Fraction
from itertools import pairwise

from topclip.model.clip import ClipSpec
from topclip.model.framing import Outlook
from topclip.model.source import SourceInfo, VideoStream

MAX_BEHIND_FRAMES = 16
"""A time that lies further back is not a wrong guess: another clock, or damage before it. H.264 reorders no more frames."""
LEAST_TICKS = 4
"""Of a frame, so that times between frames exist."""

AHEAD_S, AHEAD_FRAMES = 10, 32
"""A picture is shown no later than this after its packet is decoded, whichever is longer: 16 B-frames in a row, which is
what encoders make at most, and as many frames held back to be put in order. Pictures at varying rates wait for the next
ones, however late those come: three seconds each in recordings of slides."""

RESTARTING_FORMATS = frozenset({"mpegts", "mpeg"})
"""Recordings joined end to end are valid in these, each with a clock of its own; their times may be damaged one by one."""
LEAP_S = 10.0
"""A time that lies so far ahead of the last one is believed"""
LEAP_FRAMES = 12
"""if so many in a row do."""


def frame_ticks(video: VideoStream) -> int:
    """Time of one frame in pts units, by the rate; at least 1."""
    return max(1, round(1 / (video.rate * video.tick)))


def shown_until(info: SourceInfo, pts: int, after_pts: int | None, end_pts: int) -> int:
    """Where the time of a range's last frame ends: with the next one, or with the range if the frame is shown for long.

    after_pts: of the next frame, None if there is none. end_pts: of the range that is wanted.
    """
    behind = info.end_pts if after_pts is None else after_pts
    if info.holds(pts, behind):
        return min(behind, end_pts)
    return pts + info.last_ticks(pts, frame_ticks(info.video)) if after_pts is None else after_pts


def is_far_ahead(pts: int, dts: int, rate: Fraction, tick: Fraction) -> bool:
    """Whether a packet would be shown so long after it is decoded that its pts can only be damaged."""
    return (pts - dts) * tick > max(Fraction(AHEAD_S), AHEAD_FRAMES / rate)


class Timeline:
    """Places frames, which come in the order that they are shown in."""

    def __init__(self, video: VideoStream) -> None:
        self._step, self._max_behind = _step(video), _max_behind(video)
        self._last: int | None = None
        self._largest: int | None = None

    @property
    def last(self) -> int | None:
        """pts of the last frame that has a place."""
        return self._last

    def place(self, pts: int) -> int | None:
        """The time of the next frame, which claims to be shown at pts; None: it has no place."""
        last, largest = self._last, self._largest
        self._largest = pts if largest is None else max(largest, pts)
        if last is None or largest is None or pts > last:
            self._last = pts
        elif pts > last - self._max_behind:
            self._last = last + (1 if pts > largest else self._step)
        else:
            return None
        return self._last


def leap_ticks(info: SourceInfo) -> int | None:
    """How far ahead of the last one, in pts units, a time needs others to be believed; None: all are."""
    return round(LEAP_S / info.video.tick) if info.container in RESTARTING_FORMATS else None


def true_leaps(info: SourceInfo, pts: Iterable[int]) -> tuple[int, ...]:
    """Of the times of frames in a row those that leap ahead of the one before."""
    ticks = leap_ticks(info)
    return () if ticks is None else tuple(int(b) for a, b in pairwise(pts) if b - a > ticks)


def timeline_filter(video: VideoStream, is_leap: str = "0") -> str:
    """The same as ffmpeg's filters. It remembers in 0 the last place, in 1 the largest pts, in 4 whether there are any.

    is_leap: whether damage made the frame leap ahead, so that it has no place; by `leap_test`.
    """
    behind = f"if(gt(PTS,ld(0)-{_max_behind(video)}),st(0,ld(0)+if(gt(PTS,ld(1)),1,{_step(video)})),PTS)"
    placed = f"if(not(ld(4))+gt(PTS,ld(0)),st(0,PTS),{behind})"
    remember = "if(not(ld(4))+gt(PTS,ld(1)),st(1,PTS))"
    is_next = "not(isnan(pts))*(isnan(prev_selected_pts)+gt(pts,prev_selected_pts))"
    return f"setpts='if({is_leap},NAN,st(2,{placed});{remember};st(4,1);ld(2))',select='{is_next}'"


def leap_test(info: SourceInfo, spec: ClipSpec | Outlook, *, is_from_start: bool) -> str:
    """Whether a frame leaps ahead and is not to be believed. It counts in 3 those in a row.

    is_from_start: whether the first frame is that of the source; behind a seek any may come first.
    """
    ticks = leap_ticks(info)
    if ticks is None:
        return "0"
    last = f"if(ld(4),ld(0),{info.video.start_pts if is_from_start else 'PTS'})"
    is_true = "+".join(f"eq(PTS,{pts})" for pts in (spec.first_pts, *spec.true_leaps))
    return f"st(3,gt(PTS,{last}+{ticks})*(ld(3)+1));between(ld(3),1,{LEAP_FRAMES - 1})*not({is_true})"


def number_filter(video: VideoStream) -> str:
    """Times by the frames' numbers. The container has none, and each version of FFmpeg makes up others."""
    return f"setpts={video.start_pts}+N*{frame_ticks(video)}"


def _step(video: VideoStream) -> int:
    return max(1, frame_ticks(video) // 2)


def _max_behind(video: VideoStream) -> int:
    """How far behind the last one a frame's time may lie, in pts units; 0: none may."""
    ticks = frame_ticks(video)
    return MAX_BEHIND_FRAMES * ticks if ticks >= LEAST_TICKS else 0
