"""Where a source's picture really ends, by its packets; a header may lie."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet

from topclip.media.opening import open_media
from topclip.media.packets import read_packets
from topclip.media.part import Part
from topclip.media.timeline import LEAP_FRAMES, LEAP_S, RESTARTING_FORMATS, frame_ticks, is_far_ahead
from topclip.model.source import VideoStream

END_WINDOW_S = 10.0
"""Packets are read over this much before the header's end to see where the picture really ends."""
RESTART_S = 1.0
"""A decoding time that lies so far behind the latest one comes from another clock,"""
RESTART_PACKETS = 12
"""if so many do: a single one is damage."""


class End(NamedTuple):
    """restart_s: where the clock starts anew, if it does."""

    duration_s: float
    n_packets: int
    restart_s: float | None = None


def header_duration_s(container: InputContainer, video: VideoStream) -> float | None:
    """How long the picture lasts by the file's header; None where that cannot tell."""
    if video.is_bare or container.format.name in RESTARTING_FORMATS:
        return None
    ticks = container.streams[video.index].duration
    if ticks:
        return float(ticks * video.tick)
    return container.duration / 1e6 if container.duration else None


def end_of_picture(
    path: Path, video: VideoStream, header_s: float | None, max_pixels: int | None, tick: Callable[[], None]
) -> End:
    """Where the picture ends by its packets: near the header's end, or over the whole file if that finds none.

    header_s: by `header_duration_s`. It can lie (a recording that was cut off) or be silent (a live stream written to disk).
    Where the clock may start anew the whole file is read: its end says nothing of what lies before.
    """
    if header_s is not None and header_s > END_WINDOW_S:
        target = video.start_pts + round((header_s - END_WINDOW_S) / video.tick)
        with open_media(path, max_pixels, parts=[Part(float(target * video.tick), math.inf)]) as container:
            end = _scan(container, video, tick, seek_to=target)
        if end.n_packets >= 2 and end.duration_s > 0:
            return end
    with open_media(path, max_pixels) as container:
        end = _count(container, video, tick) if video.is_bare else _scan(container, video, tick, seek_to=None)
    if end.duration_s <= 0 and end.n_packets >= 2:
        return End(float(end.n_packets / video.rate), end.n_packets)
    return end


def _count(container: InputContainer, video: VideoStream, tick: Callable[[], None]) -> End:
    """How long the packets of a bare stream last."""
    n_halves = n_packets = 0
    try:
        for packet in read_packets(container, container.streams[video.index], on_fault=lambda _: tick()):
            tick()
            if packet.size:
                n_packets += 1
                n_halves += half_frames(packet.duration, video)
    except (FFmpegError, OSError):
        pass  # what could be read until here is what the source has
    return End(float(n_halves * frame_ticks(video) * video.tick / 2), n_packets)


def half_frames(duration: int | None, video: VideoStream) -> int:
    """What a packet of a bare stream holds: 2 halves of a frame, or 1 where fields come in packets of their own.

    duration: by FFmpeg, in pts units, cut down to whole ones; so what counts is which of the two it is nearer to.
    """
    return 1 if duration and 1 < duration * video.tick * video.rate * 4 < 3 else 2


def _scan(container: InputContainer, video: VideoStream, tick: Callable[[], None], *, seek_to: int | None) -> End:
    """The largest presentation end among the packets from a point on, up to where the clock starts anew."""
    stream = container.streams[video.index]
    latest, n_packets = _Latest(video), 0
    ahead: list[Packet[Any]] = []
    clock = _Clock(video) if container.format.name in RESTARTING_FORMATS else None

    def is_wrong(packet: "Packet[Any]") -> bool:
        return clock is not None and clock.is_wrong(packet.pts, packet.dts)

    try:
        if seek_to is not None:
            container.seek(seek_to, stream=stream)
        for packet in read_packets(container, stream, on_fault=lambda _: tick()):
            tick()
            if packet.size == 0:
                continue
            n_packets += 1
            if clock is None or packet.dts is None or clock.takes(packet.dts):
                ahead = []
                latest.take(packet, is_pts_wrong=is_wrong(packet))
            elif clock.starts_anew:
                break
            else:
                ahead = [*ahead, packet] if clock.is_ahead else []
    except (FFmpegError, OSError):
        pass  # what could be read until here is what the source has
    if len(ahead) > 1:
        for packet in ahead:
            latest.take(packet, is_pts_wrong=is_wrong(packet))
    duration_s = float((latest.end_pts - video.start_pts) * video.tick)
    return End(duration_s, n_packets, duration_s if clock is not None and clock.starts_anew else None)


class _Latest:
    """Follows where the picture ends, also behind the last packet that has a time of its own."""

    def __init__(self, video: VideoStream) -> None:
        self._has_pts, self._frame_ticks = video.dts_lag is None, frame_ticks(video)
        self._last, self.end_pts = video.start_pts - self._frame_ticks, video.start_pts
        self._next_dts: int | None = None
        self._lag: int | None = None

    def take(self, packet: "Packet[Any]", *, is_pts_wrong: bool) -> None:
        """Take the next packet."""
        ticks = packet.duration or self._frame_ticks
        pts, dts = packet.pts if self._has_pts and not is_pts_wrong else None, packet.dts
        if self._lag is None and pts is not None and dts is not None:
            self._lag = pts - dts
        if pts is None:
            pts = dts
        if pts is None and self._next_dts is not None:
            dts = self._next_dts
            pts = dts + (self._lag or 0)
        if dts is not None:
            self._next_dts = dts + ticks
        if pts is not None and pts > self._last:
            self._last, self.end_pts = pts, pts + ticks


class _Clock:
    """Watches decoding times, and tells damaged ones, which stand alone, from another clock's, which go on."""

    def __init__(self, video: VideoStream) -> None:
        self._rate, self._tick = video.rate, video.tick
        self._back_ticks, self._leap_ticks = round(RESTART_S / video.tick), round(LEAP_S / video.tick)
        self._latest: int | None = None
        self._n_behind = self._n_ahead = 0

    @property
    def starts_anew(self) -> bool:
        """Whether enough times in a row lie behind the latest one."""
        return self._n_behind >= RESTART_PACKETS

    @property
    def is_ahead(self) -> bool:
        """Whether the last time lies far ahead of those before it, and too few followed yet to tell why."""
        return self._n_ahead > 0

    def takes(self, dts: int) -> bool:
        """Take the next time; whether it goes with those before it."""
        latest = dts if self._latest is None else self._latest
        is_behind, is_ahead = dts <= latest - self._back_ticks, dts > latest + self._leap_ticks
        self._n_behind = self._n_behind + 1 if is_behind else 0
        self._n_ahead = self._n_ahead + 1 if is_ahead else 0
        if is_behind or 0 < self._n_ahead < LEAP_FRAMES:
            return False
        self._latest = max(latest, dts)
        self._n_ahead = 0
        return True

    def is_wrong(self, pts: int | None, dts: int | None) -> bool:
        """Whether a presentation time lies too far ahead of its decoding time, or where that is missing of the latest one."""
        base = self._latest if dts is None else dts
        return pts is not None and base is not None and is_far_ahead(pts, base, self._rate, self._tick)
