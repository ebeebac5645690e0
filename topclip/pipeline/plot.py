"""A plan as a picture: score, signals, shots, highlights and near-misses over the source's time, as SVG. Pure.

So that a person sees why. Nothing of it is loaded from elsewhere, and text from outside is escaped.
"""

import math
from collections.abc import Iterator
from html import escape

import numpy as np

from topclip.analysers.tracks import Array
from topclip.model.analysis import Analysis
from topclip.model.clip import Highlight, NearMiss, Plan
from topclip.model.request import Weights
from topclip.pipeline.scoring import HOP_S, Scores, scores_of

WIDTH_PX, LEFT_PX, RIGHT_PX = 1200, 150, 24
HEAD_PX, AXIS_PX, FOOT_PX = 64, 30, 16
ROW_PX, SCORE_PX, SHOTS_PX, MISSES_PX, GAP_PX = 46, 84, 18, 33, 10
MAX_COLUMNS = 700
MAX_CUTS = 2000
TICKS = 10
LETTER_PX = 6.0
"""Width of a letter of the near-misses' labels, at most."""
STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)
INK, SOFT, SCORE, SIGNAL, CHOSEN, MISSED = "#1b1f24", "#6b7280", "#1d4ed8", "#64748b", "#16a34a", "#d97706"
GROUND, BAR, LINE = "#ffffff", "#e5e7eb", "#d1d5db"
NAMES = {
    SCORE: "score", SIGNAL: "signal", CHOSEN: "chosen", MISSED: "missed", SOFT: "faint", INK: "ink", BAR: "bar", LINE: "line",
}  # fmt: skip
"""Classes of what is filled or drawn in a colour, so that a dark page can have others; viewers without styles see these."""
DARK = {
    SCORE: "#8fb0ff", SIGNAL: "#a3b1c6", CHOSEN: "#4ade80", MISSED: "#fbbf24", SOFT: "#9da1aa", INK: "#ecebe7", BAR: "#3a3e46",
    LINE: "#3a3e46",
}  # fmt: skip
DARK_GROUND = "#1c1e22"
STYLE = f"""text{{font:12px system-ui,sans-serif;fill:{INK}}} .soft{{fill:{SOFT}}} .title{{font-size:16px;font-weight:600}}
.mid{{text-anchor:middle}} .end{{text-anchor:end}} .n{{font-weight:700;fill:{CHOSEN};text-anchor:middle}}
@media (prefers-color-scheme:dark){{text{{fill:{DARK[INK]}}} .soft{{fill:{DARK[SOFT]}}} .n{{fill:{DARK[CHOSEN]}}}
.ground{{fill:{DARK_GROUND}}} {" ".join(f".f-{NAMES[c]}{{fill:{d}}} .s-{NAMES[c]}{{stroke:{d}}}" for c, d in DARK.items())}}}"""


def draw_plan(plan: Plan, analysis: Analysis) -> str:
    """The plan as an SVG document; `analysis` is what it was made from."""
    weights = Weights.model_validate(plan.options["weights"])
    end_s = max(HOP_S, float(plan.source["duration_s"]))
    scores = scores_of(analysis, weights, end_s)
    return "\n".join(_Drawing(plan, analysis, scores, end_s).lines()) + "\n"


class _Drawing:
    """One document; rows are laid from top to bottom."""

    def __init__(self, plan: Plan, analysis: Analysis, scores: Scores, end_s: float) -> None:
        self._plan, self._analysis, self._scores, self._end_s = plan, analysis, scores, end_s
        self._top = float(HEAD_PX)
        self._rows_top = float(HEAD_PX)

    def lines(self) -> Iterator[str]:
        """The document's lines."""
        rows = [*self._score_row(), *self._misses_row(), *self._shots_row()]
        for one in self._scores.ranked:
            rows += self._signal_row(one.signal.name, one.percentiles, one.signal.hop_s, one.weight)
        bottom = self._top
        height = bottom + AXIS_PX + FOOT_PX
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH_PX} {height:.0f}" width="{WIDTH_PX}" '
            f'height="{height:.0f}" role="img">'
        )
        name = escape(str(self._plan.source.get("name", "")))
        yield f"<title>Plan of {name}</title><style>{STYLE}</style>"
        yield f'<rect width="{WIDTH_PX}" height="{height:.0f}" class="ground" fill="{GROUND}"/>'
        yield f'<text class="title" x="{FOOT_PX}" y="24">{_shortened(name)}</text>'
        yield from _legend()
        yield from self._spans(self._plan.highlights, bottom)
        yield from rows
        yield from self._axis(bottom)
        yield "</svg>"

    def _x(self, time_s: float) -> float:
        return LEFT_PX + (WIDTH_PX - LEFT_PX - RIGHT_PX) * min(1.0, max(0.0, time_s / self._end_s))

    def _take(self, height_px: float) -> float:
        """Top of the next row."""
        top = self._top
        self._top += height_px + GAP_PX
        return top

    def _score_row(self) -> list[str]:
        top = self._take(SCORE_PX)
        line = self._area(self._scores.values, HOP_S, top, SCORE_PX, SCORE)
        return [_label("score", "0 to 1", top, SCORE_PX), *line]

    def _signal_row(self, name: str, ranks: Array, hop_s: float, weight: float) -> list[str]:
        top = self._take(ROW_PX)
        return [
            _label(escape(name), f"weight {weight:.2f}", top, ROW_PX),
            *self._area(ranks, hop_s, top, ROW_PX, SIGNAL),
        ]

    def _area(self, values: Array, hop_s: float, top: float, height: float, colour: str) -> list[str]:
        """A curve of 0-1 over time, filled below; where there are more values than columns, their means."""
        n = len(values)
        edges = np.linspace(0, n, min(n, MAX_COLUMNS) + 1).astype(np.int64)
        means = np.add.reduceat(values, edges[:-1]) / np.diff(edges)
        middles_s = (edges[:-1] + edges[1:]) / 2 * hop_s
        points = " ".join(
            f"{self._x(t):.1f},{top + height * (1 - v):.1f}"
            for t, v in zip(middles_s.tolist(), means.tolist(), strict=True)
        )
        base, right = top + height, self._x(n * hop_s)
        return [
            f'<polygon points="{LEFT_PX},{base:.1f} {points} {right:.1f},{base:.1f}" {_fill(colour)} fill-opacity=".18"/>',
            f'<polyline points="{points}" fill="none" {_stroke(colour)} stroke-width="1.2"/>',
            f'<line x1="{LEFT_PX}" x2="{WIDTH_PX - RIGHT_PX}" y1="{base:.1f}" y2="{base:.1f}" {_stroke(LINE)}/>',
        ]

    def _shots_row(self) -> list[str]:
        top = self._take(SHOTS_PX)
        shots = self._analysis.shots
        cuts = [shot.start_s for shot in shots[1:]]
        shown = cuts[:: -(-len(cuts) // MAX_CUTS) or 1]
        path = "".join(f"M{self._x(t):.1f} {top:.1f}v{SHOTS_PX}" for t in shown)
        bar = f'<rect x="{LEFT_PX}" y="{top:.1f}" width="{WIDTH_PX - LEFT_PX - RIGHT_PX}" height="{SHOTS_PX}" {_fill(BAR)}/>'
        return [
            _label("shots", str(len(shots)), top, SHOTS_PX),
            bar,
            f'<path d="{path}" {_stroke(INK)} stroke-width=".8"/>',
        ]

    def _misses_row(self) -> list[str]:
        top = self._take(MISSES_PX)
        found = [_label("near-misses", "", top, MISSES_PX)]
        free_px = [0.0, 0.0]  # where the labels of the two lines end
        for miss in sorted(self._plan.near_misses, key=lambda m: m.start_s):
            left, right = self._x(miss.start_s), self._x(miss.end_s)
            to = f" to {miss.to}" if miss.to else ""
            said = f"{_told(miss)}: {escape(miss.reason)}{to}"
            middle, label = (left + right) / 2, f"{miss.reason}{to}"
            half_px = LETTER_PX * len(label) / 2
            line = 0 if middle - half_px >= free_px[0] or free_px[0] <= free_px[1] else 1
            free_px[line] = middle + half_px
            found.append(
                f'<g><title>{said}</title><rect x="{left:.1f}" y="{top:.1f}" width="{max(2.0, right - left):.1f}" '
                f'height="8" rx="2" {_fill(MISSED)}/><text class="soft mid" style="font-size:10px" '
                f'x="{middle:.1f}" y="{top + 19 + 11 * line}">{escape(label)}</text></g>'
            )
        return found

    def _spans(self, highlights: tuple[Highlight, ...], bottom: float) -> Iterator[str]:
        """The highlights, over all rows."""
        for h in highlights:
            left, right = self._x(h.start_s), self._x(h.end_s)
            yield (
                f'<g><title>{_told(h)}</title><rect x="{left:.1f}" y="{self._rows_top - 14:.1f}" '
                f'width="{max(2.0, right - left):.1f}" height="{bottom - self._rows_top + 14:.1f}" {_fill(CHOSEN)} '
                f'fill-opacity=".16"/>'
                f'<text class="n" x="{(left + right) / 2:.1f}" y="{self._rows_top - 3:.1f}">{h.n}</text></g>'
            )

    def _axis(self, bottom: float) -> Iterator[str]:
        step_s = next((s for s in STEPS_S if self._end_s / s <= TICKS), STEPS_S[-1] * math.ceil(self._end_s / 72_000))
        for k in range(int(self._end_s / step_s) + 1):
            x = self._x(k * step_s)
            yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{bottom:.1f}" y2="{bottom + 5:.1f}" {_stroke(SOFT)}/>'
            yield f'<text class="soft mid" x="{x:.1f}" y="{bottom + 19:.1f}">{_clock(k * step_s)}</text>'
        yield f'<text class="soft end" x="{LEFT_PX - 26}" y="{bottom + 19:.1f}">min:s</text>'


def _fill(colour: str) -> str:
    return f'class="f-{NAMES[colour]}" fill="{colour}"'


def _stroke(colour: str) -> str:
    return f'class="s-{NAMES[colour]}" stroke="{colour}"'


def _label(text: str, note: str, top: float, height: float) -> str:
    """A row's name at its left; text is markup already."""
    if height < ROW_PX:
        name = f"{text} {note}".strip()
        return f'<text class="end" x="{LEFT_PX - 14}" y="{top + height / 2 + 4:.1f}">{name}</text>'
    y = top + height / 2
    return (
        f'<text class="end" x="{LEFT_PX - 14}" y="{y:.1f}">{text}'
        f'<tspan class="soft" x="{LEFT_PX - 14}" dy="14">{note}</tspan></text>'
    )


def _legend() -> Iterator[str]:
    entries = ((CHOSEN, "highlight, by number"), (MISSED, "near-miss, with its reason"), (SCORE, "score"))
    x = WIDTH_PX - RIGHT_PX - 620.0
    for colour, text in (*entries, (SIGNAL, "signal, as percentile in the source")):
        yield f'<rect x="{x:.0f}" y="14" width="11" height="11" rx="2" {_fill(colour)}/>'
        yield f'<text x="{x + 16:.0f}" y="24">{text}</text>'
        x += 34 + 6.2 * len(text)


def _told(item: Highlight | NearMiss) -> str:
    parts = ", ".join(f"{escape(p.name)} {p.contribution:.3f}" for p in item.signals)
    return f"{item.n}: {_clock(item.start_s)} to {_clock(item.end_s)}, score {item.score:.3f} ({parts})"


def _clock(time_s: float) -> str:
    """Minutes and seconds, and hours where there are any."""
    minutes, rest = divmod(round(time_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _shortened(name: str) -> str:
    """Escaped text that fits beside the legend; what is longer stays in the title alone."""
    return name if len(name) <= 44 else "plan"
