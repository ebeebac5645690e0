"""What of a file will be read."""

import math
from typing import NamedTuple

from topclip.model.source import SourceInfo

MARGIN_S = 10.0
"""Pictures come out of order, sound comes early or late."""


class Part(NamedTuple):
    """Seconds on the container's clock; reading begins at the last key picture by the start.

    margin_s: what may be read beside it.
    """

    start_s: float
    end_s: float
    margin_s: float = MARGIN_S


def part_of(info: SourceInfo, start_pts: int | None, end_pts: int | None, lead_s: float = 0.0) -> Part:
    """The part between two times of the picture; None: open to that side. lead_s: how much earlier reading begins."""
    start_s = -math.inf if start_pts is None else float(start_pts * info.video.tick) - lead_s
    return Part(start_s, math.inf if end_pts is None else float(end_pts * info.video.tick))
