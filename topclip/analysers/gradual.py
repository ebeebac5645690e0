"""Shots that pass into one another: dissolves, and fades through black or white. Pure.

A dissolve moves every part of the picture in a straight line from one shot to the next, which both hold still beside it:
pans and zooms bend, and go on. In a fade the picture comes to rest in black or white, not at one step: that is a cut to or
from it, or a flash.
The constants were set by trials on real footage with planted transitions.
"""

from typing import NamedTuple

import numpy as np

from topclip.analysers.frames import differences, grids_of
from topclip.analysers.tracks import N_LAGS, Array

HALVES = (4, 5, 6, 7, 8, 9, 10, 12, 15, 18, 22)
"""Half lengths of dissolves that are looked for, in frames."""
BESIDE = 6
"""Frames on each side in which the shots hold still."""
LEAST_CHANGE = 20.0
"""Mean grey levels between the shots; those of one set that differ by less are told by a cut alone."""
MAX_BESIDE, MAX_STRAY, MAX_FAULT = 0.3, 0.16, 0.19
"""Shares of the change: what goes on beside it; how far a part is off its line; the latter and a third of the former."""
MIN_STRAIGHT = 0.84
"""Change over five frames to five changes over one: less in a moving picture, whose points go back and forth."""
MAX_PEAK = 3.2
"""Largest change over one frame to their mean; frames shown twice, as where rates were converted, make it two or three."""
MAX_ALIKE = 0.92
"""Correlation of the two shots' parts; above it light changes on one set."""
MIN_SPREAD = 0.55
"""Change of the median part to that of the mean one: a dissolve changes the picture everywhere, what moves in it does not."""
PLAIN_ALIKE, PLAIN_RISE = 0.4, 1.3
"""A plain dissolve: correlation of its shots at most; how many times further points go in it than on either side of it. A pan
goes on beside what looks like a dissolve, light leaves the shots alike; so more may move in the shots of a plain one.
"""
PLAIN_CHANGE, PLAIN_BESIDE, PLAIN_FAULT = 18.0, 0.4, 0.22
"""What LEAST_CHANGE, MAX_BESIDE and MAX_FAULT are for a plain one."""
BLOCK = 8192

SLACK, AT_EDGE = 1.05, 0.5
"""Where some pictures are only guessed: by how much a dissolve may miss the bounds, and what share of the change is asked for
where it may go on beyond the pictures: the longer part of one that a key frame divides. What may be amiss with that is as
much as with all of it, but no more than with one that is not plain: far more would be decoded for nothing.
"""

DRAWN_PRICE = 0.3
"""How much straighter a dissolve must be if all of its frames were drawn between others: those go straight by themselves. Where
one is suspected they are decoded, but for a short part that a key frame divides from it.
"""

DEEP, FLAT = 24.0, 12.0
"""Mean grey levels from black or white, and their deviation over the parts, of a picture that has faded."""
LEAST_FADE = 25.0
"""Mean grey levels that a fade covers on either side."""
STEP_SHARE = 0.8
"""A change over one frame with this share of a fade's side is a cut."""
REACH = 45
"""Frames that one side of a fade takes at most."""
RISE = 0.5
MARGIN = 2


class Passage(NamedTuple):
    """Frames [first, last] in which one shot passes into another; middle: where the second begins, None: at neither."""

    middle: int | None
    first: int
    last: int


def find_fades(grids: Array) -> list[Passage]:
    """Fades through black and white, in time order of each.

    grids: uint8 (n, parts), mean grey of the parts of each frame.
    """
    blocks = [grids[low : low + BLOCK] for low in range(0, max(1, len(grids)), BLOCK)]
    means, spreads = (np.concatenate([f(block, axis=1) for block in blocks]) for f in (np.mean, np.std))
    found = []
    for depths in (means, 255 - means):
        is_deep = np.concatenate([[False], (depths <= DEEP) & (spreads <= FLAT), [False]])
        for first, end in np.flatnonzero(is_deep[1:] != is_deep[:-1]).reshape(-1, 2).tolist():
            fade = _fade(depths, first, end - 1)
            if fade is not None:
                found.append(fade)
    return sorted(found, key=lambda one: one.first)


def _fade(depths: Array, first: int, last: int) -> Passage | None:
    """The fade around a run of black frames [first, last]; None if it is entered or left by a cut, or hardly at all."""
    begin = first - _rising(depths[max(0, first - REACH) : first + 1][::-1])
    end = last + _rising(depths[last : last + REACH + 1])
    floor = depths[first : last + 1].min()
    sides = depths[begin : first + 1], depths[last : end + 1]
    heights = [side.max() - floor for side in sides]
    steps = [np.abs(np.diff(side)).max(initial=0.0) for side in sides]
    if any(height >= LEAST_FADE and step >= STEP_SHARE * height for height, step in zip(heights, steps, strict=True)):
        return None
    at_start, at_end = begin == 0, end == len(depths) - 1
    is_deep = [height >= LEAST_FADE for height in heights]
    if all(is_deep):
        return Passage((first + last + 1) // 2, begin, end)
    if (at_start and is_deep[1]) or (at_end and is_deep[0]):
        return Passage(None, begin, end)  # the picture's own beginning or end
    return None


def _rising(depths: Array) -> int:
    """For how many frames depths go on to rise; one frame that is shown twice, or that noise holds back, ends nothing."""
    n = 0
    while n + 1 < len(depths):
        ahead = depths[n + 1 : n + 3].max() - depths[n]
        if depths[n + 1] < depths[n] - RISE or (ahead <= RISE and depths[n + 1] > DEEP):
            break
        n += 1
    return n


class _Course(NamedTuple):
    """How pictures change. jumps: over one frame, float32 (n,). steps, strides, drawn: of the frames before each one together,
    float64 (n + 1,), the changes over one frame, those over N_LAGS, and how many were drawn.
    """

    jumps: Array
    steps: Array
    strides: Array
    drawn: Array


class _Found(NamedTuple):
    """A dissolve: how far it is from a perfect one, its middle, its half length."""

    fault: float
    middle: int
    half: int


def find_dissolves(grids: Array, changes: Array, apart: list[Passage], is_drawn: Array) -> list[Passage]:
    """Dissolves in time order.

    grids: uint8 (n, parts). changes: float32 (n, N_LAGS), to the frame 1 to N_LAGS before. apart: where there are none.
    is_drawn: bool (n,), frames that were drawn between others.
    """
    found: list[_Found] = []
    course = _course(changes, is_drawn)
    is_open = np.ones(len(grids), bool)
    for one in apart:
        is_open[one.first : one.last + 1] = False
    for half in HALVES:
        reach = half + BESIDE
        for low in range(reach, len(grids) - reach, BLOCK):
            middles = np.arange(low, min(low + BLOCK, len(grids) - reach))
            found.extend(_dissolves(grids, course, middles[is_open[middles]], half))
    taken: list[_Found] = []
    for dissolve in sorted(found):
        if all(abs(dissolve.middle - other.middle) > dissolve.half + other.half for other in taken):
            taken.append(dissolve)
    passages = [Passage(_halfway(grids, one), one.middle - one.half, one.middle + one.half) for one in taken]
    return sorted(passages, key=lambda one: one.first)


def suspected(thumbs: Array) -> list[tuple[int, int]]:
    """Frames [first, last] in which there seems to be a dissolve or a part of one, by pictures of which some are drawn between
    others: those go a straighter way than the real ones, which are to be looked at before it is believed.

    thumbs: uint8 (n, 36, 64). Beyond their ends the shots count as still.
    """
    grids, found = grids_of(thumbs), []
    for half in HALVES:
        at = np.arange(half, len(grids) - half)
        found += [(half, at[_may_dissolve(grids, at, half)])]
    if not any(len(at) for _, at in found):
        return []
    changes = np.nan_to_num(differences(thumbs, thumbs[:0]), nan=0.0)
    course = _course(changes, np.zeros(len(changes), bool))
    return [
        (middle - half, middle + half)
        for half, at in found
        for middle in at[_is_straight(course, at, half, slack=SLACK)].tolist()
    ]


def _may_dissolve(grids: Array, at: Array, half: int) -> Array:
    """Which of the frames `at` may be middles of dissolves, by their parts alone: bool."""
    last = len(grids) - 1
    is_edge = (at < half + BESIDE) | (at > last - half - BESIDE)
    change = _change(grids, at - half, at + half)
    kept: Array = change >= np.where(is_edge, LEAST_CHANGE * AT_EDGE, PLAIN_CHANGE / SLACK)
    at, change, is_edge = at[kept], change[kept], is_edge[kept]
    beside = _change(grids, np.maximum(at - half - BESIDE, 0), at - half)
    beside += _change(grids, at + half, np.minimum(at + half + BESIDE, last))
    stray, likeness = _stray(grids, at, half), _likeness(grids, at, half)
    most = SLACK * np.where(is_edge, np.maximum(change, LEAST_CHANGE), change)
    is_usual = (beside <= MAX_BESIDE * most) & (stray + beside / 3 <= MAX_FAULT * most)
    is_usual &= is_edge | ((change * SLACK >= LEAST_CHANGE) & (likeness <= (1 + MAX_ALIKE * 3) / 4))
    is_plain = (beside <= PLAIN_BESIDE * most) & (stray + beside / 3 <= PLAIN_FAULT * most)
    is_plain &= ~is_edge & (likeness <= (1 + PLAIN_ALIKE * 3) / 4)
    is_one = (is_usual | is_plain) & (stray <= MAX_STRAY * most)
    kept[kept] = is_one & (_spread(grids, at, half) * SLACK >= MIN_SPREAD * change)
    return kept


def _halfway(grids: Array, found: _Found) -> int:
    """The frame that has as much of the one shot as of the other."""
    around = grids[found.middle - found.half : found.middle + found.half + 1].astype(np.float64)
    way = around[-1] - around[0]
    return found.middle - found.half + int(np.argmin(np.abs((around - around[0]) @ way - (way @ way) / 2)))


def _dissolves(grids: Array, course: _Course, at: Array, half: int) -> list[_Found]:
    """Which of the frames `at` are middles of dissolves of one half length."""
    at = at[_change(grids, at - half, at + half) >= PLAIN_CHANGE]
    change = _change(grids, at - half, at + half)
    beside = (_change(grids, at - half - BESIDE, at - half) + _change(grids, at + half, at + half + BESIDE)) / change
    kept = (beside <= PLAIN_BESIDE) & (_spread(grids, at, half) >= MIN_SPREAD * change)
    at, change, beside = at[kept], change[kept], beside[kept]
    if not len(at):
        return []
    stray, likeness = _stray(grids, at, half) / change, _likeness(grids, at, half)
    faults = stray + beside / 3
    is_one = (change >= LEAST_CHANGE) & (beside <= MAX_BESIDE) & (faults <= MAX_FAULT) & (likeness <= MAX_ALIKE)
    is_one |= (faults <= PLAIN_FAULT) & (likeness <= PLAIN_ALIKE) & (_rise(course, at, half) >= PLAIN_RISE)
    is_one &= (stray <= MAX_STRAY) & _is_straight(course, at, half)
    return [_Found(round(f, 6), t, half) for f, t in zip(faults[is_one].tolist(), at[is_one].tolist(), strict=True)]


def _course(changes: Array, is_drawn: Array) -> _Course:
    before = [np.concatenate([[0.0], np.cumsum(of, dtype=np.float64)]) for of in (*changes[:, [0, -1]].T, is_drawn)]
    return _Course(changes[:, 0], *before)


def _is_straight(course: _Course, at: Array, half: int, slack: float = 1.0) -> Array:
    """Whether the points go straight on around the frames `at`, and all the time: bool."""
    end, first = at + half + 1, at - half
    mean_step = np.maximum((course.steps[end] - course.steps[first + 1]) / (2 * half), 1e-6)
    strides = _stride(course, first + N_LAGS, at + half)
    least = MIN_STRAIGHT + DRAWN_PRICE * (course.drawn[end] - course.drawn[first]) / (2 * half + 1)
    peak = np.max([course.jumps[at + k] for k in range(1 - half, half + 1)], axis=0) / mean_step
    is_one: Array = (strides / N_LAGS / mean_step * slack >= least) & (peak <= MAX_PEAK * slack)
    return is_one


def _rise(course: _Course, at: Array, half: int) -> Array:
    """How many times further points go around the frames `at` than in the BESIDE frames before or after, whichever is more."""
    inside = _stride(course, at - half + N_LAGS, at + half)
    before = _stride(course, at - half - BESIDE + N_LAGS, at - half)
    after = _stride(course, at + half + N_LAGS, at + half + BESIDE)
    rise: Array = inside / np.maximum(np.maximum(before, after), 1e-6)
    return rise


def _stride(course: _Course, first: Array, last: Array) -> Array:
    """Mean change over N_LAGS of the frames [first, last]."""
    stride: Array = (course.strides[last + 1] - course.strides[first]) / (last + 1 - first)
    return stride


def _change(grids: Array, first: Array, last: Array) -> Array:
    """Mean absolute difference of the parts between two frames."""
    change: Array = np.abs(grids[last].astype(np.float32) - grids[first]).mean(axis=1)
    return change


def _spread(grids: Array, at: Array, half: int) -> Array:
    """Change of the median part."""
    spread: Array = np.median(np.abs(grids[at + half].astype(np.float32) - grids[at - half]), axis=1)
    return spread


def _stray(grids: Array, at: Array, half: int) -> Array:
    """How far the parts are off the straight line between the ends of the dissolve, mean grey levels."""
    first, last = grids[at - half].astype(np.float32), grids[at + half].astype(np.float32)
    total = np.zeros(len(at))
    for k in range(1 - half, half):
        share = (k + half) / (2 * half)
        total += np.abs(grids[at + k] - (first * (1 - share) + last * share)).mean(axis=1)
    mean: Array = total / (2 * half - 1)
    return mean


def _likeness(grids: Array, at: Array, half: int) -> Array:
    """Correlation of the parts before and after."""
    sides = [grids[k].astype(np.float64) for k in (at - half, at + half)]
    first, last = (side - side.mean(axis=1, keepdims=True) for side in sides)
    spread = first.std(axis=1) * last.std(axis=1)
    likeness: Array = (first * last).mean(axis=1) / np.maximum(spread, 1.0)
    return likeness
