"""The clips as chapters of the source, for a player to jump to, by its clock. Pure; in the order of the source."""

import re

from topclip.exports.cutlist import CutList
from topclip.model.clip import Highlight


def youtube_chapters(cuts: CutList) -> str:
    """A line a chapter, `M:SS Title`, for a video's description. The first one is at 0:00, or YouTube takes none."""
    titles: dict[int, str] = {}
    for h in _in_order(cuts):
        at_s = int(h.start_s + cuts.info.lead_s)
        titles[at_s] = f"{titles[at_s]}, {_title(h)}" if at_s in titles else _title(h)
    return "".join(f"{_clock(at_s)} {title}\n" for at_s, title in ({0: "Start"} | titles).items())


def ffmetadata(cuts: CutList) -> str:
    """ffmpeg's metadata file: `ffmpeg -i SOURCE -i F.ffmetadata -map_chapters 1 -map 0 -c copy OUT`."""
    lines = [";FFMETADATA1", f"title={_escaped(cuts.name)}"]
    for h in _in_order(cuts):
        start_ms, end_ms = (round((at_s + cuts.info.lead_s) * 1000) for at_s in (h.start_s, h.end_s))
        lines += ["[CHAPTER]", "TIMEBASE=1/1000", f"START={start_ms}", f"END={end_ms}"]
        lines.append(f"title={_escaped(_title(h))}")
    return "\n".join(lines) + "\n"


def _in_order(cuts: CutList) -> list[Highlight]:
    return sorted((cut.highlight for cut in cuts.cuts), key=lambda h: (h.start_s, h.n))


def _title(h: Highlight) -> str:
    return f"Clip {h.n}"


def _clock(time_s: int) -> str:
    hours, rest = divmod(time_s, 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _escaped(text: str) -> str:
    return re.sub(r"([=;#\\\n])", r"\\\1", text)
