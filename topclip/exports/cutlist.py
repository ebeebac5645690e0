"""What every export is made of: the source, and the clips of its plan in frames."""

from dataclasses import dataclass
from fractions import Fraction

from topclip.exports.timecode import Rate, rate_of
from topclip.model.clip import Highlight, Plan
from topclip.model.geometry import Geometry, plan_geometry
from topclip.model.request import Aspect, Fit
from topclip.model.source import SourceInfo


@dataclass(frozen=True)
class CutFrames:
    """A clip as frames [first, end) of the source, at the rate that an editing program gives it."""

    highlight: Highlight
    first: int
    end: int

    @property
    def n_frames(self) -> int:
        """Its length."""
        return self.end - self.first


@dataclass(frozen=True)
class CutList:
    """The clips of a plan, by number.

    url: where the source lies, absolute or relative to the export. start_frame: what the timecode of the source's first frame
    counts. n_frames: of the source. geometry: of the clips.
    """

    info: SourceInfo
    url: str
    rate: Rate
    start_frame: int
    n_frames: int
    cuts: tuple[CutFrames, ...]
    geometry: Geometry

    @property
    def name(self) -> str:
        """The source's name on one line, without what no text format may hold."""
        return "".join(c if c.isprintable() else " " for c in self.info.name) or "source"


def cut_list(plan: Plan, info: SourceInfo, url: str) -> CutList:
    """A plan's clips in frames. Times come from pts, so that nothing is rounded twice."""
    rate, start_pts, tick = rate_of(info), info.video.start_pts, info.video.tick
    cuts = []
    for h in plan.highlights:
        first, end = (rate.frame_at((pts - start_pts) * tick) for pts in (h.start_pts, h.end_pts))
        cuts.append(CutFrames(h, first, max(end, first + 1)))
    n_frames = max([rate.frame_at(Fraction(info.duration_s)), *(cut.end for cut in cuts)])
    return CutList(info, url, rate, rate.frame_of(info.timecode or ""), n_frames, tuple(cuts), _geometry(plan, info))


def _geometry(plan: Plan, info: SourceInfo) -> Geometry:
    return plan_geometry(info.video, Aspect(plan.options["aspect"]), Fit(plan.options["fit"]))
