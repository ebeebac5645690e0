"""At which key frames a source is cut into spans of about equal work, each of which decodes by itself."""

import bisect
import itertools
from collections.abc import Callable
from pathlib import Path

from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream as AvVideo

from topclip.media.opening import open_media
from topclip.media.packets import read_packets
from topclip.media.seek import has_true_times
from topclip.model.source import SourceInfo

MAX_PACKETS = 1000
"""A key frame comes first after a seek; one so far behind is another place."""
MIN_SHARE = 0.5
"""A span shorter than this share of the mean costs more to seek to than it gains."""


def span_starts(
    path: Path, info: SourceInfo, n_spans: int, max_pixels: int, tick: Callable[[], None]
) -> tuple[int, ...]:
    """pts of the key frames at which the spans behind the first one begin, rising; fewer than n_spans - 1 where keys are rare.

    Empty where a source cannot be cut this way: times that may be damaged or made up, no way to seek, hardly any key frames.
    tick(): called for each packet that is looked at; may raise to stop. Raises: MediaError if the file cannot be opened.
    """
    video = info.video
    if n_spans < 2 or not has_true_times(info):
        return ()
    least = round(info.duration_s / n_spans * MIN_SHARE / video.tick)
    last = video.start_pts + round(info.duration_s / video.tick) - least
    found: list[int] = []
    with open_media(path, max_pixels) as container:
        stream = next(s for s in container.streams.video if s.index == video.index)
        for target in _targets(info, stream, n_spans):
            pts = _key_at(container, stream, target, tick)
            if pts is not None and (found[-1] if found else video.start_pts) + least <= pts <= last:
                found.append(pts)
    return tuple(found)


def _targets(info: SourceInfo, stream: AvVideo, n_spans: int) -> list[int]:
    """Times in pts units that part the work: half of it goes with the bytes, by the container's index, half with the time."""
    start, end = info.video.start_pts, info.video.start_pts + round(info.duration_s / info.video.tick)
    entries = [(entry.timestamp, entry.size) for entry in stream.index_entries if start <= entry.timestamp <= end]
    total = sum(size for _, size in entries)
    if not total:
        return [start + (end - start) * k // n_spans for k in range(1, n_spans)]
    times = [pts for pts, _ in entries]
    work = [
        done / total + (pts - start) / (end - start)
        for pts, done in zip(times, itertools.accumulate(size for _, size in entries), strict=True)
    ]
    return [times[min(bisect.bisect_left(work, 2 * k / n_spans), len(times) - 1)] for k in range(1, n_spans)]


def _key_at(container: InputContainer, stream: AvVideo, target: int, tick: Callable[[], None]) -> int | None:
    """pts of the key frame at or before a time."""
    try:
        container.seek(target, stream=stream)
        for packet in itertools.islice(read_packets(container, stream), MAX_PACKETS):
            tick()
            if packet.size and packet.is_keyframe:
                return packet.pts
    except (FFmpegError, OSError):
        pass  # it is not cut here
    return None
