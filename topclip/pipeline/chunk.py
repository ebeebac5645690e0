"""Stage chunk: the grid of work. Pure; rests on the source alone."""

from topclip.model.analysis import Chunk
from topclip.model.source import SourceInfo


def plan_chunks(info: SourceInfo) -> tuple[Chunk, ...]:
    """Cut a source into chunks of work; at least one."""
    raise NotImplementedError
