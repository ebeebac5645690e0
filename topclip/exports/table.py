"""The clips as a table of comma-separated values (RFC 4180): a row a clip. Pure."""

import csv
import io

from topclip.exports.cutlist import CutFrames, CutList

COLUMNS = (
    "n", "start_s", "end_s", "duration_s", "frames", "start_timecode", "end_timecode", "score", "start_edge", "end_edge",
)  # fmt: skip


def table(cuts: CutList) -> str:
    """The table; behind the columns above, each signal's share in the score."""
    signals = list(dict.fromkeys(part.name for cut in cuts.cuts for part in cut.highlight.signals))
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([*COLUMNS, *signals])
    for cut in cuts.cuts:
        shares = {part.name: part.contribution for part in cut.highlight.signals}
        writer.writerow([*_row(cuts, cut), *(shares.get(name, "") for name in signals)])
    return text.getvalue()


def _row(cuts: CutList, cut: CutFrames) -> list[object]:
    h = cut.highlight
    timecodes = [cuts.rate.timecode(cuts.start_frame + frame) for frame in (cut.first, cut.end)]
    length_s = round(h.end_s - h.start_s, 6)
    return [h.n, h.start_s, h.end_s, length_s, h.frames, *timecodes, h.score, h.start_edge, h.end_edge]
