"""Recordings whose colours change on the way: parts of HDR among others, say, joined end to end.

A source's colours are those of its first picture. Where others are likely, a clip is read by what lies at its own start.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from topclip.media.colour import colour_of
from topclip.media.limits import within_memory
from topclip.media.opening import open_media
from topclip.media.packets import read_packets
from topclip.media.part import part_of
from topclip.media.seek import can_seek
from topclip.model.clip import ClipSpec
from topclip.model.source import Colour, SourceInfo

HDR_CODECS: Final = frozenset({"hevc", "av1", "vp9"})
"""What HDR comes in; of others one look for each clip would cost more than it is worth."""
LEADS_S: Final = (2.0, 10.0, 40.0)
"""How far before a picture its key frame is looked for."""
BEHIND_S: Final = 1.0
"""Pictures come out of order by no more than this."""


APART_S: Final = 1.0
"""Key frames that are looked at; where all frames are some, few would be enough."""


class Painted(NamedTuple):
    """A source as a clip reads it: in the colours that it has where the clip begins. changes: it has others in the clip."""

    info: SourceInfo
    changes: bool


def painted(path: Path, info: SourceInfo, spec: ClipSpec, max_pixels: int, tick: Callable[[], None]) -> Painted:
    """Look at the key frames that a clip's pictures rest on.

    tick(): called for each packet; may raise to stop. Raises: MediaError if the file cannot be opened.
    """
    if info.video.codec not in HDR_CODECS or not can_seek(info):
        return Painted(info, changes=False)
    parts = [part_of(info, spec.first_pts, spec.end_pts, max(LEADS_S))]
    with open_media(path, max_pixels, parts=parts) as container, within_memory("looking at the source's colours"):
        first = _at(container, info, spec.first_pts, tick) or info.video.colour
        changes = any(colour != first for colour in _within(container, info, spec, tick))
    video = info.video.model_copy(update={"colour": first})
    return Painted(info.model_copy(update={"video": video}), changes=changes)


def _within(container: InputContainer, info: SourceInfo, spec: ClipSpec, tick: Callable[[], None]) -> Iterator[Colour]:
    """The colours of key frames of a range, APART_S apart at least, as far as they decode."""
    stream = container.streams[info.video.index]
    assert isinstance(stream, VideoStream)
    due = float(spec.first_pts)
    try:
        container.seek(spec.first_pts, stream=stream)
        for packet in read_packets(container, stream):
            tick()
            if packet.pts is None:
                continue
            if packet.pts >= spec.end_pts + BEHIND_S / info.video.tick:
                return
            if packet.is_keyframe and due <= packet.pts < spec.end_pts:
                due = packet.pts + APART_S / float(info.video.tick)
                if colour := _colour_of(stream, packet):
                    yield colour
    except (FFmpegError, OSError):  # damage is told by others
        return


def _colour_of(stream: VideoStream, key: "Packet[Any]") -> Colour | None:
    """Raises: FFmpegError."""
    stream.codec_context.flush_buffers()
    frames = (*stream.codec_context.decode(key), *stream.codec_context.decode(None))
    return next((colour_of(frame) for frame in frames if isinstance(frame, VideoFrame)), None)


def _at(container: InputContainer, info: SourceInfo, at: int, tick: Callable[[], None]) -> Colour | None:
    """The colours of the last key frame up to a time; None if none is found, or it does not decode."""
    stream = container.streams[info.video.index]
    assert isinstance(stream, VideoStream)
    try:
        for lead_s in LEADS_S:
            container.seek(at - round(lead_s / info.video.tick), stream=stream)
            if key := _last_key(container, info, at, tick):
                return _colour_of(stream, key)
    except (FFmpegError, OSError):  # damage is told by others
        return None
    return None


def _last_key(container: InputContainer, info: SourceInfo, at: int, tick: Callable[[], None]) -> "Packet[Any] | None":
    found = None
    for packet in read_packets(container, container.streams[info.video.index]):
        tick()
        if packet.pts is not None and packet.pts > at + BEHIND_S / info.video.tick:
            break
        if packet.is_keyframe and packet.pts is not None and packet.pts <= at:
            found = packet
    return found
