"""A cut out of a URL: what the settings allow to be fetched, and from where."""

from pathlib import Path

from topclip.config import Settings
from topclip.outbound.http import Outbound
from topclip.pipeline.context import StageContext
from topclip.pipeline.fetch import FetchLimits
from topclip.pipeline.remote_cut import RemoteCut, cut_url


def cut_from_url(
    url: str, start: float, end: float, out: Path, ctx: StageContext, *, is_all_decoded: bool
) -> RemoteCut:
    """Cut [start, end) seconds out of a URL. Raises: TopClipError."""
    settings = Settings.from_env()
    outbound = Outbound(settings.private_networks)
    outbound.check(url, "source")
    limits = FetchLimits(settings.max_upload_mb << 20, min_free_bytes=settings.min_free_mb << 20)
    return cut_url(url, start, end, out, ctx, outbound=outbound, limits=limits, is_all_decoded=is_all_decoded)
