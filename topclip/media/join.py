"""Put a splice together: head, copied packets, tail and sound into one mp4, nothing decoded.

Decoding times are made anew from the presentation times, since those of three encoders do not fit together.
"""

import contextlib
import heapq
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.stream import VideoStream

from topclip.errors import EncodeError, StorageFull
from topclip.media import h264
from topclip.media.encode import AUDIO_RATE_HZ
from topclip.media.ends import Ends
from topclip.media.ffmpeg import NO_ROOM_NUMBERS
from topclip.media.guard import file_url
from topclip.media.limits import within_memory
from topclip.media.opening import open_media
from topclip.media.packets import read_packets
from topclip.media.prospect import Prospect
from topclip.media.splice import Obstacle, Piece, digest_of, sample_units
from topclip.media.timeline import frame_ticks
from topclip.model.source import SourceInfo

LEAST_TIMESCALE, MOST_TIMESCALE = 10_000, 1 << 31


class Sample(NamedTuple):
    """A picture as the mp4 holds it; pts counts from the clip's start."""

    pts: int
    content: bytes
    is_key: bool


class _Parts(NamedTuple):
    """The files that ffmpeg made, opened."""

    head: InputContainer | None
    tail: InputContainer | None
    sound: InputContainer | None

    @property
    def ends(self) -> list[InputContainer]:
        """Those with pictures."""
        return [part for part in (self.head, self.tail) if part is not None]


def join(prospect: Prospect, ends: Ends, out: Path, tick: Callable[[], None]) -> None:
    """Write the clip. tick(): called for each packet; may raise to stop.

    Raises: EncodeError if it does not fit together; StorageFull; MediaError if a file cannot be opened.
    """
    with _joining() as stack:

        def opened(path: Path | None) -> InputContainer | None:
            return None if path is None else stack.enter_context(open_media(path))

        parts = _Parts(opened(ends.head), opened(ends.tail), opened(ends.sound))
        container = stack.enter_context(open_media(prospect.source, parts=[prospect.part]))
        writer = stack.enter_context(_Writer(out, prospect, container, parts))
        _write(writer.container, writer.pictures(_samples(container, prospect, parts)), writer.sound(), tick)


def join_sound(clip: Path, sound: Path, out: Path, tick: Callable[[], None]) -> None:
    """Write a clip's pictures, as they are and as long as they are shown, with the sound of another mp4.

    By FFmpeg's own copying the last picture in decoding order would get another length. tick, Raises: as of `join`.
    """
    with _joining() as stack:
        pictures, heard = (stack.enter_context(open_media(path)) for path in (clip, sound))
        container = stack.enter_context(_opened_mp4(out, pictures.streams.video[0].time_base))
        seen = container.add_stream_from_template(pictures.streams.video[0], opaque=True)
        seen.time_base = pictures.streams.video[0].time_base
        told = container.add_stream_from_template(heard.streams.audio[0], opaque=True)
        _write(container, _same_pictures(pictures, seen), _same(heard, told), tick)


@contextlib.contextmanager
def _joining() -> Iterator[contextlib.ExitStack]:
    """For files to be open in. Raises: EncodeError, StorageFull."""
    try:
        with contextlib.ExitStack() as stack, within_memory("joining the clip"):
            yield stack
    except OSError as err:  # FFmpeg's errors that have a number are such too
        if err.errno in NO_ROOM_NUMBERS:
            hint = "Free some of the store's disk, then retry the job."
            raise StorageFull("no room left for a clip", {"hint": hint}) from err
        raise EncodeError(f"the clip cannot be joined: {err}") from err
    except (FFmpegError, ValueError, Obstacle) as err:
        raise EncodeError(f"the clip cannot be joined: {err}") from err


def _write(
    container: OutputContainer,
    pictures: Iterable["Packet[Any]"],
    sound: Iterable["Packet[Any]"],
    tick: Callable[[], None],
) -> None:
    for packet in heapq.merge(pictures, sound, key=_decoded_s):
        tick()
        container.mux_one(packet)


def _opened_mp4(out: Path, tick: Fraction | None) -> OutputContainer:
    """An mp4 whose length is told as exactly as the times of its pictures and sound, as ffmpeg does; else in milliseconds."""
    scale = tick.denominator if tick else 1
    while scale < LEAST_TIMESCALE:  # as the muxer does with a track's
        scale *= 2
    exact = math.lcm(scale, AUDIO_RATE_HZ)
    options = {"movflags": "faststart", "fflags": "bitexact"}
    options["movie_timescale"] = str(exact if exact < MOST_TIMESCALE else scale)
    found: OutputContainer = av.open(file_url(out), "w", format="mp4", container_options=options)
    return found


def decoding_times(pts: Iterable[int], step: int) -> list[int]:
    """Decoding times for presentation times in decoding order: strictly rising, none later than its picture is shown.

    step: between those before the first presentation time, of which there are as many as pictures are reordered.
    """
    order = list(pts)
    shown = sorted(order)
    place = {value: n for n, value in enumerate(shown)}
    delay = max((n - place[value] for n, value in enumerate(order)), default=0)
    return [shown[n - delay] if n >= delay else shown[0] - (delay - n) * step for n in range(len(order))]


class _Writer:
    """The clip's file: one picture stream whose header has the parameter sets of all, one of sound."""

    def __init__(self, out: Path, prospect: Prospect, container: InputContainer, parts: _Parts) -> None:
        self._splice, self._parts = prospect.splice, parts
        video = prospect.info.video
        self._step, self._tick = frame_ticks(video), video.tick
        self.container = _opened_mp4(out, self._tick)
        self._picture = self.container.add_stream_from_template(container.streams[video.index], opaque=True)
        made = [h264.read_extradata(c.streams.video[0].codec_context.extradata) for c in parts.ends]
        sps, pps = (
            tuple(dict.fromkeys(u for s in (prospect.splice.sets, *made) for u in getattr(s, k)))
            for k in ("sps", "pps")
        )
        self._picture.codec_context.extradata = h264.make_avcc(sps, pps)
        self._picture.time_base = video.tick
        self._picture.codec_context.bit_rate = 0  # that of the whole source, which says nothing of the clip
        self._sound: AudioStream | None = None
        if parts.sound is not None:
            self._sound = self.container.add_stream_from_template(parts.sound.streams.audio[0], opaque=True)

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self.container.close()

    def pictures(self, samples: Iterable[Sample]) -> Iterator["Packet[Any]"]:
        """Samples in decoding order as packets."""
        splice, start = self._splice, self._splice.pts[0]
        times = decoding_times(splice.decoding_order, self._step)
        length = splice.end_pts - start
        for n, (sample, dts) in enumerate(zip(samples, times, strict=True)):
            packet: Packet[Any] = Packet(sample.content)
            packet.stream, packet.time_base = self._picture, self._tick
            packet.pts, packet.dts, packet.is_keyframe = sample.pts - start, dts - start, sample.is_key
            packet.duration = _duration(length, sample.pts - start, dts - times[0], is_last=n == len(times) - 1)
            yield packet

    def sound(self) -> Iterator["Packet[Any]"]:
        """The sound's packets as they were made."""
        if self._parts.sound is not None and self._sound is not None:
            yield from _same(self._parts.sound, self._sound)


def _duration(length: int, pts: int, since_first: int, *, is_last: bool) -> int:
    """What to say of a picture so that the clip is so long. As in `encode`: the muxer keeps the length of the last one in
    decoding order, and the end of the one shown last.

    pts: from the clip's start. since_first: of its decoding time.
    """
    return length - (since_first if is_last else pts)


def _same(container: InputContainer, stream: AudioStream) -> Iterator["Packet[Any]"]:
    """The sound's packets for another file's stream."""
    for packet in container.demux(container.streams.audio[0]):
        if packet.size:
            packet.stream = stream
            yield packet


def _same_pictures(container: InputContainer, stream: VideoStream) -> Iterator["Packet[Any]"]:
    """A clip's pictures for another file's stream, one at a time: all of a long clip would fill the memory."""
    video = container.streams.video[0]
    first_dts: int | None = None
    for packet, after in pairwise(chain((p for p in container.demux(video) if p.size), [None])):
        assert packet is not None
        assert packet.pts is not None
        assert packet.dts is not None
        first_dts = packet.dts if first_dts is None else first_dts
        packet.duration = _duration(video.duration or 0, packet.pts, packet.dts - first_dts, is_last=after is None)
        packet.stream = stream
        yield packet


def _samples(container: InputContainer, prospect: Prospect, parts: _Parts) -> Iterator[Sample]:
    """All pictures in decoding order. Raises: ValueError where they are not as planned."""
    info, splice = prospect.info, prospect.splice
    yield from _made(parts.head, info, splice.pts[: splice.n_head])
    yield from _copied(container, prospect)
    yield from _made(parts.tail, info, splice.pts[len(splice.pts) - splice.n_tail :])


def _made(container: InputContainer | None, info: SourceInfo, pts: Sequence[int]) -> Iterator[Sample]:
    """The pictures of an end."""
    if container is None:
        return
    stream = container.streams.video[0]
    sets = h264.read_extradata(stream.codec_context.extradata)
    packets = (packet for packet in container.demux(stream) if packet.size)
    for at, packet in zip(pts, packets, strict=True):
        if packet.pts is None or packet.pts * packet.time_base != (at - pts[0]) * info.video.tick:
            raise ValueError("an end has other times than the source")
        sample = h264.make_sample(sample_units(bytes(packet), sets))
        yield Sample(at, sample, bool(packet.is_keyframe))


def _copied(container: InputContainer, prospect: Prospect) -> Iterator[Sample]:
    """The source's packets, which must be those that were surveyed."""
    splice, stream = prospect.splice, container.streams[prospect.info.video.index]
    pieces = iter(splice.copied)
    piece: Piece | None = next(pieces)
    entry = prospect.entry_pts(splice.pts[0], prospect.leads.range_s)
    if entry is not None:
        container.seek(entry, stream=stream)
    for packet in read_packets(container, stream):
        if piece is None:
            return
        if packet.size and packet.pts == piece.pts:
            sample = h264.make_sample(sample_units(bytes(packet), splice.sets))
            if digest_of(sample) != piece.digest:
                raise ValueError("the source changed meanwhile")
            yield Sample(piece.pts, sample, piece.is_key)
            piece = next(pieces, None)
    if piece is not None:
        raise ValueError("the source ends earlier than before")


def _decoded_s(packet: "Packet[Any]") -> Fraction:
    assert packet.dts is not None
    return packet.dts * packet.time_base
