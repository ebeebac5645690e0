"""Final Cut Pro XML 1.9: a project whose spine holds the clips, one behind the other. Pure.

Every time is a fraction of a second and a whole number of frames, as the format asks. Where clips have another shape than the
source, the project has it, and a picture that is cut out is moved to where its framing stands. One that moves does not: how
programs count the times of keyframes within a clip differs; its note says so, and it stands where most of it is.
"""

from fractions import Fraction
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from topclip.exports.cutlist import CutFrames, CutList
from topclip.model.clip import Highlight

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n'


def fcpxml(cuts: CutList) -> str:
    """The document."""
    root = Element("fcpxml", version="1.9")
    resources = SubElement(root, "resources")
    video = cuts.info.video
    width, height = str(video.display_width), str(video.display_height)
    SubElement(resources, "format", id="r1", frameDuration=_time(cuts, 1), width=width, height=height)
    if _shape(cuts) != "r1":
        width, height = (str(side) for side in cuts.geometry.canvas)
        SubElement(resources, "format", id=_shape(cuts), frameDuration=_time(cuts, 1), width=width, height=height)
    asset = SubElement(resources, "asset", _asset(cuts))
    SubElement(asset, "media-rep", kind="original-media", src=cuts.url)
    event = SubElement(SubElement(root, "library"), "event", name="TopClip")
    total = sum(cut.n_frames for cut in cuts.cuts)
    sequence = SubElement(SubElement(event, "project", name=cuts.name), "sequence", _sequence(cuts, total))
    spine, at = SubElement(sequence, "spine"), 0
    for cut in cuts.cuts:
        clip = SubElement(spine, "asset-clip", _clip(cuts, cut, at))
        note = SubElement(clip, "note")
        note.text = f"score {cut.highlight.score:.3f}"
        if _is_cut_out(cuts, cut.highlight):
            SubElement(clip, "adjust-conform", type="fill")
            place, is_moving = _place(cut.highlight)
            SubElement(clip, "adjust-transform", position=_position(cuts, place))
            note.text += "; its framing moves, which is only in the plan" if is_moving else ""
        at += cut.n_frames
    indent(root)
    return HEAD + tostring(root, encoding="unicode") + "\n"


def _shape(cuts: CutList) -> str:
    """The format of the project: the source's own, or one for the clips' shape."""
    video, canvas = cuts.info.video, cuts.geometry.canvas
    is_same = abs(video.display_width - canvas.width) < 2 and abs(video.display_height - canvas.height) < 2
    return "r1" if is_same else "r3"


def _is_cut_out(cuts: CutList, highlight: Highlight) -> bool:
    """Whether the picture fills the project's, so that a part of it is cut off."""
    is_whole = highlight.framing is not None and highlight.framing.method == "blur"
    return _shape(cuts) != "r1" and cuts.geometry.scaled == cuts.geometry.canvas and not is_whole


def _place(highlight: Highlight) -> tuple[tuple[float, float], bool]:
    """The middle of what is shown for the longest time, as shares of the picture's sides; whether it moves or jumps."""
    keyframes = highlight.framing.keyframes if highlight.framing else ()
    if not keyframes:
        return (0.5, 0.5), False
    ends_s = [*(now.time_s for now in keyframes[1:]), highlight.end_s]
    longest = max(range(len(keyframes)), key=lambda k: ends_s[k] - keyframes[k].time_s)
    return (keyframes[longest].x, keyframes[longest].y), len({(now.x, now.y) for now in keyframes}) > 1


def _position(cuts: CutList, place: tuple[float, float]) -> str:
    """How far the picture, which fills the project's, is moved: right and up, in percent of the height of the project's."""
    video, canvas = cuts.info.video, cuts.geometry.canvas
    scale = max(canvas.width / video.display_width, canvas.height / video.display_height)
    width, height = video.display_width * scale, video.display_height * scale
    right, up = (0.5 - place[0]) * width, (place[1] - 0.5) * height
    return " ".join(f"{100 * by / canvas.height:.4f}".rstrip("0").rstrip(".") for by in (right + 0.0, up + 0.0))


def _asset(cuts: CutList) -> dict[str, str]:
    audio = cuts.info.audio
    found = {"id": "r2", "name": cuts.name, "start": _time(cuts, cuts.start_frame)}
    found |= {"duration": _time(cuts, cuts.n_frames), "hasVideo": "1", "format": "r1", "videoSources": "1"}
    if audio:
        found |= {"hasAudio": "1", "audioSources": "1", "audioChannels": str(audio.channels)}
        found["audioRate"] = str(audio.sample_rate_hz)
    return found


def _sequence(cuts: CutList, n_frames: int) -> dict[str, str]:
    return {"format": _shape(cuts), "duration": _time(cuts, n_frames), "tcStart": "0s", "tcFormat": _tc_format(cuts)}


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
