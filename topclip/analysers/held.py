"""Pictures that stand, counted as they are seen: shots are looked for over frames, and one may be shown for a minute. Pure."""

from dataclasses import replace

import numpy as np

from topclip.analysers.tracks import N_LAGS, Array, Tracks


def stretched(tracks: Tracks, n_copies: int, apart: float) -> tuple[Tracks, Array]:
    """The tracks, in which each frame that is shown for over `apart` pts units comes n_copies times more, as a recorder that
    drops no picture would have it; and of which frame each row is: int64, rising.

    Copies have their frame's pts. Nothing is added to the sound, nor to head and tail.
    """
    is_held = np.diff(tracks.pts) > apart
    n_rows = np.ones(len(tracks.pts), np.int64)
    n_rows[:-1][is_held] += n_copies
    frame_of = np.repeat(np.arange(len(tracks.pts)), n_rows)
    if not is_held.any():
        return tracks, frame_of
    is_first = np.diff(frame_of, prepend=-1) > 0
    rows = replace(
        tracks,
        pts=tracks.pts[frame_of],
        differences=_differences(tracks.differences, frame_of),
        layouts=np.where(is_first, tracks.layouts[frame_of], np.float32(0)),
        grids=tracks.grids[frame_of],
        tones=tracks.tones[frame_of],
        kinds=np.where(is_first, tracks.kinds[frame_of], 0).astype(tracks.kinds.dtype),
    )
    return rows, frame_of


def _differences(differences: Array, frame_of: Array) -> Array:
    """Of each row to those 1 to N_LAGS before it."""
    found = np.full((len(frame_of), N_LAGS), np.nan, np.float32)
    for lag in range(1, N_LAGS + 1):
        frame, apart = frame_of[lag:], frame_of[lag:] - frame_of[:-lag]
        found[lag:, lag - 1] = np.where(apart > 0, differences[frame, np.maximum(apart, 1) - 1], np.float32(0))
    return found
