"""A splice of one source, and where reading must begin for each of its parts."""

from dataclasses import dataclass
from pathlib import Path

from topclip.media.part import Part, part_of
from topclip.media.splice import Splice
from topclip.model.source import SourceInfo


@dataclass(frozen=True)
class Leads:
    """How long before the head, the tail and the whole range reading begins, in seconds; None: with the file.

    What is decoded of head and tail begins at a key picture; copied packets and the sound go by range_s.
    """

    head_s: float | None
    tail_s: float | None
    range_s: float | None


@dataclass(frozen=True)
class Prospect:
    """All that is known of a clip before it is put together."""

    source: Path
    info: SourceInfo
    splice: Splice
    leads: Leads

    @property
    def part(self) -> Part:
        """What is read of the source."""
        return part_of(self.info, self.entry_pts(self.splice.pts[0], self.leads.range_s), self.splice.end_pts)

    def entry_pts(self, pts: int, lead_s: float | None) -> int | None:
        """The pts so long before another one; None: the file's start."""
        return None if lead_s is None else pts - round(lead_s / self.info.video.tick)
