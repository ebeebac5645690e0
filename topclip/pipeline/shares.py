"""How much of a range of the source is black, stands still or is silent: what its clip may be, too. Pure.

Judged in favour of the clip, since a crop shows a part only, and a coder may swallow the faintest change: what may look so,
counts.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from topclip.analysers.frames import BLOCK_COLUMNS, BLOCK_ROWS
from topclip.analysers.tracks import SOUND_HOP_S, Array
from topclip.media.colour import is_hdr
from topclip.media.encode import first_gain_db
from topclip.model.analysis import Analysis
from topclip.model.clip import ClipSpec, Shares
from topclip.model.geometry import clip_geometry
from topclip.model.source import SourceInfo

DARK_GREY, DARK_GREY_OF_HDR = 8.0, 50.0
"""Mean grey, 0-255, up to which a picture's part may come out black. PQ spends more of its range on the dark."""
STILL_CHANGE = 0.5
"""Mean change of grey, of a picture or of its parts' means, up to which it may come out as the one before."""
FAINT_LUFS = -60.0
"""What is no louder in the clip may be silent there."""


def shares_of(info: SourceInfo, analysis: Analysis, spec: ClipSpec) -> Shares:
    """The shares of a clip's range, 0-1."""
    first, end = np.searchsorted(analysis.frame_pts, [spec.start_pts, spec.end_pts])
    hops = slice(int(spec.start_s / SOUND_HOP_S), int(np.ceil(spec.end_s / SOUND_HOP_S)))
    return picture_shares(info, spec, analysis.grids[first:end], analysis.changes[first:end]).model_copy(
        update={"silent": _silent(analysis.loudness_lufs[hops], first_gain_db(spec))}
    )


def picture_shares(info: SourceInfo, spec: ClipSpec, grids: Array, changes: Array) -> Shares:
    """The shares of the picture; all of the sound may be silent.

    grids: uint8 (n, N_BLOCKS), mean greys of the parts. changes: float32 (n,), mean absolute difference to the frame before.
    """
    window = _window(info, spec)
    dark = DARK_GREY_OF_HDR if is_hdr(info.video) else DARK_GREY
    is_whole = window == (BLOCK_ROWS, BLOCK_COLUMNS)
    changed = changes[1:] if is_whole else _least(np.abs(np.diff(grids.astype(np.int16), axis=0)), window)
    return Shares(
        black=_share(_least(grids, window) <= dark),
        frozen=_share(~(changed > STILL_CHANGE)),
        silent=1.0,
    )


def _window(info: SourceInfo, spec: ClipSpec) -> tuple[int, int]:
    """How many rows and columns of parts the clip shows at least, of the picture as it is coded."""
    video, crop = info.video, clip_geometry(info.video, spec).crop
    high, wide = crop.height / video.display_height, crop.width / video.display_width
    if video.rotation in (90, 270):
        high, wide = wide, high
    return max(1, int(BLOCK_ROWS * high)), max(1, int(BLOCK_COLUMNS * wide))


def _least(parts: Array, window: tuple[int, int]) -> Array:
    """Mean of the parts in a window, the least wherever it may lie: a crop may show just these."""
    grid = parts.reshape(-1, BLOCK_ROWS, BLOCK_COLUMNS)
    found: Array = sliding_window_view(grid, window, axis=(1, 2)).mean(axis=(3, 4)).min(axis=(1, 2))
    return found


def _silent(momentary: Array, gain_db: float) -> float:
    return _share(~(momentary + gain_db > FAINT_LUFS))


def _share(is_so: Array) -> float:
    """Share of what is true, rounded, so that a spec is the same wherever it is made; all where nothing is known."""
    return round(float(np.mean(is_so)), 4) if len(is_so) else 1.0
