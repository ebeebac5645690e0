"""Cut a range out of what a URL leads to, and read of it no more than that takes: the index, and the bytes of the range.

What was read lies in a sparse local file, so that all who work on it find a local source. Where that cannot be relied on, the
rest is read too; a server that sends no ranges, or a container without an index, is fetched whole.
"""

from functools import partial
from pathlib import Path
from typing import Final, NamedTuple
from uuid import uuid4

from topclip.errors import CheckFailed, EncodeError
from topclip.media.decode import Span
from topclip.media.opening import KNOWN_HEADS, opened_by
from topclip.media.seek import seek_lead_s
from topclip.media.sparse import BLOCK_BYTES, SparseFile
from topclip.media.touch import touch_span
from topclip.model.request import UrlSource
from topclip.model.source import SourceInfo
from topclip.outbound.http import Outbound
from topclip.outbound.ranges import RangeLimits, Ranges, WholeOnly
from topclip.outbound.url import read_url
from topclip.pipeline.context import StageContext
from topclip.pipeline.cut import CutResult, cut_range
from topclip.pipeline.fetch import FetchLimits, fetch_source
from topclip.storage.base import no_room

EBML: Final = b"\x1a\x45\xdf\xa3"


class RemoteCut(NamedTuple):
    """A cut and what it took. read_bytes: of the source's source_bytes. note: why all of it was read."""

    made: CutResult
    read_bytes: int
    source_bytes: int
    note: str | None


def cut_url(
    url: str,
    start_s: float,
    end_s: float,
    out: Path,
    ctx: StageContext,
    *,
    outbound: Outbound,
    limits: FetchLimits,
    is_all_decoded: bool = False,
) -> RemoteCut:
    """Cut as `cut_range` does.

    limits.max_bytes: of what is read, not of the source.
    Raises: as `cut_range` and `fetch_source`; SourceChanged.
    """
    cut = partial(cut_range, start_s=start_s, end_s=end_s, out=out, ctx=ctx, is_all_decoded=is_all_decoded)

    def tick() -> None:
        ctx.report(0.0, 1.0)

    try:
        with outbound.line(tick) as line:
            ranges = Ranges(url, outbound, line, RangeLimits(limits.max_bytes), tick)
            return _cut_by_ranges(ranges, cut, ctx, limits)
    except WholeOnly as why:
        source = UrlSource(url=url, key=f"jobs/{ctx.job_id}/source", name=read_url(url).name)
        fetch_source(source, ctx, outbound, limits=limits, report=lambda *_: ctx.report(0.0, 1.0))
        with ctx.store.local_path(source.key) as path:
            size = path.stat().st_size
            return RemoteCut(cut(path), size, size, str(why))


def _cut_by_ranges(ranges: Ranges, cut: "partial[CutResult]", ctx: StageContext, limits: FetchLimits) -> RemoteCut:
    """Raises: WholeOnly."""
    head = ranges.read(0, BLOCK_BYTES)
    if not (head[4:8] in KNOWN_HEADS or head.startswith(EBML)):
        raise WholeOnly("its container has no index that every reader goes by")
    path, note = ctx.store.staging() / f"{ctx.job_id}-source-{uuid4().hex}", None

    def read(start: int, end: int) -> bytes:
        free = ctx.store.free_bytes()
        if free is not None and free - (end - start) < limits.min_free_bytes:
            raise no_room("source")
        return ranges.read(start, end)

    def gather(info: SourceInfo, span: Span) -> None:
        assert span.start_pts is not None
        lead_s = seek_lead_s(path, info, span.start_pts, ctx.max_pixels)
        touch_span(path, info, span, lead_s, ranges.tick, max_pixels=ctx.max_pixels)

    with SparseFile(path, ranges.size, head, read) as sparse, opened_by(path, sparse.opened):
        try:
            made = cut(path, gather=gather)
        except (EncodeError, CheckFailed) as err:
            if sparse.is_whole:
                raise
            note = f"what its index led to was not enough: {err.message}"
            sparse.fill()
            made = cut(path)
    return RemoteCut(made, ranges.n_bytes, ranges.size, note)
