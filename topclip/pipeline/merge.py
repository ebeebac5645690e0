"""Stage merge: chunks' numbers to one analysis of the whole source. Pure. Decisions fall here, where no chunk has a seam."""

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from topclip.analysers import ANALYSERS, TELLING, Told
from topclip.analysers.fingerprint import fingerprints
from topclip.analysers.seams import without_seams
from topclip.analysers.shots import find_cuts
from topclip.analysers.tracks import LEVEL_HOP_S, Array, Tracks
from topclip.analysers.windows import HOP_S
from topclip.errors import DecodeError
from topclip.model.analysis import Analysis, Shot
from topclip.model.audience import AudienceCurve
from topclip.model.source import SourceInfo
from topclip.model.transcript import Word
from topclip.pipeline.quiet import SILENT_DBFS

LAST_FRAMES = 100
"""The last frame's duration is the median of so many before it, where its packet does not say less."""


def merge_chunks(info: SourceInfo, parts: Iterable[Tracks]) -> Analysis:
    """Join the chunks' numbers, in the order of the grid, and draw signals and shots from them.

    Raises: DecodeError if no picture of the whole source could be decoded.
    """
    tracks = Tracks.joined(without_seams(parts))
    if not len(tracks.pts):
        raise DecodeError(
            "no picture of the source could be decoded",
            {"n_corrupt": int(tracks.n_corrupt.sum()), "hint": "the file is damaged"},
        )
    tick_s = float(info.video.tick)
    cuts = find_cuts(tracks, float(info.video.rate), tick_s)
    end_pts = _end_pts(info, tracks)
    signals = [analyser(tracks, cuts, tick_s) for analyser in ANALYSERS.values()]
    return Analysis(
        frame_pts=tracks.pts,
        end_pts=end_pts,
        level_db=tracks.levels_db,
        loudness_lufs=tracks.loudness_lufs,
        signals=tuple(s for s in signals if s is not None),
        shots=_shots(info, tracks.pts, cuts, end_pts),
        fingerprints=fingerprints(tracks, cuts, tick_s),
        grids=tracks.grids,
        changes=tracks.differences[:, 0].copy(),
    )


def with_told(
    info: SourceInfo,
    analysis: Analysis,
    words: tuple[Word, ...],
    keywords: tuple[str, ...] = (),
    curve: AudienceCurve | None = None,
) -> Analysis:
    """The analysis with what is told of the source, and the signals of that.

    words: what is said. keywords: what somebody looks for in it. curve: what an audience did.
    """
    told = Told(words, max(1, math.ceil(info.duration_s / HOP_S)), keywords, curve)
    found = (analyser(told) for analyser in TELLING.values())
    signals = (*analysis.signals, *(signal for signal in found if signal is not None))
    return replace(analysis, signals=signals, words=words)


def _end_pts(info: SourceInfo, tracks: Tracks) -> int:
    """Where the last frame's time ends. If the packets say that it is shown for long, it stands for as long as something is
    heard: what a recorder that was cut off says may be hours.
    """
    last = int(tracks.pts[-1])
    end_pts = last + info.last_ticks(last, _usual_ticks(info, tracks.pts))
    heard = np.flatnonzero(tracks.levels_db > SILENT_DBFS)
    if not len(heard) or not info.holds(last, info.end_pts):
        return end_pts
    heard_pts = info.video.start_pts + round((int(heard[-1]) + 1) * LEVEL_HOP_S / float(info.video.tick))
    return max(end_pts, min(info.end_pts, heard_pts))


def _usual_ticks(info: SourceInfo, pts: Array) -> int:
    if len(pts) < 2:
        return max(1, round(1 / (info.video.rate * info.video.tick)))
    return max(1, int(np.median(np.diff(pts[-LAST_FRAMES:]))))


def _shots(info: SourceInfo, pts: Array, cuts: Array, end_pts: int) -> tuple[Shot, ...]:
    edges = [0, *cuts.tolist(), len(pts)]
    ticks = np.append(pts, end_pts)[edges] - info.video.start_pts
    times_s = [round(float(t * info.video.tick), 6) for t in ticks.tolist()]
    return tuple(
        Shot(start_frame=edges[i], end_frame=edges[i + 1], start_s=times_s[i], end_s=times_s[i + 1])
        for i in range(len(edges) - 1)
    )
