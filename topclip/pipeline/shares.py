"""How much of a range of the source is black, stands still or is silent: what its clip may be, too. Pure.

Judged in favour of the clip, since a crop shows parts that are known by their means only, and a coder may swallow the faintest
change: what may look so, counts.
"""

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from topclip.analysers.frames import BLOCK_COLUMNS, BLOCK_ROWS
from topclip.analysers.tracks import SOUND_HOP_S, Array
from topclip.media.colour import is_hdr
from topclip.media.encode import first_gain_db
from topclip.model.analysis import Analysis
from topclip.model.clip import ClipSpec, Shares
from topclip.model.framing import ROUNDED, Keyframe
from topclip.model.geometry import clip_geometry
from topclip.model.request import Fit
from topclip.model.source import SourceInfo

DARK_GREY, DARK_GREY_OF_HDR = 8.0, 50.0
"""Mean grey, 0-255, up to which a picture's part may come out black. PQ spends more of its range on the dark."""
SAME, STILL, WHILE_S = 0.1, 1.5, 0.5
"""Mean changes of grey up to which a picture is the one before; up to which it may come out as that, if its parts have not
changed for a while: noise may come to nothing in the clip, what moves does not.
"""
ROUNDED_MEANS = 1.0
"""Grey levels by which parts change that do not: means between two levels are rounded to the one or the other."""
JUST_BEFORE_S = 1e-4
FAINT_LUFS = -60.0
"""What is no louder in the clip may be silent there."""


def shares_of(info: SourceInfo, analysis: Analysis, spec: ClipSpec) -> Shares:
    """The shares of a clip's range, 0-1."""
    first, end = np.searchsorted(analysis.frame_pts, [spec.first_pts, spec.end_pts])
    hops = slice(int(spec.start_s / SOUND_HOP_S), int(np.ceil(spec.end_s / SOUND_HOP_S)))
    frames = (of[first:end] for of in (analysis.frame_pts, analysis.grids, analysis.changes))
    return picture_shares(info, spec, *frames).model_copy(
        update={"silent": _silent(analysis.loudness_lufs[hops], first_gain_db(spec))}
    )


def picture_shares(info: SourceInfo, spec: ClipSpec, pts: Array, grids: Array, changes: Array) -> Shares:
    """The shares of the picture; all of the sound may be silent.

    pts: int64 (n,). grids: uint8 (n, N_BLOCKS), mean greys of the parts. changes: float32 (n,), mean absolute difference to the
    frame before.
    """
    window, parts = _window(info, spec), grids.reshape(-1, BLOCK_ROWS, BLOCK_COLUMNS).astype(np.int16)
    times_s = (pts - info.video.start_pts) * float(info.video.tick)
    places = _places(info, spec, window, times_s)
    dark = DARK_GREY_OF_HDR if is_hdr(info.video) else DARK_GREY
    return Shares(
        black=_share(_least(parts, window, places) * _filled(info, spec) <= dark),
        frozen=_share(_may_stand_still(parts, changes, times_s, window, places)),
        silent=1.0,
    )


def _may_stand_still(parts: Array, changes: Array, times_s: Array, window: tuple[int, int], places: Array) -> Array:
    """Which frames but the first may come out as the one before: bool (n - 1,)."""
    before = np.clip(np.searchsorted(times_s, times_s - WHILE_S), 0, np.maximum(np.arange(len(parts)) - 1, 0))
    for_a_while = _least(np.abs(parts - parts[before]), window, places)[1:]
    step = _least(np.abs(np.diff(parts, axis=0)), window, places[1:])
    known = np.where(np.isnan(changes[1:]), 0.0, changes[1:])
    is_whole = window == (BLOCK_ROWS, BLOCK_COLUMNS)
    is_same = known <= SAME if is_whole else (known <= SAME) | (step == 0)
    may_be_same = known <= STILL if is_whole else step <= ROUNDED_MEANS
    may: Array = is_same | (may_be_same & (for_a_while <= ROUNDED_MEANS))
    return may


def _filled(info: SourceInfo, spec: ClipSpec) -> float:
    """The share of the clip's picture that is no black bar."""
    _, scaled, canvas = clip_geometry(info.video, spec)
    return scaled.width * scaled.height / (canvas.width * canvas.height) if spec.fit is Fit.PAD else 1.0


def _window(info: SourceInfo, spec: ClipSpec) -> tuple[int, int]:
    """How many rows and columns of parts the clip shows at least, of the picture as it is coded."""
    video, crop = info.video, clip_geometry(info.video, spec).crop
    high, wide = crop.height / video.display_height, crop.width / video.display_width
    if video.rotation in (90, 270):
        high, wide = wide, high
    return max(1, int(BLOCK_ROWS * high)), max(1, int(BLOCK_COLUMNS * wide))


def _places(info: SourceInfo, spec: ClipSpec, window: tuple[int, int], times_s: Array) -> Array:
    """Which windows the cut-out lies upon in each frame: bool (n, rows, columns of windows)."""
    n_rows, n_columns = BLOCK_ROWS - window[0] + 1, BLOCK_COLUMNS - window[1] + 1
    found = np.ones((len(times_s), n_rows, n_columns), bool)
    if info.video.rotation:  # anywhere
        return found
    video, crop = info.video, clip_geometry(info.video, spec).crop
    for axis, n, n_parts, share in (
        ("y", n_rows, BLOCK_ROWS, crop.height / video.display_height),
        ("x", n_columns, BLOCK_COLUMNS, crop.width / video.display_width),
    ):
        first = (_way(spec.keyframes, axis, times_s) - share / 2) * n_parts
        last = first + share * n_parts - window[axis == "x"]
        at = np.arange(n)[None, :]
        lies = (at >= np.floor(first + ROUNDED)[:, None]) & (at <= np.ceil(last - ROUNDED)[:, None])
        found &= lies[:, :, None] if axis == "y" else lies[:, None, :]
    return found


def _way(keyframes: Sequence[Keyframe], axis: str, times_s: Array) -> Array:
    """Where the middle of the cut-out lies, as a share of the picture's side."""
    at_s, middles = [-1.0], [getattr(keyframes[0], axis) if keyframes else 0.5]
    for key in keyframes:
        if key.cut:
            at_s.append(key.time_s - JUST_BEFORE_S)
            middles.append(middles[-1])
        at_s.append(key.time_s)
        middles.append(getattr(key, axis))
    found: Array = np.interp(times_s, at_s, middles)
    return found


def _least(parts: Array, window: tuple[int, int], places: Array) -> Array:
    """Mean of the parts in a window, the least of those that the cut-out lies upon."""
    means = sliding_window_view(parts, window, axis=(1, 2)).mean(axis=(3, 4))
    found: Array = np.where(places, means, np.inf).min(axis=(1, 2))
    return found


def _silent(momentary: Array, gain_db: float) -> float:
    return _share(~(momentary + gain_db > FAINT_LUFS))


def _share(is_so: Array) -> float:
    """Share of what is true, rounded, so that a spec is the same wherever it is made; all where nothing is known."""
    return round(float(np.mean(is_so)), 4) if len(is_so) else 1.0
