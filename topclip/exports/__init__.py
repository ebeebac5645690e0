"""A plan as other programs read it: editing programs, spreadsheets, players. Pure text, one format a file.

All of them speak of the source's own time, from its first frame or from its own timecode, so that an editor can take the
source itself and finds each clip where it lies.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from topclip.exports.chapters import ffmetadata, youtube_chapters
from topclip.exports.cutlist import CutList, cut_list
from topclip.exports.edl import edl
from topclip.exports.fcpxml import fcpxml
from topclip.exports.table import table


class Kind(NamedTuple):
    """A format: how it is made, its media type, and what it is."""

    write: Callable[[CutList], str]
    media_type: str
    description: str


KINDS: Final = {
    "edl": Kind(edl, "text/plain; charset=utf-8", "CMX 3600 edit decision list, for any editing program"),
    "fcpxml": Kind(fcpxml, "application/xml", "Final Cut Pro XML 1.9, also for DaVinci Resolve"),
    "csv": Kind(table, "text/csv; charset=utf-8", "a table, with each signal's share in the score"),
    "chapters": Kind(youtube_chapters, "text/plain; charset=utf-8", "chapters as YouTube's descriptions have them"),
    "ffmetadata": Kind(ffmetadata, "text/plain; charset=utf-8", "chapters as ffmpeg reads them"),
}
"""By name, which is the suffix of such a file too."""

__all__ = ["KINDS", "CutList", "Kind", "cut_list"]
