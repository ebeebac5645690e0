"""From what was seen of a clip's subject to its framing: which evidence counts in each shot, and one way through it. Pure.

Faces count where there are any, else motion that keeps together. A shot that shows neither is shown in its middle; a clip
most of which does is shown whole, over a blurred copy of itself: a guess would cut off as much as it shows.
"""

from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from topclip.analysers.evidence import EVIDENCE_VERSION, Evidence
from topclip.model.framing import MOST_KEYFRAMES, Framing, Keyframe, Outlook
from topclip.model.source import VideoStream
from topclip.pipeline.path import FULL, Flags, Floats, Ints, best_way, gain_of, places, simplified

FRAMING_VERSION = f"evidence {EVIDENCE_VERSION}, framing 2"

LEAST_FACES = 0.3
"""Of the pictures of a shot in which faces were looked for, so many must show one,"""
LEAST_MOTION = 0.15
"""or so many of its pictures must show motion that keeps together"""
LEAST_AREA = 8
"""in so many thousandths of the picture: less is a clock, a cursor, a leaf"""
LEAST_TOGETHER = 400
"""and be gathered by one cut-out, in thousandths: 0 is as even motion would be, 1000 is all of it."""
LEAST_SEEN = 0.5
"""Share of a clip's time, in shots with a subject, below which it is shown whole."""
RECALL = 6
"""So many pictures off a face is thought to be where it was."""
SPEAKS = 6
"""Of two faces the one counts for more that moved more in so many pictures before and after: it speaks."""
LEAST_MOVES = 50.0
"""Less motion in a face, in all these pictures, in a column of them, is no speech."""
CONTRAST = 15
"""Weight of contrast beside motion, of a hundred."""
HEADROOM = 0.25
"""A cut-out that is lower than the picture has a face above its middle by so much of the room that it has there."""
TOLERANCE = 0.006
"""Straight lines between keyframes are off by no more than this share of the picture; more, where there are too many."""


@dataclass(frozen=True)
class _Axis:
    """The direction in which the cut-out can move. window: its share of the picture's side."""

    is_across: bool
    window: float

    def motion(self, evidence: Evidence) -> Ints:
        return (evidence.motion_x if self.is_across else evidence.motion_y).astype(np.int64)

    def contrast(self, evidence: Evidence) -> Ints:
        return (evidence.contrast_x if self.is_across else evidence.contrast_y).astype(np.int64)

    def place_of(self, face: Ints) -> tuple[float, float]:
        """Middle and size of a face."""
        middle, size = (int(face[i if self.is_across else i + 1]) / FULL for i in (1, 3))
        room = max(0.0, self.window - size) / 2
        return middle + (0.0 if self.is_across else HEADROOM * room), size


@dataclass(frozen=True)
class _Shot:
    """Pictures [first, last) of a shot, by what it is framed, and what every place gains."""

    first: int
    last: int
    method: str | None
    seen: int
    gains: Ints


def frame_clip(video: VideoStream, outlook: Outlook, evidence: Evidence, window: tuple[float, float]) -> Framing:
    """The framing of one clip. window: shares of the upright picture's width and height that are cut out; one of them is 1."""
    axis = _Axis(window[0] < window[1], min(window))
    if not len(evidence.pts):
        return Framing(method="blur", reason="no picture of it could be decoded", evidence=0.0)
    shots = [_judged(evidence, axis, first, last) for first, last in _shots(evidence)]
    n = len(evidence.pts)
    share = round(sum(s.seen for s in shots) / n, 3)
    if sum(s.last - s.first for s in shots if s.method) < LEAST_SEEN * n:
        reason = f"no face, and no motion that keeps together, in {1 - share:.0%} of the pictures: shown whole"
        return Framing(method="blur", reason=reason, evidence=share)
    methods = {s.method for s in shots if s.method}
    times_s = np.array([_time_s(video, int(pts)) for pts in evidence.pts])
    return Framing(
        method="mixed" if len(methods) > 1 else "faces" if "faces" in methods else "motion",
        reason=_reason(shots, n),
        evidence=share,
        keyframes=_keyframes(shots, axis, times_s, [_start_s(video, outlook, evidence, s.first) for s in shots]),
    )


def _shots(evidence: Evidence) -> list[tuple[int, int]]:
    numbers = np.searchsorted(evidence.cut_pts, evidence.pts, side="right")
    edges = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
    return list(pairwise(edges))


def _start_s(video: VideoStream, outlook: Outlook, evidence: Evidence, first: int) -> float:
    """When the shot begins whose first picture is this one."""
    n_cuts = int(np.searchsorted(evidence.cut_pts, evidence.pts[first], side="right"))
    return _time_s(video, int(evidence.cut_pts[n_cuts - 1])) if n_cuts else outlook.start_s


def _time_s(video: VideoStream, pts: int) -> float:
    return round(float((pts - video.start_pts) * video.tick), 6)


def _reason(shots: list[_Shot], n: int) -> str:
    names = {"faces": "a face", "motion": "motion that keeps together"}
    told = []
    for method, name in names.items():
        mine = [s for s in shots if s.method == method]
        if mine:
            told.append(
                f"{name} in {sum(s.seen for s in mine) / sum(s.last - s.first for s in mine):.0%} of the pictures"
            )
            told[-1] += f" of {len(mine)} shots" if len(shots) > 1 else ""
    blind = sum(s.last - s.first for s in shots if not s.method)
    return "; ".join([*told, *([f"neither in {blind / n:.0%}: shown in the middle"] if blind else [])])


# --- what a shot shows ----------------------------------------------------------------------------------------


def _judged(evidence: Evidence, axis: _Axis, first: int, last: int) -> _Shot:
    looked = np.flatnonzero(evidence.looked[first:last]) + first
    by_picture = {k: evidence.faces[evidence.faces[:, 0] == k] for k in looked.tolist()}
    with_face = [k for k, faces in by_picture.items() if len(faces)]
    if len(with_face) >= LEAST_FACES * max(1, len(looked)) and with_face:
        gains = _face_gains(evidence, axis, by_picture, (first, last))
        seen = round((last - first) * len(with_face) / len(looked))
        return _Shot(first, last, "faces", seen, gains)
    gains, is_seen = _motion_gains(evidence, axis, first, last)
    seen = int(np.count_nonzero(is_seen))
    if seen >= max(2, LEAST_MOTION * (last - first)):
        return _Shot(first, last, "motion", seen, gains)
    return _Shot(first, last, None, seen, np.zeros((last - first, len(places(axis.window))), np.int64))


def _face_gains(evidence: Evidence, axis: _Axis, by_picture: dict[int, Ints], span: tuple[int, int]) -> Ints:
    """A picture in which no face was looked for, or none found, shows what those near it show, for half as much."""
    first, last = span
    gains = np.zeros((last - first, len(places(axis.window))), np.int64)
    known = [k - first for k, faces in by_picture.items() if len(faces)]
    for i in known:
        faces = by_picture[i + first]
        for face, weight in zip(faces, _weights(evidence, faces, i + first, span), strict=True):
            gains[i] += np.rint(FULL * weight * gain_of(*axis.place_of(face), axis.window)).astype(np.int64)
    for i in sorted(set(range(last - first)) - set(known)):
        at = bisect(known, i)
        near = [j for j in known[max(0, at - 1) : at + 1] if abs(i - j) <= RECALL]
        if near:
            gains[i] = sum(gains[j] for j in near) // (2 * len(near))
    return gains


def _weights(evidence: Evidence, faces: Ints, k: int, span: tuple[int, int]) -> Floats:
    """How much each face of a picture counts, at most 1: the larger more, and the one that moves."""
    sizes = faces[:, 3].astype(np.float64) * faces[:, 4]
    near = slice(max(span[0], k - SPEAKS), min(span[1], k + SPEAKS + 1))
    columns = evidence.motion_x[near].sum(axis=0, dtype=np.int64)
    edges = np.linspace(0, 1, len(columns) + 1)
    moves = np.array([_within(columns, edges, face) for face in faces])
    weights = (0.3 + 0.7 * np.sqrt(sizes / sizes.max())) * (0.4 + 0.6 * moves / max(LEAST_MOVES, moves.max()))
    return np.asarray(np.round(weights / weights.max(), 3))


def _within(columns: Ints, edges: Floats, face: Ints) -> float:
    """Motion for each column of a face."""
    left, right = (int(face[1]) - int(face[3]) / 2) / FULL, (int(face[1]) + int(face[3]) / 2) / FULL
    inside = (edges[1:] > left) & (edges[:-1] < right)
    return round(float(columns[inside].mean()), 3) if inside.any() else 0.0


def _motion_gains(evidence: Evidence, axis: _Axis, first: int, last: int) -> tuple[Ints, Flags]:
    """What every place gains, and which pictures show motion that keeps together."""
    padded = np.pad(axis.motion(evidence)[first:last], ((1, 1), (0, 0)))
    moving = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    spots = (np.arange(moving.shape[1]) + 0.5) / moving.shape[1]
    within = np.abs(places(axis.window)[None, :] - spots[:, None]) <= axis.window / 2
    most = (moving @ within.astype(np.int64)).max(axis=1) / np.maximum(1, moving.sum(axis=1))
    together = np.rint(FULL * np.clip((most - axis.window) / max(1e-6, 1 - axis.window), 0, 1)).astype(np.int64)
    is_seen = (evidence.area[first:last] >= LEAST_AREA) & (together >= LEAST_TOGETHER)
    shown = np.array([np.rint(FULL * gain_of(spot, 0.0, axis.window)) for spot in spots]).astype(np.int64)
    around = axis.contrast(evidence)[first:last]
    parts = [weight * _shared(sums, shown) for weight, sums in ((100 - CONTRAST, moving), (CONTRAST, around))]
    gains = (parts[0] + parts[1]) * np.where(is_seen, together, 0)[:, None] // (100 * FULL)
    return _remembered(gains, is_seen), is_seen


def _remembered(gains: Ints, is_seen: Flags) -> Ints:
    """What stops is thought to be where it was, and what comes to be where it will be, for half as much."""
    known = np.flatnonzero(is_seen)
    if not len(known):
        return gains
    last = known[np.maximum(0, np.searchsorted(known, np.arange(len(gains)), side="right") - 1)]
    return np.where(is_seen[:, None], gains, gains[last] // 2)


def _shared(sums: Ints, shown: Ints) -> Ints:
    """Mean of what each place shows of the parts, by how much lies in them."""
    found: Ints = (sums @ shown) // np.maximum(1, sums.sum(axis=1))[:, None]
    return found


# --- keyframes ------------------------------------------------------------------------------------------------


def _keyframes(shots: list[_Shot], axis: _Axis, times_s: Floats, starts_s: list[float]) -> tuple[Keyframe, ...]:
    """starts_s: when each shot begins, which is before or with its first picture."""
    ways = [best_way(shot.gains, times_s[shot.first : shot.last], axis.window) for shot in shots]
    tolerance = TOLERANCE
    while True:
        found: list[Keyframe] = []
        for shot, way, start_s in zip(shots, ways, starts_s, strict=True):
            for a, b in pairwise([0, *way.jumps, len(way.places)]):
                times, places_ = times_s[shot.first + a : shot.first + b], way.places[a:b]
                if a == 0 and start_s < times[0]:
                    times, places_ = np.insert(times, 0, start_s), np.insert(places_, 0, places_[0])
                found += _piece(axis, times, places_, tolerance, is_first=not found)
        if len(found) <= MOST_KEYFRAMES or tolerance > 1:
            return tuple(_joined(found))
        tolerance *= 2


def _piece(axis: _Axis, times_s: Floats, way: Floats, tolerance: float, *, is_first: bool) -> Iterator[Keyframe]:
    for i in simplified(times_s, way, tolerance):
        at = round(float(way[i]), 4)
        x, y = (at, 0.5) if axis.is_across else (0.5, at)
        yield Keyframe(time_s=float(times_s[i]), x=x, y=y, cut=i == 0 and not is_first)


def _joined(keyframes: list[Keyframe]) -> Iterator[Keyframe]:
    """Without cuts that change nothing."""
    last = None
    for i, now in enumerate(keyframes):
        goes_on = i + 1 < len(keyframes) and not keyframes[i + 1].cut
        if last is not None and now.cut and (last.x, last.y) == (now.x, now.y) and not goes_on:
            continue
        yield now
        last = now
