"""Colours of a picture: how a source's values are read, and how a clip's are to be. Pure: builds filters, runs nothing.

A clip is 8-bit 4:2:0 of limited range and says how it is to be read. Colours of standard range keep their matrix, primaries and
transfer, so that nothing is converted but what must be. HDR becomes BT.709. A source that says nothing is read as players
read it, by its size, and its clip says so: after a crop they would guess otherwise.
"""

from av.video.frame import VideoFrame

from topclip.model.geometry import Size
from topclip.model.source import Colour, VideoStream

MATRICES = {1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 9: "bt2020nc", 10: "bt2020c"}
PRIMARIES = {
    **{1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film", 9: "bt2020"},
    **{10: "smpte428", 11: "smpte431", 12: "smpte432"},
}
TRANSFERS = {
    **{1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "linear", 11: "iec61966-2-4"},
    **{12: "bt1361e", 13: "iec61966-2-1", 14: "bt2020-10", 15: "bt2020-12", 16: "smpte2084", 17: "smpte428"},
    18: "arib-std-b67",
}
"""FFmpeg's names of the code points of ITU-T H.273, as far as an mp4 of H.264 carries them."""
FULL_RANGE = 2
HDR_TRANSFERS = frozenset({"smpte2084", "arib-std-b67"})
"""PQ and HLG of BT.2100."""
HDR_SIDE_DATA = ("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL")
"""What an encoder would pass on, and a player take for HDR."""
KEPT_MATRICES = frozenset({"bt709", "smpte170m", "bt470bg", "bt2020nc"})
"""Those that players know; of others the picture is converted to BT.709."""
PRIMARIES_OF = {"bt709": "bt709", "smpte170m": "smpte170m", "bt470bg": "bt470bg", "bt2020nc": "bt2020"}
HD_WIDTH_PX, HD_HEIGHT_PX = 1280, 577
"""From such a width or height on players take BT.709 for granted."""
WHITE_NITS = 203
"""Diffuse white of HDR, by ITU-R BT.2408; it becomes 85 % of a clip's white, what is brighter the rest."""
PEAK_NITS = 1000
"""Nominal peak of HLG, and where most of PQ is graded to; it becomes a clip's white."""


def colour_of(frame: VideoFrame) -> Colour:
    """What a decoded frame says of its colours, guessed where it says nothing."""
    if frame.format.is_rgb:
        return Colour(is_rgb=True, full_range=True, primaries=_named(PRIMARIES, frame.color_primaries, "bt709"))
    matrix = MATRICES.get(int(frame.colorspace))
    primaries = PRIMARIES.get(int(frame.color_primaries))
    transfer = TRANSFERS.get(int(frame.color_trc))
    if matrix is None:
        matrix = _guessed(frame, primaries, transfer)
    return Colour(
        matrix=matrix,
        primaries=primaries or PRIMARIES_OF.get(matrix, "bt709"),
        transfer=transfer or ("bt709" if matrix == "bt709" else "smpte170m" if "bt2020" not in matrix else "bt2020-10"),
        full_range=int(frame.color_range) == FULL_RANGE or frame.format.name.startswith("yuvj"),
    )


def _named(names: dict[int, str], code: int, otherwise: str) -> str:
    return names.get(int(code), otherwise)


def _guessed(frame: VideoFrame, primaries: str | None, transfer: str | None) -> str:
    """The matrix of a picture that does not tell it."""
    if primaries == "bt2020" or transfer in HDR_TRANSFERS:
        return "bt2020nc"
    if primaries == "bt709" or frame.width >= HD_WIDTH_PX or frame.height >= HD_HEIGHT_PX:
        return "bt709"
    return "bt470bg" if frame.height in (288, 576) else "smpte170m"


def is_hdr(video: VideoStream) -> bool:
    """Whether the picture is tone-mapped."""
    return video.colour.transfer in HDR_TRANSFERS


def clip_colour(video: VideoStream) -> Colour:
    """The colours of a source's clips."""
    colour = video.colour
    if is_hdr(video):
        return Colour()
    if colour.is_rgb:
        return Colour(primaries=colour.primaries)
    matrix = colour.matrix if colour.matrix in KEPT_MATRICES else "bt709"
    return Colour(matrix=matrix, primaries=colour.primaries, transfer=colour.transfer)


def reading_filter(video: VideoStream) -> list[str]:
    """FFmpeg's filter that makes all frames be read as the first one is; none where they are RGB."""
    return [] if video.colour.is_rgb else [_tags(video.colour)]


def scale_filter(video: VideoStream, size: Size) -> str:
    """FFmpeg's filters that bring a picture to a size and its values to the clip's colours."""
    scale = f"scale={size.width}:{size.height}:flags=bicubic"
    if is_hdr(video):
        return f"{scale},{_tone_mapping(video)}"
    return f"{scale}:out_range=tv:out_color_matrix={_swscale_name(clip_colour(video).matrix)}"


def clip_filter(video: VideoStream) -> str:
    """FFmpeg's filters that make the pixels a clip's and say how they are to be read."""
    return f"format=yuv420p,{_tags(clip_colour(video))}"


def _tone_mapping(video: VideoStream) -> str:
    """To linear light of BT.709's primaries, white at 1; then a curve that is straight up to 0.3 and reaches 1 at the peak."""
    # The quick way bends each of HLG's channels alone, which makes colours too strong; PQ's it only bends quicker.
    exactly = ":agamma=0" if video.colour.transfer == "arib-std-b67" else ""
    to_linear = f"zscale=t=linear:p=bt709:m=gbr:npl={WHITE_NITS}{exactly},format=gbrpf32le"
    curve = f"tonemap=mobius:desat=0:peak={PEAK_NITS / WHITE_NITS:.3f}"
    no_longer = ",".join(f"sidedata=mode=delete:type={kind}" for kind in HDR_SIDE_DATA)
    return f"{to_linear},{curve},zscale=t=bt709:m=bt709:r=tv,format=yuv420p,{no_longer}"


def _tags(colour: Colour) -> str:
    tags = f"color_primaries={colour.primaries}:color_trc={colour.transfer}:colorspace={colour.matrix}"
    return f"setparams=range={'pc' if colour.full_range else 'tv'}:{tags}"


def _swscale_name(matrix: str) -> str:
    """The matrix as the filter `scale` calls it: those of both television standards are one."""
    return {"bt2020nc": "bt2020", "bt470bg": "bt601", "smpte170m": "bt601"}.get(matrix, matrix)
