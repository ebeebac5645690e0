"""Thumbs of every frame, of which only those are decoded that tell something.

The unit is a group of pictures: a key frame and all that is shown from it up to the next one. What no other picture rests on
is passed over, and its thumb drawn between its neighbours'; where the picture jumps from one neighbour to the next, what lies
between is decoded after all, so that a cut is found at its own frame. A group between two key frames that look alike, without
a large packet, is not decoded at all: a cut to another picture and back would cost bytes.

A group is judged by its own packets alone, so that nothing depends on where a span begins. One that is too large to be kept is
decoded as it comes. Where one is damaged, has times that cannot be right, or does not decode by itself, all of the span must be
decoded whole, by somebody else.
"""

import bisect
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from topclip.media.thumb import Thumb

SKIMMABLE = frozenset({"h264", "hevc"})
"""Codecs that say of a packet whether others rest on it."""
MAX_PACKETS, MAX_BYTES = 1200, 48 << 20
"""A larger group is not kept but decoded as it comes."""
KEYS_APART_S, MOST_JOINED = 8.0, 1 / 3
"""Where key frames alone are decoded, others between two so far apart are passed over, as long as the group is no larger than
that share of what is kept: what is not kept would be decoded whole."""
JUMP, LAYOUT_JUMP = 5.0, 4.0
"""Grey levels between neighbours, of all points and of large parts' means, that may hide a cut. What they are beside others
says nothing: in a montage all are as large.
"""
PART_PX = 9, 8
"""Rows and columns of such a part."""
NEARBY = 6
"""Frames beside a jump that are decoded too: a cut is told by what surrounds it."""
STILL, STILL_PACKETS = 2.0, 8
"""Grey levels between two key frames that look alike, and how many packets between them are worth a look."""
STILL_SHARE, STILL_SUM = 0.15, 1.5
"""Of the smaller key frame's bytes: what no other packet of a still group reaches, and what they do not reach together."""

Skimmed = tuple[int, Thumb]

Suspected = Callable[[NDArray[np.uint8]], Iterable[tuple[int, int]]]
"""suspected(thumbs): frames [first, last] of a group in which every picture counts, such as those of a dissolve.

thumbs: uint8 (n, rows, columns), of each frame, drawn between those that were decoded.
"""


def nothing_suspected(thumbs: NDArray[np.uint8]) -> Iterable[tuple[int, int]]:
    """Where only jumps count."""
    return ()


class Effort(Enum):
    """How much is decoded: every picture, what tells something, or key frames alone, which show no cut at its frame."""

    WHOLE = "whole"
    TELLING = "telling"
    KEYS = "keys"


class Unsound(Exception):
    """What comes out of a group is not what its packets promise: nothing may be left out here."""


@dataclass
class _Group:
    """Packets in decoding order. after: the next key frame, and of what follows it all that is shown before it.

    first_pts: what is shown earlier is not the group's; None: at a file's start all is. least_pts: key frames shown earlier are
    pictures like others; None: there are none such.
    """

    key: "Packet[Any]"
    first_pts: int | None
    inner: "list[Packet[Any]]" = field(default_factory=list)
    after: "list[Packet[Any]]" = field(default_factory=list)
    least_pts: int | None = None
    is_spilt: bool = False
    is_begun: bool = False

    @property
    def end_pts(self) -> int | None:
        """When the next group begins; None: this is the last one."""
        return self.after[0].pts if self.after else None

    @property
    def packets(self) -> "list[Packet[Any]]":
        """All that must be decoded for its own pictures."""
        return [self.key, *self.inner, *(self.after if len(self.after) > 1 else ())]

    def takes(self, packet: "Packet[Any]") -> bool:
        """Whether a packet belongs to the group."""
        if not self.after:
            return True
        end = self.end_pts
        return not packet.is_keyframe and packet.pts is not None and end is not None and packet.pts < end

    def add(self, packet: "Packet[Any]") -> None:
        """Take the next packet."""
        (self.after if self.after or self._is_next(packet) else self.inner).append(packet)

    def _is_next(self, packet: "Packet[Any]") -> bool:
        if not packet.is_keyframe or self.least_pts is None or packet.pts is None:
            return packet.is_keyframe
        size, n = sum(p.size for p in self.inner), len(self.inner)
        return packet.pts >= self.least_pts or size > MOST_JOINED * MAX_BYTES or n > MOST_JOINED * MAX_PACKETS

    def is_large(self) -> bool:
        """Whether it is more than should be kept."""
        n = len(self.inner) + len(self.after)
        return n > MAX_PACKETS or (n % 16 == 0 and sum(p.size for p in self.packets) > MAX_BYTES)

    def times(self) -> list[int]:
        """When its frames are shown, rising. Raises: Unsound."""
        found = [p.pts for p in (self.key, *self.inner, *self.after[1:]) if not p.is_discard]
        known = sorted(pts for pts in found if pts is not None)
        if len(set(known)) < len(found) or self.key.is_discard or known[0] != self.key.pts:
            raise Unsound
        return known


class Skim:
    """Takes packets, gives thumbs in the order that they are shown in."""

    def __init__(
        self,
        context: VideoCodecContext,
        *,
        effort: Effort,
        first_pts: int | None,
        end_pts: int | None,
        thumb: Callable[[VideoFrame], Thumb],
        time: Callable[[VideoFrame], int | None],
        tick: Callable[[], None],
        suspected: Suspected,
    ) -> None:
        """first_pts, end_pts: the key frames that begin the span and what is behind it, None: open to that side.

        time(frame): when it is shown, as whoever decodes frame by frame takes it. tick(): called for each packet that is
        decoded; may raise to stop.
        """
        self._context, self._effort, self._first_pts, self._end_pts = context, effort, first_pts, end_pts
        self._thumb, self._time, self._tick, self._suspected = thumb, time, tick, suspected
        self._group: _Group | None = None
        self._next_key: Skimmed | None = None
        self.is_done = False
        """Whether all of the span is out."""
        self.drawn = set[int]()
        """Times of frames whose thumbs were drawn; whoever takes them may forget them."""

    def push(self, packet: "Packet[Any]") -> Iterator[Skimmed]:
        """Take the next packet; an empty one ends all. Raises: Unsound."""
        group = self._group
        if not packet.size:
            yield from self._rest()
            self._group, self.is_done = None, True
        elif group is None:
            if packet.is_keyframe:
                self._group = self._begun(packet, self._first_pts)
        elif group.takes(packet):
            if not self._is_lead(packet):
                group.add(packet)
                yield from self._spill(group, packet)
        else:
            yield from self._pictures(group)
            self._group = self._begun(group.after[0], group.end_pts)
            self._group.add(packet)
            self.is_done = self._end_pts is not None and (group.end_pts or 0) >= self._end_pts

    def _begun(self, key: "Packet[Any]", first_pts: int | None) -> _Group:
        """A group that begins with a key frame. Of key frames alone it may be several in one."""
        group = _Group(key, first_pts)
        if self._effort is Effort.KEYS and key.pts is not None and key.time_base:
            least_pts = key.pts + round(KEYS_APART_S / key.time_base)
            group.least_pts = least_pts if self._end_pts is None else min(least_pts, self._end_pts)
        return group

    def _rest(self) -> Iterator[Skimmed]:
        """All that is kept at the end: the last key frame may have no packet behind it that makes it a group of its own."""
        while self._group is not None:
            group = self._group
            yield from self._pictures(group)
            self._group = self._begun(group.after[0], group.end_pts) if group.after else None

    def _is_lead(self, packet: "Packet[Any]") -> bool:
        """Whether a packet is shown before the span."""
        return self._first_pts is not None and packet.pts is not None and packet.pts < self._first_pts

    def _pictures(self, group: _Group) -> Iterator[Skimmed]:
        """All of a group that is complete."""
        if group.is_spilt:
            yield from self._timed(group, self._drained())
            return
        try:
            found = self._between_keys(group) if self._effort is Effort.KEYS else self._still(group)
            found = found or self._skimmed(group)
        except (FFmpegError, ValueError) as err:
            raise Unsound from err
        yield from found

    def _spill(self, group: _Group, packet: "Packet[Any]") -> Iterator[Skimmed]:
        """Decode a group that is too large to be kept as it comes."""
        if group.is_spilt:
            yield from self._timed(group, self._decoded([packet]))
            group.inner.clear()
        elif group.is_large():
            group.is_spilt, self._context.skip_frame = True, "DEFAULT"
            yield from self._timed(group, self._decoded([group.key, *group.inner, *group.after]))

    def _decoded(self, packets: "Iterable[Packet[Any]]") -> Iterator[VideoFrame]:
        """Frames. Raises: Unsound."""
        for packet in packets:
            self._tick()
            try:
                yield from self._context.decode(packet)
            except (FFmpegError, ValueError) as err:
                raise Unsound from err

    def _drained(self) -> Iterator[VideoFrame]:
        """What the decoder still holds; it is as new afterwards."""
        try:
            yield from self._context.decode(None)
        except (FFmpegError, ValueError) as err:
            raise Unsound from err
        self._context.flush_buffers()

    def _timed(self, group: _Group, frames: Iterable[VideoFrame]) -> Iterator[Skimmed]:
        """Those frames that are the group's own."""
        first, end = group.first_pts, group.end_pts
        for frame in frames:
            pts = self._time(frame)
            if not group.is_begun and pts != group.key.pts:
                raise Unsound
            group.is_begun = True
            if pts is not None and (first is None or pts >= first) and (end is None or pts < end):
                yield pts, self._thumb(frame)

    def _still(self, group: _Group) -> list[Skimmed] | None:
        """The group between two key frames that look alike; None if it is no such group."""
        sizes = [packet.size for packet in group.inner]
        is_quiet = group.after and len(sizes) >= STILL_PACKETS
        key_size = min(group.key.size, group.after[0].size) if group.after else 0
        if is_quiet and max(sizes) <= STILL_SHARE * key_size and sum(sizes) <= STILL_SUM * key_size:
            return self._between_keys(group, STILL)
        self._next_key = None
        return None

    def _between_keys(self, group: _Group, most: float = np.inf) -> list[Skimmed]:
        """The group drawn between its key frame and the next; empty if those differ by more."""
        known, self._next_key = self._next_key, None
        times = group.times()
        first = known if known is not None and known[0] == times[0] else self._key(group.key)
        self._next_key = last = self._key(group.after[0]) if group.after else None
        if last is not None and _difference(first[1], last[1]) > most:
            return []
        return self._all(times, dict([first]), last)

    def _key(self, packet: "Packet[Any]") -> Skimmed:
        found = self._run([packet], "DEFAULT", {packet.pts})
        if len(found) != 1:
            raise Unsound
        return next(iter(found.items()))

    def _skimmed(self, group: _Group) -> list[Skimmed]:
        """The group by what others rest on, and exactly where it jumps."""
        times = group.times()
        found = self._run(group.packets, "NONREF", {*times, group.end_pts})
        last = next(((pts, found.pop(pts)) for pts in [group.end_pts] if pts in found), None)
        if times[0] not in found:
            raise Unsound
        wanted = self._wanted(times, found, last)
        if wanted:
            needed = [p for p in group.packets if p.pts in found or p.pts in wanted or p.pts == group.end_pts]
            found |= self._run(needed, "DEFAULT", wanted)
            if not wanted <= found.keys():
                raise Unsound
        return self._all(times, found, last)

    def _all(self, times: list[int], found: dict[int, Thumb], last: Skimmed | None) -> list[Skimmed]:
        self.drawn.update(set(times) - found.keys())
        return _drawn(times, found, last)

    def _wanted(self, times: list[int], found: dict[int, Thumb], last: Skimmed | None) -> set[int]:
        """Times around jumps and suspected places that hide what was passed over, but for those that are known."""
        shown = [*sorted(found.items()), *([last] if last else [])]
        places = [bisect.bisect_left(times, pts) for pts, _ in shown]
        layouts = np.abs(np.diff([_parts(thumb) for _, thumb in shown], axis=0)).mean(axis=1)
        wanted: set[int] = set()
        for (_, a), (_, b), first, end, layout in zip(shown, shown[1:], places, places[1:], layouts, strict=False):
            if end - first > 1 and layout > LAYOUT_JUMP and _difference(a, b) > JUMP:
                wanted.update(times[max(0, first - NEARBY) : end + NEARBY])
        for first, end in self._suspected(np.stack([thumb for _, thumb in _drawn(times, found, last)])):
            wanted.update(times[max(0, first - NEARBY) : end + NEARBY])
        if places[-1] < len(times) - 1:  # nothing shows what comes after the last one
            wanted.update(times[max(0, places[-1] - NEARBY) :])
        return wanted - found.keys()

    def _run(self, packets: "Sequence[Packet[Any]]", skip: str, wanted: AbstractSet[int | None]) -> dict[int, Thumb]:
        """Thumbs of the wanted frames, by pts. Raises: FFmpegError, ValueError, Unsound if any is broken."""
        self._context.skip_frame = skip  # type: ignore[assignment]
        found: dict[int, Thumb] = {}
        try:
            for packet in (*packets, None):
                self._tick()
                for frame in self._context.decode(packet):
                    if frame.is_corrupt or frame.pts is None:
                        raise Unsound
                    if frame.pts in wanted:
                        found[frame.pts] = self._thumb(frame)
                if len(found) == len(wanted):
                    break
        finally:
            self._context.flush_buffers()
        return found


def _parts(thumb: Thumb) -> NDArray[np.float64]:
    """Means of the parts."""
    rows, columns = PART_PX
    height, width = thumb.shape
    means: NDArray[np.float64] = thumb.reshape(height // rows, rows, width // columns, columns).mean(axis=(1, 3))
    return means.reshape(-1)


def _difference(a: Thumb, b: Thumb) -> float:
    return float(np.abs(a.astype(np.int16) - b).mean())


def _drawn(times: list[int], found: dict[int, Thumb], last: Skimmed | None) -> list[Skimmed]:
    """A thumb for each time, those that are missing drawn between their neighbours."""
    shown = sorted(found)
    out: list[Skimmed] = []
    for pts, after in zip(shown, [*shown[1:], None], strict=True):
        end = bisect.bisect_left(times, after) if after is not None else len(times)
        first, thumb = len(out), found[pts]
        goal = found[after] if after is not None else last[1] if last else thumb
        n, step = end - first, goal.astype(np.float32) - thumb
        out.append((pts, thumb))
        out += [(times[first + k], np.rint(thumb + step * (k / n)).astype(np.uint8)) for k in range(1, n)]
    return out
