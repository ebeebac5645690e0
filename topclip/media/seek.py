"""Where decoding must begin so that a given frame comes out whole."""

from pathlib import Path

from av.container import InputContainer
from av.error import FFmpegError

from topclip.media.opening import open_media
from topclip.media.packets import read_packets
from topclip.media.part import part_of
from topclip.media.timeline import RESTARTING_FORMATS
from topclip.model.source import SourceInfo

LEADS_S = (2.0, 12.0, 75.0)
"""How far before the wanted frame to look for a key frame, nearest first: past the pictures that an open group of
pictures leaves broken, and past what a container without an index (MPEG-TS) lands on."""
INDEXED_LEAD_S = 0.5
"""Enough in an mp4, whose index leads to each track's own packets: the sound needs some to begin with, the picture none."""
INDEXED = "mov"
MAX_PACKETS, MOST_AHEAD_S = 3000, 10
"""Looked at for a key frame, and how far behind the wanted one."""
UNSEEKABLE = frozenset(
    {"h264", "hevc", "vvc", "m4v", "mpegvideo", "obu", "av1", "h263", "h261", "vc1", "mjpeg", "gif", "apng"}
)
"""Bare streams: their timestamps are counted from wherever reading began."""


def can_seek(info: SourceInfo) -> bool:
    """Whether a position in the container can be found by time."""
    return not UNSEEKABLE & set(info.container.split(","))


def has_true_times(info: SourceInfo) -> bool:
    """Whether the times of packets are those that their frames are shown at: neither made up nor likely to be damaged."""
    return can_seek(info) and info.video.dts_lag is None and info.container not in RESTARTING_FORMATS


def seek_lead_s(path: Path, info: SourceInfo, start_pts: int, max_pixels: int) -> float | None:
    """How many seconds before a frame to seek to, so that a key frame lies between; None: begin with the file.

    Where a container has no pts, frames are told by their number, so they are counted from the file's start.
    Raises: MediaError if the file cannot be opened.
    """
    if not can_seek(info) or info.video.dts_lag is not None:
        return None
    before_s = float((start_pts - info.video.start_pts) * info.video.tick)
    part = part_of(info, start_pts, start_pts + round(MOST_AHEAD_S / info.video.tick), max(LEADS_S))
    with open_media(path, max_pixels, parts=[part]) as container:
        for lead_s in (INDEXED_LEAD_S, *LEADS_S) if INDEXED in info.container.split(",") else LEADS_S:
            if lead_s >= before_s:
                return None
            if _has_key(container, info, start_pts, lead_s):
                return lead_s
    return None


def _has_key(container: InputContainer, info: SourceInfo, start_pts: int, lead_s: float) -> bool:
    stream = container.streams[info.video.index]
    try:
        container.seek(start_pts - round(lead_s / info.video.tick), stream=stream)
        for n, packet in enumerate(read_packets(container, stream)):
            pts = packet.pts if packet.pts is not None else packet.dts
            if packet.size and packet.is_keyframe:
                return pts is not None and pts <= start_pts
            if n > MAX_PACKETS or (pts is not None and pts > start_pts + MOST_AHEAD_S / info.video.tick):
                return False
    except (FFmpegError, OSError):
        return False
    return False
