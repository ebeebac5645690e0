"""Final Cut Pro XML 1.9: a project whose spine holds the clips, one behind the other. Pure.

Every time is a fraction of a second and a whole number of frames, as the format asks.
"""

from fractions import Fraction
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from topclip.exports.cutlist import CutFrames, CutList

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n'


def fcpxml(cuts: CutList) -> str:
    """The document."""
    root = Element("fcpxml", version="1.9")
    resources = SubElement(root, "resources")
    video = cuts.info.video
    width, height = str(video.display_width), str(video.display_height)
    SubElement(resources, "format", id="r1", frameDuration=_time(cuts, 1), width=width, height=height)
    asset = SubElement(resources, "asset", _asset(cuts))
    SubElement(asset, "media-rep", kind="original-media", src=cuts.url)
    event = SubElement(SubElement(root, "library"), "event", name="TopClip")
    total = sum(cut.n_frames for cut in cuts.cuts)
    sequence = SubElement(SubElement(event, "project", name=cuts.name), "sequence", _sequence(cuts, total))
    spine, at = SubElement(sequence, "spine"), 0
    for cut in cuts.cuts:
        clip = SubElement(spine, "asset-clip", _clip(cuts, cut, at))
        SubElement(clip, "note").text = f"score {cut.highlight.score:.3f}"
        at += cut.n_frames
    indent(root)
    return HEAD + tostring(root, encoding="unicode") + "\n"


def _asset(cuts: CutList) -> dict[str, str]:
    audio = cuts.info.audio
    found = {"id": "r2", "name": cuts.name, "start": _time(cuts, cuts.start_frame)}
    found |= {"duration": _time(cuts, cuts.n_frames), "hasVideo": "1", "format": "r1", "videoSources": "1"}
    if audio:
        found |= {"hasAudio": "1", "audioSources": "1", "audioChannels": str(audio.channels)}
        found["audioRate"] = str(audio.sample_rate_hz)
    return found


def _sequence(cuts: CutList, n_frames: int) -> dict[str, str]:
    return {"format": "r1", "duration": _time(cuts, n_frames), "tcStart": "0s", "tcFormat": _tc_format(cuts)}


def _clip(cuts: CutList, cut: CutFrames, at: int) -> dict[str, str]:
    return {
        "ref": "r2",
        "name": f"{cuts.name}, clip {cut.highlight.n}",
        "offset": _time(cuts, at),
        "start": _time(cuts, cuts.start_frame + cut.first),
        "duration": _time(cuts, cut.n_frames),
        "format": "r1",
        "tcFormat": _tc_format(cuts),
    }


def _tc_format(cuts: CutList) -> str:
    return "DF" if cuts.rate.is_drop else "NDF"


def _time(cuts: CutList, n_frames: int) -> str:
    """So many frames as a rational number of seconds."""
    seconds: Fraction = n_frames / cuts.rate.exact
    return f"{seconds.numerator}s" if seconds.denominator == 1 else f"{seconds.numerator}/{seconds.denominator}s"
