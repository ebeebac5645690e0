"""Cut one given range out of a file, without a plan: the sound as it is, the picture in its own shape.

What can be copied is copied, by what the packets tell and without decoding the range; else all of it is encoded.
"""

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from topclip.analysers.frames import FrameNumbers
from topclip.errors import InvalidRequest
from topclip.media.decode import Faults, Picture, Span, decode_span
from topclip.media.encode import Level
from topclip.media.probe import check_limits, probe
from topclip.media.splice import Obstacle
from topclip.media.timeline import shown_until, true_leaps
from topclip.media.undecoded import undecoded_s
from topclip.model.clip import ClipSpec
from topclip.model.request import Aspect, Fit, Quality, Range
from topclip.model.source import SourceInfo
from topclip.pipeline.context import StageContext
from topclip.pipeline.holes import is_moved, told_moved
from topclip.pipeline.render import encode_file
from topclip.pipeline.shares import picture_shares
from topclip.pipeline.smart import find_prospect, make_smart


class CutResult(NamedTuple):
    """A cut that was made.

    copied: frames that are the source's own to the bit. note: why there are none. range_s: from its first frame to the end of
    its last. moved: what to tell where that is not what was asked for.
    """

    method: Literal["smart", "encode"]
    frames: int
    copied: int
    note: str | None
    range_s: Range
    moved: str | None = None


ROUNDED_S = 0.5e-6
"""Of a time in six digits, as all documents have them, to the true one, at most."""

Gather = Callable[[SourceInfo, Span], None]
"""gather(info, span): called once, before anything but PyAV reads the source."""


def is_there(info: SourceInfo, span: Span) -> None:
    """All of the source is there already."""


def cut_range(
    source: Path,
    start_s: float,
    end_s: float,
    out: Path,
    ctx: StageContext,
    *,
    gather: Gather = is_there,
    is_all_decoded: bool = False,
) -> CutResult:
    """Cut the frames whose time lies in [start_s, end_s).

    out: appears only when it is complete and checked, and replaces what was there. gather: has there what ffmpeg will read.
    is_all_decoded: decode what was copied too, before it is given out.
    Raises: InvalidRequest if the range is empty or goes beyond the source's end; MediaError; JobStopped.
    """
    if not 0 <= start_s < end_s:
        raise InvalidRequest(
            f"{start_s:g}-{end_s:g} is no range",
            {"field": "end", "hint": "end must be after start, start not before 0"},
        )
    info = probe(source, max_pixels=ctx.max_pixels)
    check_limits(info, max_duration_s=None, max_pixels=ctx.max_pixels)
    if start_s >= info.duration_s or end_s > info.duration_s + info.slack_s + 1e-6:
        field = "start" if start_s >= info.duration_s else "end"
        raise InvalidRequest(
            f"{start_s:g}-{end_s:g} s {'begins' if field == 'start' else 'ends'} after the source's end: "
            f"it lasts {info.duration_s:g} s",
            {"field": field, "hint": f"choose a time up to {info.duration_s:g}"},
        )
    span = _span(info, start_s, end_s)
    gather(info, span)
    scratch = out.with_name(f".{out.name}-{os.getpid()}.mp4")
    try:
        try:
            made = _copy(source, info, span, scratch, ctx, is_all_decoded=is_all_decoded)
        except Obstacle as why:
            spec = _decoded_spec(source, info, span, ctx.max_pixels)
            note = str(why)
            if lost_s := undecoded_s(
                source, info, (spec.start_s, spec.end_s), ctx.max_pixels, lambda: ctx.report(0, 1)
            ):
                note += f"; {lost_s:.1f} s of the sound cannot be decoded, and are silent"
            n_frames = encode_file(source, info, spec, ctx, scratch)
            made = CutResult("encode", n_frames, 0, note, (spec.start_s, spec.end_s))
        scratch.replace(out)
    finally:
        scratch.unlink(missing_ok=True)
    asked_s = start_s, end_s
    return made._replace(moved=told_moved(asked_s, made.range_s)) if is_moved(info, asked_s, made.range_s) else made


def _span(info: SourceInfo, start_s: float, end_s: float) -> Span:
    """A frame counts by the time that is told of it."""
    video = info.video
    first, last = (video.start_pts + math.ceil((round(t, 6) - ROUNDED_S) / video.tick - 1e-6) for t in (start_s, end_s))
    return Span(first, last)


def _copy(
    source: Path, info: SourceInfo, span: Span, out: Path, ctx: StageContext, *, is_all_decoded: bool
) -> CutResult:
    """Raises: Obstacle if it must be encoded."""
    prospect = find_prospect(source, info, span, ctx)
    splice = prospect.splice
    spec = _spec(info, splice.pts, splice.end_pts)
    make_smart(prospect, spec, Level(0.0), out, ctx, is_all_decoded=is_all_decoded)
    return CutResult("smart", len(splice.pts), len(splice.copied), None, (spec.start_s, spec.end_s))


class _Shown:
    """Collects the pictures of a span: the one before it too, where that is shown for long and into the span."""

    def __init__(self, info: SourceInfo, span: Span) -> None:
        assert span.start_pts is not None
        assert span.end_pts is not None
        self._info, self._first, self._last = info, span.start_pts, span.end_pts
        self._before: Picture | None = None
        self._after: int | None = None
        self.pts: list[int] = []
        self.numbers = FrameNumbers()

    def take(self, picture: Picture) -> bool:
        """Take the next picture; whether there may be more."""
        if not picture.is_owned:
            self._before = picture
        elif picture.pts < self._last:
            self._begin(picture.pts)
            self._show(picture)
        else:
            self._after = picture.pts
        return self._after is None

    def end(self) -> int | None:
        """Where the last picture's time ends within the span; None if there is no picture."""
        self._begin(self._info.end_pts if self._after is None else self._after)
        return shown_until(self._info, self.pts[-1], self._after, self._last) if self.pts else None

    def _begin(self, at: int) -> None:
        before = self._before
        if not self.pts and before is not None and self._first < at and self._info.holds(before.pts, at):
            self._show(before)

    def _show(self, picture: Picture) -> None:
        self.pts.append(picture.pts)
        self.numbers.add(picture.pts, picture.thumb, is_owned=True)


def _decoded_spec(source: Path, info: SourceInfo, span: Span, max_pixels: int) -> ClipSpec:
    """The clip by the pictures that decoding finds in a span. Raises: InvalidRequest if there are none."""
    silent, shown = info.model_copy(update={"audio": None}), _Shown(info, span)
    for item in decode_span(source, silent, Span(span.start_pts, None), Faults(), max_pixels=max_pixels):
        if isinstance(item, Picture) and not shown.take(item):
            break
    after = shown.end()
    if after is None:
        raise InvalidRequest(
            f"the source has no picture in this range; it lasts {info.duration_s:g} s", {"field": "start"}
        )
    spec = _spec(info, shown.pts, after, span.start_pts)
    known = shown.numbers.arrays()
    shares = picture_shares(info, spec, known["pts"], known["grids"], known["differences"][:, 0])
    return spec.model_copy(update={"shares": shares})


def _spec(info: SourceInfo, found: Sequence[int], after: int, first: int | None = None) -> ClipSpec:
    """The clip of these pictures, up to the time `after`; from the time `first` on, where one is shown since before that."""
    video = info.video
    start = found[0] if first is None else max(first, found[0])
    times_s = [round(float((pts - video.start_pts) * video.tick), 6) for pts in (start, after)]
    return ClipSpec(
        n=1,
        start_s=times_s[0],
        end_s=times_s[1],
        start_pts=start,
        end_pts=after,
        held_pts=None if start == found[0] else found[0],
        frames=len(found),
        true_leaps=true_leaps(info, found),
        aspect=Aspect.SOURCE,
        fit=Fit.CROP,
        quality=Quality.HIGH,
        loudness=-14.0,
        source_loudness=None,
    )
