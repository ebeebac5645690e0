"""What a person is told of a range whose pictures are not all there: frames are missing, or none lies where one was asked for.

Pure. Such a clip is made of what there is; nobody should have to play it to find that out.
"""

from fractions import Fraction
from itertools import pairwise

import numpy as np

from topclip.model.analysis import Analysis
from topclip.model.clip import ClipSpec
from topclip.model.request import Range
from topclip.model.source import HOLD_S, SourceInfo

MOVED_FRAMES = 1.5
"""Edges move to frames; by more than this they are somewhere else."""


def is_moved(info: SourceInfo, asked_s: Range, made_s: Range) -> bool:
    """Whether a range lies elsewhere than where it was asked for."""
    most_s = min(MOVED_FRAMES / float(info.video.rate), HOLD_S / 2)
    return any(abs(a - b) > most_s for a, b in zip(asked_s, made_s, strict=True))


def told_moved(asked_s: Range, made_s: Range) -> str:
    """A sentence about a range that lies elsewhere."""
    asked, made = (f"from {start_s:g} to {end_s:g} s" for start_s, end_s in (asked_s, made_s))
    return f"asked for {asked}, it goes {made}: the source's frames allow no other"


def told_of(info: SourceInfo, analysis: Analysis, spec: ClipSpec, asked_s: Range | None) -> tuple[str, ...]:
    """Sentences about a clip's range. asked_s: where it was wanted, if that is elsewhere."""
    said = []
    if asked_s is not None:
        said.append(told_moved(asked_s, (spec.start_s, spec.end_s)))
    if spec.captions is not None and spec.captions.style is not None and _longest_s(info, analysis, spec) > HOLD_S:
        said.append("words that are drawn into the picture change with it alone, and one stands for over a second here")
    if info.base_fps is None or Fraction(info.base_fps) == info.video.rate:
        said += [
            f"the source has no picture from {start_s:g} to {end_s:g} s: the one before it stands still there"
            for start_s, end_s in _holes(info, analysis, spec)
        ]
    return tuple(said)


def _longest_s(info: SourceInfo, analysis: Analysis, spec: ClipSpec) -> float:
    """How long the picture of the range that is shown for longest stands."""
    return max(b - a for a, b in pairwise([spec.start_s, *_times_s(info, analysis, spec)[1:]]))


def _times_s(info: SourceInfo, analysis: Analysis, spec: ClipSpec) -> list[float]:
    """When the range's frames begin, and where it ends."""
    first, end = np.searchsorted(analysis.frame_pts, [spec.first_pts, spec.end_pts])
    pts = np.append(analysis.frame_pts[first:end], spec.end_pts)
    times_s: list[float] = ((pts - info.video.start_pts) * float(info.video.tick)).tolist()
    return times_s


def _holes(info: SourceInfo, analysis: Analysis, spec: ClipSpec) -> list[tuple[float, float]]:
    frame_s = 1 / float(info.video.rate)
    shown = pairwise(_times_s(info, analysis, spec))
    found = ((max(spec.start_s, a + frame_s), b) for a, b in shown if b - a > HOLD_S + frame_s)
    return [(round(a, 2), round(b, 2)) for a, b in found if a < b]
