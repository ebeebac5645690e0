"""Make a clip of the source's own shape without encoding what can be copied: survey, ends, join, proof.

Nothing is given out that was not compared with the source. Whoever cannot have a clip this way gets an Obstacle that says
why, and encodes.
"""

from collections.abc import Callable
from pathlib import Path

from topclip.errors import MediaError
from topclip.media.decode import Span
from topclip.media.encode import Level
from topclip.media.ends import Ends, ends_allowance, ends_args
from topclip.media.ffmpeg import run_ffmpeg
from topclip.media.join import join
from topclip.media.limits import timed, work_s
from topclip.media.proof import prove
from topclip.media.prospect import Leads, Prospect
from topclip.media.seek import seek_lead_s
from topclip.media.splice import Obstacle, Splice, check_source, plan_splice, survey
from topclip.model.clip import ClipSpec
from topclip.model.source import SourceInfo
from topclip.pipeline.context import StageContext

INDEXLESS = "mpegts"
"""Where a position is found by guessing, so that a seek may land behind the picture that it was for."""


def find_prospect(source: Path, info: SourceInfo, span: Span, ctx: StageContext) -> Prospect:
    """What of a span can be copied; nothing is decoded. Raises: Obstacle, JobStopped."""
    check_source(info)
    assert span.start_pts is not None
    assert span.end_pts is not None
    length_s = float((span.end_pts - span.start_pts) * info.video.tick)
    tick = timed(lambda: ctx.report(0.0, length_s), work_s(length_s, 0), "reading the source")
    try:
        lead_s = seek_lead_s(source, info, span.start_pts, ctx.max_pixels)
        found = survey(source, info, span, lead_s, tick, max_pixels=ctx.max_pixels)
        splice = plan_splice(info, found)
        return Prospect(source, info, splice, _leads(source, info, splice, lead_s, ctx))
    except MediaError as err:
        raise Obstacle(err.message) from err


def _leads(source: Path, info: SourceInfo, splice: Splice, lead_s: float | None, ctx: StageContext) -> Leads:
    if info.container == INDEXLESS:
        tail_s = seek_lead_s(source, info, splice.tail_pts, ctx.max_pixels) if splice.n_tail else lead_s
        return Leads(lead_s, tail_s, lead_s)
    head_s, tick = lead_s, info.video.tick
    if lead_s is not None and splice.entry_pts is not None:
        head_s = float((splice.pts[0] - splice.entry_pts) * tick)
    return Leads(head_s, float((splice.tail_pts - splice.tail_entry_pts) * tick), lead_s)


def make_smart(
    prospect: Prospect, spec: ClipSpec, level: Level, out: Path, ctx: StageContext, *, is_all_decoded: bool = False
) -> None:
    """Make the clip and prove it, as `prove` does.

    Raises: Obstacle if it cannot be, or is not as it should be; JobStopped, StorageError.
    """
    splice, length_s = prospect.splice, spec.end_s - spec.start_s
    if (spec.frames, spec.start_pts, spec.end_pts) != (len(splice.pts), splice.pts[0], splice.end_pts):
        raise Obstacle("decoding finds other pictures in the range than its packets tell")
    ends = Ends.beside(out, prospect.info, splice)
    allowance = ends_allowance(prospect, spec, ctx.memory_bytes)
    args = ends_args(prospect, spec, ends, level, ctx.max_pixels)
    tick = timed(lambda: ctx.report(length_s, length_s), allowance.wall_s or 0.0, "joining the clip")
    try:
        if ends.paths:
            run_ffmpeg(
                ctx.ffmpeg, args, lambda done_s: ctx.report(min(done_s, length_s), length_s), allowance=allowance
            )
        join(prospect, ends, out, tick)
        prove_smart(prospect, out, tick, ctx.max_pixels, ctx.threads, is_all_decoded=is_all_decoded)
    except MediaError as err:
        raise Obstacle(err.message) from err
    finally:
        for path in ends.paths:
            path.unlink(missing_ok=True)


def prove_smart(
    prospect: Prospect,
    out: Path,
    tick: Callable[[], None],
    max_pixels: int,
    threads: int = 1,
    *,
    is_all_decoded: bool = False,
) -> None:
    """Whether a file is the clip that was joined by this prospect. Raises: Obstacle with what is wrong; JobStopped."""
    try:
        prove(prospect, out, tick, max_pixels, threads, is_all_decoded=is_all_decoded)
    except MediaError as err:
        raise Obstacle(err.message) from err
