"""Sound that is there and does not decode. A clip of it is as silent as one of silence, and nobody would know why."""

from collections.abc import Callable
from pathlib import Path

from av.error import FFmpegError

from topclip.media.limits import within_memory
from topclip.media.opening import open_media
from topclip.media.packets import read_packets
from topclip.model.source import SourceInfo

LEAD_S = 1.0
BEHIND_S = 0.5
"""So long behind the range, by picture or sound, no more of it comes."""


def undecoded_s(
    source: Path, info: SourceInfo, span_s: tuple[float, float], max_pixels: int, tick: Callable[[], None]
) -> float:
    """Seconds of the sound's packets in a range that give an error.

    span_s: from the source's first frame. tick(): called for each packet; may raise to stop.
    Raises: MediaError if the file cannot be opened.
    """
    if info.audio is None:
        return 0.0
    start_s, end_s = span_s
    first_s = float(info.video.start_pts * info.video.tick)
    lost_s = 0.0
    with open_media(source, max_pixels) as container, within_memory("looking at the sound"):
        streams = [container.streams[index] for index in (info.audio.index, info.video.index)]
        try:
            container.seek(round((first_s + start_s - LEAD_S) * 1e6))
            for packet in read_packets(container, *streams):
                tick()
                at_s = None if packet.dts is None else float(packet.dts * packet.time_base) - first_s
                if at_s is not None and at_s > end_s + BEHIND_S:
                    break
                if packet.stream.index != info.audio.index:
                    continue
                try:
                    packet.decode()
                except FFmpegError:
                    if at_s is not None and start_s <= at_s < end_s:
                        lost_s += float((packet.duration or 0) * packet.time_base)
        except (FFmpegError, OSError):
            return lost_s  # what cannot be read is told by others
    return lost_s
