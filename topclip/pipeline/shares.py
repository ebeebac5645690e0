"""How much of a range of the source is black, stands still or is silent: what its clip may be, too. Pure.

Judged in favour of the clip, since a crop shows a part only, and a coder may swallow the faintest change: what may look so,
counts.
"""

import numpy as np

from topclip.analysers.tracks import SOUND_HOP_S, Array
from topclip.media.colour import is_hdr
from topclip.media.encode import first_gain_db
from topclip.media.geometry import plan_geometry
from topclip.model.analysis import Analysis
from topclip.model.clip import ClipSpec, Shares
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
    crop = plan_geometry(info.video, spec.aspect, spec.fit).crop
    shown = crop.width * crop.height / (info.video.display_width * info.video.display_height)
    n_parts = max(1, round(grids.shape[1] * shown))
    dark = DARK_GREY_OF_HDR if is_hdr(info.video) else DARK_GREY
    changed = (
        changes[1:] if n_parts == grids.shape[1] else _least(np.abs(np.diff(grids.astype(np.int16), axis=0)), n_parts)
    )
    return Shares(
        black=_share(_least(grids, n_parts) <= dark),
        frozen=_share(~(changed > STILL_CHANGE)),
        silent=1.0,
    )


def _least(parts: Array, n: int) -> Array:
    """Mean of the n least parts of each row: a crop may show just these."""
    found: Array = np.sort(parts, axis=1)[:, :n].mean(axis=1)
    return found


def _silent(momentary: Array, gain_db: float) -> float:
    return _share(~(momentary + gain_db > FAINT_LUFS))


def _share(is_so: Array) -> float:
    """Share of what is true, rounded, so that a spec is the same wherever it is made; all where nothing is known."""
    return round(float(np.mean(is_so)), 4) if len(is_so) else 1.0
