"""Stage chunk: the grid of work. Pure; rests on the source alone, so that every job and machine cuts it alike."""

import math

from topclip.model.analysis import Chunk
from topclip.model.source import SourceInfo

MIN_CHUNK_S = 20
"""Shorter ones cost more in lead-in decoding than they gain in parallel work."""
MAX_CHUNK_S = 60
"""Longer ones would keep a process from other jobs for too long: a task is not interrupted."""
CHUNKS_WANTED = 64
"""Between the two bounds: more headers of a chord cost more in messages than they gain."""


def plan_chunks(info: SourceInfo) -> tuple[Chunk, ...]:
    """Cut a source into chunks of whole seconds; at least one.

    A rest shorter than half a chunk goes to the last one. The last chunk ends with the source.
    """
    length_s = min(MAX_CHUNK_S, max(MIN_CHUNK_S, math.ceil(info.duration_s / CHUNKS_WANTED)))
    n_chunks = max(1, math.floor(info.duration_s / length_s + 0.5))
    edges_s = [float(i * length_s) for i in range(n_chunks)] + [info.duration_s]
    return tuple(Chunk(index=i, start_s=edges_s[i], end_s=edges_s[i + 1]) for i in range(n_chunks))
