"""Where clips begin and end: near the wanted times, at cuts and in quiet moments, exact to the frame. Pure.

One dynamic programme over the edges of all clips in the order of time. Every frame near a wanted edge is a place with a price
(`places.py`); the cheapest places win that keep each clip's length and let no clip run into the next. So no edge is taken from
a later clip because an earlier one came first, and what can be had by all together is had.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from topclip.analysers.tracks import Array
from topclip.pipeline.places import SLACK_S, TOLERANCE_S, Edge, Places, Timeline, places

NEVER = 1 << 60
"""More than any sum of prices."""


@dataclass(frozen=True)
class Bounds:
    """What clips must keep to: seconds of the source that are free, and the length of each."""

    low_s: float
    high_s: float
    min_length_s: float
    max_length_s: float


@dataclass(frozen=True)
class _Clip:
    """The places of a clip's two edges, and which ends, [lows, highs), keep the length from each start."""

    starts: Places
    ends: Places
    lows: Array
    highs: Array


def solve_edges(
    timeline: Timeline, spans_s: Sequence[tuple[float, float]], bounds: Bounds
) -> list[tuple[Edge, Edge]] | None:
    """The best edges of clips near the wanted ones; None if there are none that keep the bounds.

    spans_s: wanted starts and ends, in the order of time. Ends lie within the tolerance if they can for all clips, else where
    the length leaves them. Of equal prices the earliest edges win.
    """
    near = [_clip(timeline, span_s, bounds, is_far=False) for span_s in spans_s]
    return _solve(near) or _solve([_clip(timeline, span_s, bounds, is_far=True) for span_s in spans_s])


def has_frames(timeline: Timeline, starts_s: Array, min_length_s: float, max_length_s: float) -> Array:
    """Whether near each wanted start two frames lie so far apart as a clip may be long; where not, `solve_edges` finds none.

    starts_s: float64 (n,), rising. Returns: bool (n,). A source of few pictures and many hours is told at once this way.
    """
    times_s = timeline.times_s
    first = np.searchsorted(times_s, times_s + min_length_s - 1e-5)
    last = np.searchsorted(times_s, times_s + max_length_s + 1e-5)
    n_fitting = np.concatenate([[0], np.cumsum(last > first)])
    low, high = (np.searchsorted(times_s, starts_s + reach_s) for reach_s in (-TOLERANCE_S - 1, TOLERANCE_S + 1))
    found: Array = n_fitting[np.minimum(high + 1, len(times_s))] > n_fitting[low]
    return found


def _clip(timeline: Timeline, span_s: tuple[float, float], bounds: Bounds, *, is_far: bool) -> _Clip:
    """The places of one clip. is_far: with the ends that only the length decides."""
    starts = places(timeline, span_s[0], is_start=True).within(bounds.low_s, bounds.high_s)
    first_s, last_s = starts.times_s + bounds.min_length_s, starts.times_s + bounds.max_length_s
    shortest = np.searchsorted(timeline.times_s, first_s - SLACK_S)
    longest = np.searchsorted(timeline.times_s, last_s + SLACK_S) - 1
    more = [np.minimum(shortest, timeline.n_frames), longest] if is_far else []
    ends = places(timeline, span_s[1], is_start=False, more=more).within(bounds.low_s, bounds.high_s)
    half_s = SLACK_S / 2
    lows, highs = np.searchsorted(ends.times_s, first_s - half_s), np.searchsorted(ends.times_s, last_s + half_s)
    return _Clip(starts, ends, lows, highs)


def _solve(clips: Sequence[_Clip]) -> list[tuple[Edge, Edge]] | None:
    """From the last clip to the first: what each start costs with all that follows. Then the cheapest are read off."""
    best_ends, totals = [], []
    rest = np.zeros(0, np.int64)  # of the clip after: what each of its starts costs with all that follows
    for clip, after in zip(reversed(clips), [None, *reversed(clips)], strict=False):
        prices = clip.ends.prices
        if after is not None:
            least = np.minimum.accumulate(rest[::-1])[::-1]
            prices = prices + np.append(least, NEVER)[np.searchsorted(after.starts.frames, clip.ends.frames)]
        at = first_least(prices, clip.lows, clip.highs)
        rest = np.minimum(NEVER, clip.starts.prices + np.append(prices, NEVER)[at])
        best_ends.append(at)
        totals.append(rest)
    found: list[tuple[Edge, Edge]] = []
    for clip, ends, total in zip(clips, reversed(best_ends), reversed(totals), strict=True):
        first = int(np.searchsorted(clip.starts.frames, found[-1][1].frame)) if found else 0
        if not (total[first:] < NEVER).any():
            return None
        start = first + int(np.argmin(total[first:]))
        found.append((clip.starts.edge(start), clip.ends.edge(int(ends[start]))))
    return found


def first_least(values: Array, lows: Array, highs: Array) -> Array:
    """Where the first of the least values within each [low, high) lies; the number of values where that is empty.

    values: int64 (n,). lows, highs: (m,), up to n. Returns: int64 (m,). By a table of the least in each stretch of 1, 2, 4 ...
    """
    n = len(values)
    table = [np.arange(n)]
    while 1 << len(table) <= n:
        left, right = table[-1][: -(1 << len(table) - 1)], table[-1][1 << len(table) - 1 :]
        table.append(np.where(values[right] < values[left], right, left))
    found = np.full(len(lows), n, np.int64)
    levels = np.frexp(np.maximum(highs - lows, 0))[1] - 1
    for level, least in enumerate(table):
        which = np.flatnonzero(levels == level)
        left, right = least[lows[which]], least[highs[which] - (1 << level)]
        found[which] = np.where(values[right] < values[left], right, left)
    return found
