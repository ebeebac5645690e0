"""At which key frames a source is cut into spans of about equal work, each of which decodes by itself."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream as AvVideo

from topclip.media.boxes import Numbers
from topclip.media.long_index import times_and_sizes
from topclip.media.opening import open_media
from topclip.media.packets import read_packets
from topclip.media.part import Part
from topclip.media.seek import has_true_times
from topclip.model.source import SourceInfo

MAX_PACKETS = 1000
"""A key frame comes first after a seek; one so far behind is another place."""
AT_ONCE, KEY_MARGIN_S = 32, 1.0
"""Of key frames that are looked for in one opening, and how much beside them it shows."""
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
    targets = _targets(path, info, n_spans, max_pixels)
    found: list[int] = []
    for first in range(0, len(targets), AT_ONCE):
        group = targets[first : first + AT_ONCE]
        times_s = [float(target * video.tick) for target in group]
        with open_media(
            path, max_pixels, parts=[Part(at_s, at_s, margin_s=KEY_MARGIN_S) for at_s in times_s]
        ) as container:
            stream = next(s for s in container.streams.video if s.index == video.index)
            for target in group:
                pts = _key_at(container, stream, target, tick)
                if pts is not None and (found[-1] if found else video.start_pts) + least <= pts <= last:
                    found.append(pts)
    return tuple(found)


def _targets(path: Path, info: SourceInfo, n_spans: int, max_pixels: int) -> list[int]:
    """Times in pts units that part the work: half of it goes with the bytes, by the container's index, half with the time."""
    start, end = info.video.start_pts, info.video.start_pts + round(info.duration_s / info.video.tick)
    times, sizes = _index(path, info, max_pixels)
    is_inside = (start <= times) & (times <= end)
    times, done = times[is_inside], np.cumsum(sizes[is_inside])
    if not len(done) or not done[-1]:
        return [start + (end - start) * k // n_spans for k in range(1, n_spans)]
    work = done / done[-1] + (times - start) / (end - start)
    places = np.searchsorted(work, 2 * np.arange(1, n_spans) / n_spans)
    return [int(at) for at in times[np.minimum(places, len(times) - 1)]]


def _index(path: Path, info: SourceInfo, max_pixels: int) -> tuple[Numbers, Numbers]:
    """Times and sizes as FFmpeg knows them."""
    found = times_and_sizes(path, info.video.index)
    with open_media(path, max_pixels, parts=None if found is None else []) as container:
        entries = container.streams[info.video.index].index_entries
        if found is not None and len(entries):  # whose first one is there, by which FFmpeg's clock is known
            times, sizes = found
            return times - times[0] + entries[0].timestamp, sizes
        numbers = (number for entry in entries for number in (entry.timestamp, entry.size))
        times, sizes = np.fromiter(numbers, np.int64, 2 * len(entries)).reshape(-1, 2).T
    return times, sizes


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
