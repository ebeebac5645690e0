"""How burned captions look."""

from dataclasses import dataclass

from topclip.model.request import CaptionStyle


@dataclass(frozen=True)
class Look:
    """A style. lit: colour of the word that is spoken, RRGGBB, None: all alike. Outline and box in em of the letters.

    lines: most at once. line_em: longest line, where it is to be shorter than the room allows.
    """

    lit: str | None = None
    is_boxed: bool = False
    edge_em: float = 0.09
    scale: float = 1.0
    lines: int = 2
    line_em: float = 100.0


LOOKS = {
    CaptionStyle.SPOKEN: Look(lit="FFD60A"),
    CaptionStyle.PLAIN: Look(),
    CaptionStyle.BOX: Look(is_boxed=True, edge_em=0.28),
    CaptionStyle.LARGE: Look(lit="FFD60A", edge_em=0.1, scale=1.6, lines=1, line_em=9.0),
}
