"""Stage chunk: the grid of work. Pure; rests on the source alone, so that every job and machine cuts it alike."""

import math

from topclip.model.analysis import Chunk
from topclip.model.source import SourceInfo

MIN_CHUNK_S, MIN_AT_KEY_S = 20, 10
"""Shorter ones cost more in seeking and lead-in than they gain in parallel work; one that begins at a key frame has little."""
MAX_CHUNK_S = 60
"""Longer ones would keep a process from other jobs for too long: a task is not interrupted."""
CHUNKS_WANTED = 64
"""Between the two bounds: more headers of a chord cost more in messages than they gain."""


def n_chunks_wanted(duration_s: float, min_chunk_s: int = MIN_AT_KEY_S) -> int:
    """How many chunks a source is cut into where it can be cut anywhere; at least one.

    A rest shorter than half a chunk goes to the last one.
    """
    return max(1, math.floor(duration_s / _length_s(duration_s, min_chunk_s) + 0.5))


def plan_chunks(info: SourceInfo) -> tuple[Chunk, ...]:
    """Cut a source into chunks, at least one: at the key frames that probe found for it, else at whole seconds.

    The first one is open to the front, the last one to the end.
    """
    starts: list[int] = list(info.chunk_pts)
    if not starts:
        length_s = _length_s(info.duration_s, MIN_CHUNK_S)
        starts = [_pts_at(info, i * length_s) for i in range(1, n_chunks_wanted(info.duration_s, MIN_CHUNK_S))]
    edges = [None, *starts, None]
    times_s = [0.0, *(_time_s(info, pts) for pts in starts), info.duration_s]
    return tuple(
        Chunk(
            index=i,
            start_s=times_s[i],
            end_s=times_s[i + 1],
            start_pts=edges[i],
            end_pts=edges[i + 1],
            is_at_key=i > 0 and bool(info.chunk_pts),
        )
        for i in range(len(edges) - 1)
    )


def _length_s(duration_s: float, min_chunk_s: int) -> int:
    return min(MAX_CHUNK_S, max(min_chunk_s, math.ceil(duration_s / CHUNKS_WANTED)))


def _pts_at(info: SourceInfo, time_s: int) -> int:
    """The first pts at or after a whole second."""
    return info.video.start_pts + math.ceil(time_s / info.video.tick)


def _time_s(info: SourceInfo, pts: int) -> float:
    return round(float((pts - info.video.start_pts) * info.video.tick), 6)
