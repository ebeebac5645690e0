"""The way of a cut-out over the pictures of one shot: what it sees of the subject against what its moves cost. Pure.

One dynamic programme over its places. Moving costs by the distance, so that it stands while the subject is well inside, and a
subject that goes is followed no farther than needed; a jump costs more than any short move, so that of two subjects far apart
one is held on to, and what lies between them is never shown. Whole numbers; ties go to standing still, then to the middle.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

N_PLACES = 129
"""Places that are tried, from one end of the picture to the other."""
FULL = 1000
"""Gain of a picture that shows its subject well inside."""
INNER = 0.4
"""Within this share of the room that a subject has in the cut-out it is well inside: the dead zone."""
LEAN = 60
"""What is lost where the subject is at the edge of the dead zone, so that a still one comes to stand in the middle."""
BLIND_COST = 40 * FULL
"""What is added to a move from one end of the picture to the other where it shows nothing on the way: what lies between
two subjects is jumped over."""
BLIND = 3
"""It is not blind at all where it shows a third of what it could."""
STILL = 0.02
"""A way that goes no farther than this share of the picture's side between two jumps does not go at all."""
JUMP_S = 3.0
"""A jump must gain as much as a subject seen for so long,"""
GONE_JUMP_S = 1.0
"""or for so long where nothing is seen any more at the place that it leaves or near it: who was held on to has gone."""
GONE = FULL // 20
SPEED = 0.5
"""Most that the cut-out moves in a second, in widths of the picture."""
LINGER, RECENT = 6, 8
"""So many pictures more, like the last one, are thought of: else what moves near the end would not be worth following. They
show no place better than the last ones did on the whole, there and near it, nor worse: nothing jumps to another for a moment.
"""


@dataclass(frozen=True)
class Manner:
    """How a subject is followed. No manner goes faster than SPEED.

    move_cost: of a move from one end of the picture to the other, in gains. ease: weights of neighbouring pictures, an odd
    number of them, by which corners of the way are rounded.
    """

    move_cost: int
    ease: tuple[int, ...]


CALM = Manner(8 * FULL, (1, 2, 3, 4, 3, 2, 1))
"""As little as will do: who walks up and down is waited for, not run after."""
CLOSE = Manner(2 * FULL, (1, 2, 1))
"""For a subject that the calm way loses: rounder corners would be cut by more than it has room."""


@dataclass(frozen=True)
class Way:
    """Middle of the cut-out for each picture, as shares of the picture's side; where it jumps, at pictures."""

    places: Floats
    jumps: tuple[int, ...]


def places(window: float) -> Floats:
    """Middles of the cut-out that keep it within the picture. window: its share of the picture's side."""
    return np.round(np.linspace(window / 2, 1 - window / 2, N_PLACES), 6)


def gain_of(middle: float, size: float, window: float) -> Floats:
    """How well each place shows a subject, 0 to 1: whole and well inside is 1."""
    room = max((window - size) / 2, window / 8)
    off = np.abs(places(window) - middle) / room
    inside = 1 - LEAN / FULL * off / INNER
    outside = (1 - LEAN / FULL) * (1 - (off - INNER) / (1 - INNER))
    return np.clip(np.where(off <= INNER, inside, outside), 0.0, 1.0)


def best_way(gains: Ints, times_s: Floats, window: float, manner: Manner = CALM) -> Way:
    """The way that sees most. gains: int64 (n, N_PLACES), FULL where the subject is well inside; n >= 1.

    times_s: (n,), rising.
    """
    n, step_s = len(times_s), float(np.median(np.diff(times_s))) if len(times_s) > 1 else 1.0
    place_step = (1 - window) / (N_PLACES - 1)
    near = round(window / 2 / max(place_step, 1e-9))
    gains = np.concatenate([gains, np.repeat(_lingering(gains[-RECENT:], near)[None, :], LINGER, axis=0)])
    times_s = np.concatenate([times_s, times_s[-1] + step_s * np.arange(1, LINGER + 1)])
    per_place = max(1, round(manner.move_cost * place_step))
    seen = np.minimum(1000, BLIND * gains * 1000 // np.maximum(1, gains.max(axis=1))[:, None])
    costs = per_place + round(BLIND_COST * place_step) * (1000 - seen) // 1000
    jump_costs = np.where(_most_near(gains, near) > GONE, JUMP_S, GONE_JUMP_S)
    jump_costs = np.rint(jump_costs / step_s * FULL).astype(np.int64)
    middle = np.abs(np.arange(N_PLACES) - N_PLACES // 2)
    total, came = gains[0].astype(np.int64), []
    for k in range(1, len(gains)):
        reach = max(1, int((times_s[k] - times_s[k - 1]) * SPEED / max(place_step, 1e-9)))
        best, origin = total.copy(), np.arange(N_PLACES)
        for by in range(1, min(reach, N_PLACES - 1) + 1):
            for mine, other in ((slice(by, None), slice(None, -by)), (slice(None, -by), slice(by, None))):
                candidate = total[other] - costs[k][mine] * by
                is_better = candidate > best[mine]
                best[mine] = np.where(is_better, candidate, best[mine])
                origin[mine] = np.where(is_better, np.arange(N_PLACES)[other], origin[mine])
        leaving = total - jump_costs[k]
        top = _first_best(leaving, middle)
        is_jump = leaving[top] > best
        best = np.where(is_jump, leaving[top], best)
        came.append(np.where(is_jump, -1 - top, origin))
        total = best + gains[k]
    return _traced(came, _first_best(total, middle), n, window, manner.ease)


def _lingering(last: Ints, near: int) -> Ints:
    """Gains of a picture that is thought of, from those of the last ones."""
    n = len(last)
    found: Ints = np.maximum(np.minimum(last[-1], _most_near(last, near).sum(axis=0) // n), last.sum(axis=0) // n)
    return found


def _most_near(gains: Ints, reach: int) -> Ints:
    """The most that is gained at each place or so many places to either side."""
    reach = min(reach, N_PLACES)
    found: Ints = sliding_window_view(np.pad(gains, ((0, 0), (reach, reach))), 2 * reach + 1, axis=1).max(axis=2)
    return found


def _first_best(total: Ints, middle: Ints) -> int:
    return int(np.lexsort((middle, -total))[0])


def _traced(came: list[Ints], last: int, n: int, window: float, ease: Sequence[int]) -> Way:
    """The first n places of the way that ends in `last`."""
    route, jumps = [last], []
    for k in range(len(came), 0, -1):
        origin = int(came[k - 1][route[-1]])
        if origin < 0:
            jumps.append(k)
            origin = -1 - origin
        route.append(origin)
    way = places(window)[np.array(route[::-1])]
    edges = [0, *sorted(jumps), len(way)]
    eased = np.concatenate([_eased(way[a:b], ease) for a, b in pairwise(edges)])
    return Way(eased[:n], tuple(k for k in sorted(jumps) if k < n))


def _eased(way: Floats, ease: Sequence[int]) -> Floats:
    """With rounded corners; what all but stands still stands still."""
    if np.ptp(way) <= STILL:
        return np.full(len(way), np.median(way))
    reach = len(ease) // 2
    padded = np.pad(way, reach, mode="edge")
    return np.asarray(np.round(np.convolve(padded, np.array(ease) / sum(ease), mode="valid"), 5), np.float64)


def simplified(times_s: Floats, way: Floats, tolerance: float) -> list[int]:
    """The pictures that a way can be told by, straight lines between them being off by no more than the tolerance."""
    kept, todo = {0, len(way) - 1}, [(0, len(way) - 1)]
    while todo:
        first, last = todo.pop()
        if last - first < 2:
            continue
        inner = slice(first + 1, last)
        line = np.interp(times_s[inner], times_s[[first, last]], way[[first, last]])
        off = np.round(np.abs(way[inner] - line), 6)
        worst = int(np.argmax(off))
        if off[worst] > tolerance:
            at = first + 1 + worst
            kept.add(at)
            todo += [(first, at), (at, last)]
    found = sorted(kept)
    return found[:1] if len(found) == 2 and way[found[0]] == way[found[1]] else found
