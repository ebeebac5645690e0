"""CMX 3600 edit decision list: an event a clip, one behind the other from hour one on. Pure."""

from topclip.exports.cutlist import CutList

RECORD_HOUR_S = 3600
"""By custom a programme begins at hour one."""


def edl(cuts: CutList) -> str:
    """The list. Source times count from the source's own timecode, or from 0 where it has none."""
    rate = cuts.rate
    channels = "AA/V" if cuts.info.audio else "V   "
    lines = [f"TITLE: {cuts.name}", f"FCM: {'DROP FRAME' if rate.is_drop else 'NON-DROP FRAME'}", ""]
    at = rate.frame_of("01:00:00;00" if rate.is_drop else "01:00:00:00")
    for number, cut in enumerate(cuts.cuts, 1):
        source = (cuts.start_frame + cut.first, cuts.start_frame + cut.end)
        times = " ".join(rate.timecode(frame) for frame in (*source, at, at + cut.n_frames))
        lines += [
            f"{number:03}  AX       {channels}  C        {times}",
            f"* FROM CLIP NAME: {cuts.name}",
            f"* COMMENT: CLIP {cut.highlight.n}, SCORE {cut.highlight.score:.3f}",
        ]
        at += cut.n_frames
    return "\n".join(lines) + "\n"
