"""What a font file tells of its fonts. fontTools is slow to load, so this is loaded where captions are drawn."""

from typing import BinaryIO, Final, NamedTuple

from fontTools.ttLib import TTCollection, TTFont, TTLibError

FAULTS: Final = (TTLibError, OSError, ValueError, KeyError, AssertionError, IndexError)
"""What reading a damaged font may raise."""
FAMILY, UNITS_DEFAULT = 1, 1000
COLLECTION = b"ttcf"


class Facts(NamedTuple):
    """A font's family, its signs (code point to advance in em), and whether it has outlines, not pictures."""

    family: str
    advances: dict[int, float]
    has_outlines: bool


def read_font(file: BinaryIO) -> Facts | None:
    """The font in a file, the first one of a collection; None if it cannot be read."""
    try:
        is_collection = file.read(len(COLLECTION)) == COLLECTION
        file.seek(0)
        font = TTCollection(file, lazy=True).fonts[0] if is_collection else TTFont(file, lazy=True)
        has_outlines = any(table in font for table in ("glyf", "CFF ", "CFF2"))
        return Facts(str(font["name"].getDebugName(FAMILY) or ""), _advances(font), has_outlines)
    except FAULTS:
        return None


def _advances(font: TTFont) -> dict[int, float]:
    widths, units = font["hmtx"].metrics, font["head"].unitsPerEm or UNITS_DEFAULT
    cmap = font.getBestCmap() or {}
    return {code: widths[name][0] / units for code, name in cmap.items() if name in widths}
