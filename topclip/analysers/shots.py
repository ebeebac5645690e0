"""Shots, from small grey pictures: hard cuts from their differences, and where shots pass into one another (gradual.py).

A cut is a difference that stands out against the frames around it, on both sides; or on one side only if the tones of
the picture change too (a quiet shot followed by a busy one). It may stand out in its points or in its layout, the mean
grey of a few large parts: a shot of moving noise changes all its points with each frame, but not its layout. And the
layout must change: fine patterns shimmer as they move, and then all points jump at once. A flash is no cut: the picture
returns after it.
The rule and its constants were set by trials on synthetic sources with known cuts (recall and precision .95 and more).
"""

from collections.abc import Sequence

import numpy as np

from topclip.analysers.gradual import MARGIN, find_dissolves, find_fades
from topclip.analysers.held import stretched
from topclip.analysers.tracks import DRAWN, KEY, N_LAGS, Array, Tracks

MIN_DIFFERENCE = 7.0
"""Mean grey levels; camera noise and motion of a small picture stay below."""
MIN_LAYOUT = 6.0
"""Mean grey levels, of the parts' means; shimmering patterns stay below."""
STAND_OUT = 2.4
"""How many times the second largest difference nearby."""
NEARBY, NEARBY_S = 6, 0.25
"""Frames looked at on each side: so many, and for so long, for where a film is shown at a higher rate than it was taken at
most frames are the one before once more.
"""
LEAST_DRIFT, DRIFT, MOST_DRIFT = 90, 0.05, 15.0
"""Frames between key frames, and grey levels that pictures may drift by with each of them and altogether: they are decoded
without their loop filter, and the next key frame sets them right. Measured: 11 levels after 299 frames.
"""
STANDS_S = 0.4
"""A picture that is shown for longer stands, and counts as many. Where most of a source's do, any two differ much, as in time
lapses: they are of one shot if they are alike, or the old picture returns, but for what stands out among them as they are.
"""
OTHER = 0.7
"""Correlation of the parts' means of such pictures, up to which they are not alike."""
TONE_SPAN = 3
"""Frames whose tones are averaged on each side."""
TONE_CHANGE = 0.4
"""Half the sum of absolute changes of the tones' shares: 0 the same, 1 no tone in common."""
BLANK_SPREAD = 4.0
"""Of the parts' means, up to which a frame shows nothing, such as a white one."""
SAME_PICTURE, LIKE = 8.0, 0.9
"""Mean grey levels by which pictures on both sides of a blank one may differ and be one shot; or so much are they alike."""
RETURN_SHARE = 0.5
"""A flash: the picture after it differs from the one before it by less than this share of the jump."""


def find_cuts(tracks: Tracks, rate: float, tick_s: float) -> Array:
    """The frames that begin a new shot: int64 indices, rising, none among the first NEARBY, which no shot ends in; a frame that
    stands counts as many.

    rate: frames a second. tick_s: seconds of one pts unit. Where shots pass into one another it is the frame in the middle.
    """
    nearby, apart = max(NEARBY, round(NEARBY_S * rate)), STANDS_S / tick_s
    rows, frame_of = stretched(tracks, nearby, apart)
    found = _cuts(tracks, rows, frame_of, nearby)
    if len(found) and np.median(np.diff(tracks.pts)) > apart:
        others = found[_are_others(tracks.grids, found)]
        found = np.union1d(others, _cuts(tracks, tracks, np.arange(len(tracks.pts)), nearby))
    return found


def _cuts(tracks: Tracks, rows: Tracks, frame_of: Array, nearby: int) -> Array:
    """The frames that begin a new shot, by rows of frames, each of one of the tracks' own."""
    jumps = np.where(np.diff(frame_of, prepend=-1) > 0, jump_sizes(tracks)[frame_of], np.float32(0))
    fades = find_fades(rows.grids)
    changes, is_drawn = np.nan_to_num(rows.differences, nan=0.0), rows.kinds & DRAWN > 0
    passages = [*fades, *find_dissolves(rows.grids, changes, fades, is_drawn)]
    is_cut = np.zeros(len(rows.pts), bool)
    is_cut[_hard_cuts(rows, jumps, nearby)] = True
    for one in passages:
        is_cut[max(0, one.first - MARGIN) : one.last + MARGIN + 1] = False
    is_cut[[one.middle for one in passages if one.middle is not None]] = True
    is_cut[:NEARBY] = False
    found: Array = np.unique(frame_of[is_cut])
    return found[found > 0]


def _hard_cuts(tracks: Tracks, jumps: Array, nearby: int) -> Array:
    """Changes from one frame to the next: int64 indices, rising, none among the first NEARBY."""
    layouts = np.nan_to_num(tracks.layouts, nan=0.0)
    candidates = np.flatnonzero((jumps > MIN_DIFFERENCE) & (layouts > MIN_LAYOUT))
    candidates = candidates[candidates >= NEARBY]
    if not len(candidates):
        return candidates
    stands_before, stands_after = (
        _stands_out(jumps, candidates, side) | _stands_out(layouts, candidates, side)
        for side in (range(-nearby, 0), range(1, nearby + 1))
    )
    toned = _tone_change(tracks.tones, candidates) > TONE_CHANGE
    is_cut = (stands_before & stands_after) | ((stands_before | stands_after) & toned)
    cuts = candidates[is_cut & _is_peak(jumps, candidates)]
    return _without_flashes(tracks, cuts)


def _stands_out(values: Array, at: Array, side: range) -> Array:
    found: Array = values[at] >= STAND_OUT * _second_largest(values, at, side)
    return found


def jump_sizes(tracks: Tracks) -> Array:
    """Each frame's difference to the one before it, float32; 0 where unknown, or where a key frame ends a drift."""
    jumps = np.nan_to_num(tracks.differences[:, 0], nan=0.0)
    jumps[_drift_ends(tracks.kinds, jumps)] = 0.0
    return jumps


def _drift_ends(kinds: Array, jumps: Array) -> Array:
    """Key frames that an encoder set since none had come for as long as it waits, not for what is seen: int64 indices."""
    keys = np.flatnonzero(kinds & KEY)
    apart = np.diff(keys)
    longest = apart.max(initial=0)
    ends = keys[1:][apart >= longest - 1]
    if longest < LEAST_DRIFT or len(ends) < 2:  # one may be the longest shot's own end
        return keys[:0]
    drifted: Array = ends[jumps[ends] <= min(DRIFT * longest, MOST_DRIFT)]
    return drifted


def _neighbours(values: Array, at: Array, offsets: Sequence[int]) -> Array:
    """values[at + offset] for each offset, 0 beyond the ends; shape (len(at), len(offsets))."""
    index = at[:, None] + np.array(offsets)[None, :]
    inside = (index >= 0) & (index < len(values))
    return np.where(inside, values[np.clip(index, 0, len(values) - 1)], 0.0)


def _second_largest(values: Array, at: Array, offsets: range) -> Array:
    found: Array = np.sort(_neighbours(values, at, offsets), axis=1)[:, -2]
    return found


def _is_peak(values: Array, at: Array) -> Array:
    """Whether no direct neighbour is larger: one cut is one frame."""
    peak: Array = values[at] >= _neighbours(values, at, (-2, -1, 1, 2)).max(axis=1)
    return peak


def _tone_change(tones: Array, at: Array) -> Array:
    """at: none of the first TONE_SPAN frames."""
    before = np.mean([tones[at - k] for k in range(1, TONE_SPAN + 1)], axis=0)
    n_after = np.minimum(TONE_SPAN, len(tones) - at)[:, None]
    frames = [np.where(k < n_after, tones[np.minimum(at + k, len(tones) - 1)], 0) for k in range(TONE_SPAN)]
    after = np.sum(frames, axis=0) / n_after
    change: Array = np.abs(after - before).sum(axis=1) / (2 * 255)
    return change


def _without_flashes(tracks: Tracks, cuts: Array) -> Array:
    """Drop both jumps of a flash: the one after which the old picture returns, and the one that brings it back.

    Of a flash that another picture follows, an editor's way from one shot to the next, the second is kept.
    """
    differences, grids = tracks.differences, tracks.grids
    dropped, is_blank = np.zeros(len(cuts), bool), _is_blank(grids, cuts)
    for length in range(1, N_LAGS):
        dropped |= _is_return(differences, grids, cuts, cuts + length, length)
        dropped |= _is_return(differences, grids, cuts - length, cuts, length)
        dropped |= is_blank & np.isin(cuts + length, cuts)
    kept: Array = cuts[~dropped]
    return kept


def _is_blank(grids: Array, at: Array) -> Array:
    """Whether frames show nothing."""
    found: Array = grids[at].astype(np.float32).std(axis=1) <= BLANK_SPREAD
    return found


def _is_return(differences: Array, grids: Array, jump_at: Array, back_at: Array, length: int) -> Array:
    """Whether frame back_at shows again what was there before the jump, `length` frames earlier."""
    inside = (jump_at > 0) & (back_at < len(differences))
    jump_at, back_at = np.where(inside, jump_at, 0), np.where(inside, back_at, 0)
    smaller = np.minimum(differences[jump_at, 0], differences[back_at, 0])
    change = differences[back_at, length]
    # From white any picture is so far that another shot is nearer to the old one: there it must be the same, as it moves.
    beside = np.maximum(*(_one_of(differences, length, at) for at in (jump_at - 1, back_at + length + 1)))
    is_same = (
        ~_is_blank(grids, jump_at)
        | (change <= np.maximum(SAME_PICTURE, STAND_OUT * beside))
        | (_likeness(grids[jump_at - 1], grids[back_at]) >= LIKE)
    )
    returned: Array = inside & (change < RETURN_SHARE * smaller) & is_same
    return returned


def _likeness(a: Array, b: Array) -> Array:
    """Correlation of the parts' means of pictures, -1 to 1: that of one scene hardly changes with its exposure."""
    a, b = (of.astype(np.float32) - of.mean(axis=1, dtype=np.float32)[:, None] for of in (a, b))
    found: Array = (a * b).sum(axis=1) / np.maximum(1e-6, np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1)))
    return found


def _are_others(grids: Array, at: Array) -> Array:
    """Whether frames show another scene than those before them, which does not come back soon, nor was there shortly before."""
    found: Array = _likeness(grids[at - 1], grids[at]) < OTHER
    for length in range(1, N_LAGS):
        for old, new in ((at - 1, at + length), (at - 1 - length, at)):
            is_there = (old >= 0) & (new < len(grids))
            likeness = _likeness(grids[np.where(is_there, old, 0)], grids[np.where(is_there, new, 0)])
            found &= ~(is_there & (likeness >= LIKE))
    return found


def _one_of(differences: Array, length: int, at: Array) -> Array:
    """differences[at, length]; 0 beyond the ends, and where it is unknown."""
    inside = (at >= 0) & (at < len(differences))
    return np.where(inside, np.nan_to_num(differences[np.where(inside, at, 0), length], nan=0.0), 0.0)
