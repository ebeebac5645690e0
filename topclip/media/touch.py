"""Read once what another program will read of a range, so that a sparse file has it: by the same demuxer, the same way."""

from collections.abc import Callable
from pathlib import Path

from av.container import InputContainer
from av.error import FFmpegError

from topclip.media.decode import Span
from topclip.media.opening import open_media
from topclip.media.packets import read_packets
from topclip.media.splice import MOST_REORDERED
from topclip.model.source import SourceInfo

BEHIND_S = 3.0
BEHIND_PACKETS = 2 * MOST_REORDERED
"""So much behind the range is read too: pictures come out of order, sound comes early or late, and ffmpeg reads ahead."""
MOST_BEHIND_S = 10.0
"""Sound that does not come within so much of the picture has ended before it."""


def touch_span(
    path: Path, info: SourceInfo, span: Span, lead_s: float | None, tick: Callable[[], None], *, max_pixels: int
) -> None:
    """Read the packets of a span that is open to no side, those before it from a seek on, and some behind it.

    lead_s: how long before the span reading begins; None: with the file. tick(): called for each packet; may raise to stop.
    Raises: MediaError if the file cannot be opened; what reading it raises.
    """
    assert span.start_pts is not None
    assert span.end_pts is not None
    ticks = 1 / info.video.tick
    with open_media(path, max_pixels) as container:
        if lead_s is not None:
            container.seek(span.start_pts - round(lead_s * ticks), stream=container.streams[info.video.index])
        _read_to(container, info, float(span.end_pts / ticks) + BEHIND_S, tick)


def _read_to(container: InputContainer, info: SourceInfo, end_s: float, tick: Callable[[], None]) -> None:
    """Up to where picture and sound are behind a time."""
    picture = container.streams[info.video.index]
    streams = [picture] if info.audio is None else [picture, container.streams[info.audio.index]]
    n_behind, has_sound = 0, info.audio is None
    try:
        for packet in read_packets(container, *streams):
            tick()
            if packet.pts is None or packet.pts * packet.time_base < end_s:
                continue
            if packet.stream is not picture:
                has_sound = True
                continue
            n_behind += 1
            is_far = packet.pts * packet.time_base >= end_s + MOST_BEHIND_S
            if n_behind >= BEHIND_PACKETS and (has_sound or is_far):
                return
    except (FFmpegError, OSError):
        return  # others read no further either
