"""Which font draws which sign: the ones that come with us first, then those of a folder and of the machine.

The same text is drawn by the same font on every machine as long as ours have it. A sign that no font has is told.
"""

import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from topclip.captions.font_files import Facts

PACKAGED: Final = ("FiraGO_Bold", "NotoSans_Bold", "NotoSansSymbols2_Regular", "NotoMusic_Regular")
"""Of pymupdf-fonts: Latin, Cyrillic, Greek, Arabic, Hebrew, Devanagari, Thai, Georgian; signs and notes."""
MACHINE_FOLDERS: Final = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.local/share/fonts",
    "~/.fonts",
    "/Library/Fonts",
)
SUFFIXES: Final = (".ttf", ".otf", ".ttc", ".otc")
SAFE_NAME = re.compile(r"^[\w][\w .+-]{0,63}$")


@dataclass(frozen=True)
class Font:
    """A font: the family that libass knows it by, its bytes or file, its signs (code point to advance in em)."""

    family: str
    advances: dict[int, float] = field(repr=False)
    content: bytes = field(default=b"", repr=False)
    path: Path | None = None
    suffix: str = ".ttf"

    def width_em(self, text: str) -> float:
        """Width of a text in em, unshaped: near enough to break lines by."""
        return sum(self.advances.get(ord(sign), 0.0) for sign in text)


@dataclass(frozen=True)
class FontChoice:
    """The fonts that a text needs, in the order in which they are asked, and the signs that none of them has."""

    fonts: tuple[Font, ...]
    missing: frozenset[str]

    def font_of(self, sign: str) -> Font:
        """The first font that has a sign; the main one if none does."""
        return next((font for font in self.fonts if ord(sign) in font.advances), self.fonts[0])


def choose_fonts(text: str, folder: Path | None = None) -> FontChoice:
    """The fonts that draw a text. folder: where else to look, before the machine's own folders."""
    wanted = {sign for sign in text if is_seen(sign)}
    chosen = [_packaged(PACKAGED[0])]
    missing = {sign for sign in wanted if ord(sign) not in chosen[0].advances}
    others = (_packaged(name) for name in PACKAGED[1:])
    for font in (*others, *(_of_machine(folder) if missing else ())):
        found = {sign for sign in missing if ord(sign) in font.advances}
        if found:
            chosen.append(font)
            missing -= found
        if not missing:
            break
    return FontChoice(tuple(chosen), frozenset(missing))


def is_seen(sign: str) -> bool:
    """Whether a sign leaves a mark: spaces and what only steers its neighbours (joiners, directions, variants) do not."""
    is_steering = unicodedata.category(sign) in ("Cf", "Cc", "Zs", "Zl", "Zp") or "\ufe00" <= sign <= "\ufe0f"
    return not (is_steering or "\U000e0100" <= sign <= "\U000e01ef")


@lru_cache(maxsize=len(PACKAGED))
def _packaged(name: str) -> Font:
    content: bytes = import_module(f"pymupdf_fonts.{name}").fontbuffer
    facts = _read_font()(BytesIO(content))
    assert facts is not None, "a font that we bring along cannot be read"
    return Font(facts.family, facts.advances, content)


def _of_machine(folder: Path | None) -> Iterator[Font]:
    """The machine's fonts one after the other, those fit for captions first; damaged ones and pictures are passed over."""
    for path in _files(folder):
        yield from _load(path)


@lru_cache(maxsize=8)
def _files(folder: Path | None) -> tuple[Path, ...]:
    roots = [folder] if folder else []
    found = []
    for n, root in enumerate((*roots, *(Path(name).expanduser() for name in MACHINE_FOLDERS))):
        paths = (Path(at) / name for at, _, names in os.walk(root) for name in names)
        found += [(n > 0 or not folder, *_rank(path), path) for path in paths if path.suffix.lower() in SUFFIXES]
    return tuple(item[-1] for item in sorted(found))


def _rank(path: Path) -> tuple[bool, bool, bool, str]:
    name = path.name.lower()
    is_slanted = "italic" in name or "oblique" in name
    return is_slanted, "mono" in name or ("serif" in name and "sans" not in name), "bold" not in name, str(path)


@lru_cache(maxsize=64)
def _load(path: Path) -> tuple[Font, ...]:
    try:
        with path.open("rb") as file:
            facts = _read_font()(file)
    except OSError:
        return ()
    if facts is None or not facts.has_outlines or not SAFE_NAME.match(facts.family):
        return ()
    return (Font(facts.family, facts.advances, path=path, suffix=path.suffix.lower()),)


def _read_font() -> "Callable[[BinaryIO], Facts | None]":
    """Loaded on first use: most clips have no captions."""
    from topclip.captions.font_files import read_font  # noqa: PLC0415

    return read_font


def described(signs: Iterable[str]) -> str:
    """Signs with their code points, for people."""
    return ", ".join(f"{sign} (U+{ord(sign):04X})" for sign in sorted(signs))


__all__ = ["Font", "FontChoice", "choose_fonts", "described", "is_seen"]
