"""Where a range of a source can be copied without decoding: from its first IDR picture on, as far as it goes.

What lies before that picture and behind the last copied one is encoded anew by others. Copied pictures form a run in
decoding order that begins at an IDR picture, so that they rest on nothing before them, and whose pictures are shown one
after the other, so that none is missing in between. Whatever could make that wrong is an obstacle, told in words.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet

from topclip.media import h264
from topclip.media.colour import is_hdr
from topclip.media.decode import Span
from topclip.media.h264 import ParameterSets
from topclip.media.limits import within_memory
from topclip.media.opening import open_media
from topclip.media.packets import read_packets
from topclip.media.part import part_of
from topclip.media.timeline import shown_until
from topclip.model.source import SourceInfo

CONTAINERS = frozenset({"mov", "mp4", "matroska", "webm", "mpegts", "flv"})
"""Those with presentation times of their own and positions that can be found by time."""
PIXEL_FORMAT = "yuv420p"
PROFILES = {66: "baseline", 77: "main", 100: "high"}
"""Of these x264 makes the ends, so that one header fits all pictures."""
LEAST_SHARE = 0.1
"""Of a range must be copied; else joining costs more than it saves."""
MOST_REORDERED = 16
"""H.264 puts no more pictures than these before one that is shown earlier: behind so many the range is over."""


class Obstacle(Exception):
    """Why a range cannot be cut without encoding all of it; the message says it in words."""


class Piece(NamedTuple):
    """A packet of the source.

    digest: of the sample that an mp4 holds of it. is_key: whether readers may begin here. frame_num: of its picture, modulo
    2 ** frame_num_bits. is_reference: whether others rest on it.
    """

    pts: int
    digest: bytes
    is_key: bool
    is_idr: bool
    frame_num: int
    is_reference: bool


@dataclass(frozen=True)
class Survey:
    """The pictures of a range as the container has them, nothing decoded.

    start_pts, end_pts: of the range.
    pieces: in decoding order. n_closed: how many of them come before any of a picture behind the range, and so rest on none.
    after_pts: the first picture behind the range, None if the source ends. before_pts: the last one before it; entry_pts: the
    last IDR picture before it; None if none was seen. sets: of all of them.
    """

    start_pts: int
    end_pts: int
    pieces: tuple[Piece, ...]
    n_closed: int
    after_pts: int | None
    before_pts: int | None
    entry_pts: int | None
    sets: ParameterSets

    @property
    def pts(self) -> list[int]:
        """Times of the pictures in the order that they are shown in."""
        return sorted(piece.pts for piece in self.pieces)


@dataclass(frozen=True)
class Splice:
    """How a range is put together. All times in the source's pts.

    pts: of all its pictures, rising. copied: in decoding order; the pictures before them are the head, those behind the tail.
    end_pts: where the last picture ends. entry_pts: the last IDR picture before the head, None if none was seen.
    sets: the source's own.
    """

    pts: tuple[int, ...]
    n_head: int
    copied: tuple[Piece, ...]
    end_pts: int
    entry_pts: int | None
    sets: ParameterSets

    @property
    def n_tail(self) -> int:
        """Pictures behind the copied ones."""
        return len(self.pts) - self.n_head - len(self.copied)

    @property
    def head_end_pts(self) -> int:
        """Time of the first copied picture."""
        return self.pts[self.n_head]

    @property
    def tail_pts(self) -> int:
        """Time of the first picture of the tail, or the range's end."""
        return self.pts[-self.n_tail] if self.n_tail else self.end_pts

    @property
    def tail_entry_pts(self) -> int:
        """The last copied IDR picture, from which the pictures of the tail can be decoded."""
        return max(piece.pts for piece in self.copied if piece.is_idr)

    @property
    def decoding_order(self) -> list[int]:
        """Times of all pictures as they are decoded: those that are encoded anew have no B-frames."""
        copied = [piece.pts for piece in self.copied]
        return [*self.pts[: self.n_head], *copied, *self.pts[len(self.pts) - self.n_tail :]]

    @property
    def free_id(self) -> int:
        """An id for parameter sets that the source does not use."""
        return max(set(range(32)) - self.sets.ids)

    @property
    def profile(self) -> str:
        """x264's name of the source's profile."""
        return PROFILES[h264.parse_sps(self.sets.sps[0]).profile]


def check_source(info: SourceInfo) -> None:
    """Whether ranges of a source can be copied at all, by what probe found. Raises: Obstacle."""
    video = info.video
    known: tuple[tuple[bool, str], ...] = (
        (video.codec == "h264", f"the picture is {video.codec}, not H.264"),
        (bool(CONTAINERS & set(info.container.split(","))), f"{info.container} has no times that can be relied on"),
        (not video.is_bare and video.dts_lag is None, "the container has no presentation times"),
        (video.pixel_format == PIXEL_FORMAT, f"pixels are {video.pixel_format}, clips are {PIXEL_FORMAT}"),
        (not video.interlaced, "the picture is interlaced"),
        (not is_hdr(video), "the picture is HDR, clips are not"),
        (video.rotation == 0, "the picture is to be turned"),
        (video.sample_aspect == "1/1", "pixels are not square"),
        (video.width % 2 == video.height % 2 == 0, "the picture's size is odd"),
        (video.tick.numerator == 1, "times are not parts of a second"),
    )
    for is_fit, reason in known:
        if not is_fit:
            raise Obstacle(reason)


def survey(
    path: Path, info: SourceInfo, span: Span, lead_s: float | None, tick: Callable[[], None], *, max_pixels: int
) -> Survey:
    """Read the packets of a span that is open to no side.

    lead_s: how long before the range reading begins, so that a key picture lies between; None: with the file. tick():
    called for each packet; may raise to stop.
    Raises: Obstacle; MediaError if the source cannot be opened.
    """
    start_pts, end_pts = span.start_pts, span.end_pts
    assert start_pts is not None
    assert end_pts is not None
    parts = [part_of(info, None if lead_s is None else start_pts, end_pts, lead_s or 0.0)]
    with open_media(path, max_pixels, parts=parts) as container, within_memory("reading the source"):
        stream = container.streams[info.video.index]
        try:
            sets = _checked(h264.read_extradata(stream.codec_context.extradata))
            reader = _Reader(sets)
            if lead_s is not None:
                container.seek(start_pts - round(lead_s / info.video.tick), stream=stream)
            found = _Found(start_pts, end_pts)
            for packet in _packets(container, stream):
                tick()
                if found.takes(packet):
                    found.add(reader.read(packet))
                elif found.is_over:
                    break
                elif packet.is_keyframe and not found.pieces and reader.read(packet).is_idr:
                    found.entry_pts = packet.pts
        except (FFmpegError, OSError) as err:
            raise Obstacle(f"the source cannot be read here: {err}") from err
        except ValueError as err:
            raise Obstacle(f"the source's H.264 is not as it should be: {err}") from err
    return Survey(
        start_pts=start_pts,
        end_pts=end_pts,
        pieces=tuple(found.pieces),
        n_closed=found.n_closed,
        after_pts=found.after_pts,
        before_pts=found.before_pts,
        entry_pts=found.entry_pts,
        sets=sets,
    )


def _packets(container: InputContainer, stream: Any) -> Iterator["Packet[Any]"]:
    def stop(err: BaseException) -> None:
        raise Obstacle(f"the source is damaged here: {err}") from err

    return (packet for packet in read_packets(container, stream, on_fault=stop) if packet.size)


def _checked(sets: ParameterSets) -> ParameterSets:
    """The sets, if they are such as the ends can be made for. Raises: Obstacle, ValueError."""
    if len(sets.sps) != 1 or not sets.pps:
        raise Obstacle("the stream has several sets of parameters")
    sps, pps = h264.parse_sps(sets.sps[0]), [h264.parse_pps(unit) for unit in sets.pps]
    known = (
        (sps.profile in PROFILES, f"its profile is {sps.profile}"),
        (sps.chroma_format == 1 and sps.bit_depths == (8, 8), "pixels have more than 8 bits or other colours"),
        (sps.is_progressive, "pictures may be interlaced"),
        (all(p.n_slice_groups == 1 and p.sps_id == sps.id for p in pps), "its parameter sets are unusual"),
    )
    for is_fit, reason in known:
        if not is_fit:
            raise Obstacle(reason)
    return sets


class _Found:
    """Follows packets up to where no picture of the range, nor the first behind it, can come any more."""

    def __init__(self, start_pts: int, end_pts: int) -> None:
        self._start_pts, self._end_pts = start_pts, end_pts
        self.before_pts: int | None = None
        self._n_behind = 0
        self.pieces: list[Piece] = []
        self.n_closed = 0
        self.after_pts: int | None = None
        self.entry_pts: int | None = None
        self.is_over = False

    def takes(self, packet: "Packet[Any]") -> bool:
        """Whether the packet belongs to the range. Raises: Obstacle if it has no time or is not sound."""
        pts, dts = packet.pts, packet.dts
        if pts is None:
            raise Obstacle("packets have no time")
        if pts < self._start_pts:
            self.before_pts = pts if self.before_pts is None else max(pts, self.before_pts)
            return False
        if pts >= self._end_pts:
            self.after_pts = pts if self.after_pts is None else min(pts, self.after_pts)
            self._n_behind += 1
            self.is_over = self._n_behind > MOST_REORDERED or (dts is not None and dts >= self.after_pts)
            return False
        if packet.is_corrupt:
            raise Obstacle("the source is damaged here")
        if packet.is_discard:
            raise Obstacle("an edit list hides pictures here")
        return True

    def add(self, piece: Piece) -> None:
        """Take a packet of the range."""
        self.pieces.append(piece)
        if not self._n_behind:
            self.n_closed = len(self.pieces)


class _Reader:
    """Reads what a packet holds."""

    def __init__(self, sets: ParameterSets) -> None:
        self._sets = sets
        self._pps_ids = {h264.parse_pps(unit).id for unit in sets.pps}
        self._sps = h264.parse_sps(sets.sps[0])

    def read(self, packet: "Packet[Any]") -> Piece:
        """The packet's facts. Raises: Obstacle, ValueError."""
        kept = sample_units(bytes(packet), self._sets)
        slices = [unit for unit in kept if h264.unit_type(unit) in (h264.SLICE, h264.IDR)]
        if not slices:
            raise Obstacle("a packet holds no picture")
        is_idr = h264.unit_type(slices[0]) == h264.IDR
        head = h264.parse_slice(slices[0], self._sps.frame_num_bits)
        if head.pps_id not in self._pps_ids:
            raise Obstacle("pictures use parameters that are not in the header")
        assert packet.pts is not None
        return Piece(
            pts=packet.pts,
            digest=digest_of(h264.make_sample(kept)),
            is_key=bool(packet.is_keyframe),
            is_idr=is_idr,
            frame_num=head.frame_num,
            is_reference=h264.is_reference(slices[0]),
        )


def sample_units(data: bytes, sets: ParameterSets) -> list[bytes]:
    """The units of a packet that an mp4's sample holds. Raises: Obstacle if others are needed; ValueError."""
    kept = []
    for unit in h264.units(data, sets.length_bytes):
        kind = h264.unit_type(unit)
        if kind in h264.KEPT:
            kept.append(unit)
        elif kind not in h264.DROPPED:
            raise Obstacle(f"the stream has units of type {kind}")
        elif kind in (h264.SPS, h264.PPS) and unit not in sets.sps + sets.pps:
            raise Obstacle("the stream changes its parameters")
    return kept


def digest_of(sample: bytes) -> bytes:
    """Names a sample by its content."""
    return hashlib.blake2b(sample, digest_size=16).digest()


def plan_splice(info: SourceInfo, found: Survey) -> Splice:
    """Choose what is copied. Raises: Obstacle if too little can be."""
    pts = found.pts
    if any(a == b for a, b in pairwise(pts)):
        raise Obstacle("several pictures have one time")
    first = next((n for n, piece in enumerate(found.pieces) if piece.is_idr), None)
    if first is None:
        raise Obstacle("no picture of the range can be begun with")
    run = found.pieces[first : found.n_closed]
    if not run:
        raise Obstacle("no picture of the range can be begun with")
    n_head = pts.index(run[0].pts)
    if n_head != first:
        raise Obstacle("pictures are shown before the one that they follow")
    copied = run[: _longest(run, pts[n_head:])]
    if len(copied) < LEAST_SHARE * len(pts):
        raise Obstacle("too little of the range can be copied")
    if _has_gap(copied, h264.parse_sps(found.sets.sps[0]).frame_num_bits):
        raise Obstacle("pictures are missing in the source here")
    if found.before_pts is not None and found.start_pts < pts[0] and info.holds(found.before_pts, pts[0]):
        raise Obstacle("the range begins within the time of a picture")
    end_pts = shown_until(info, pts[-1], found.after_pts, found.end_pts)
    return Splice(tuple(pts), n_head, copied, end_pts, found.entry_pts, found.sets)


def _longest(run: Sequence[Piece], shown: Sequence[int]) -> int:
    """How many pictures from the first on are shown without one of the others between."""
    longest, last = 0, run[0].pts
    for n, piece in enumerate(run):
        last = max(last, piece.pts)
        if last == shown[n]:
            longest = n + 1
    return longest


def _has_gap(copied: Sequence[Piece], frame_num_bits: int) -> bool:
    """Whether pictures that others rest on were lost on the way, by the numbers of those that are left."""
    last = 0
    for piece in copied:
        if piece.is_idr:
            last = -1
        if piece.frame_num != (last + 1) % (1 << frame_num_bits):
            return True
        if piece.is_reference:
            last = piece.frame_num
    return False
