"""From what was seen of a clip's subject to its framing: which evidence counts in each shot, and one way through it. Pure.

Faces count where there are any, else motion that keeps together. A shot that shows neither is shown in its middle; a clip
most of which does is shown whole, over a blurred copy of itself: a guess would cut off as much as it shows. So is one
whose subject the cut-out, which goes no faster than is pleasant to see, would lose too often.
"""

from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from topclip.analysers.evidence import EVIDENCE_VERSION, Evidence
from topclip.model.framing import MOST_KEYFRAMES, Framing, Keyframe, Outlook
from topclip.model.source import VideoStream
from topclip.pipeline.path import BLIND, CLOSE, FULL, Flags, Floats, Ints, Way, best_way, gain_of, places, simplified

FRAMING_VERSION = f"evidence {EVIDENCE_VERSION}, framing 4"

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
LEAST_SHOWN = 0.75
"""Of the pictures that show a subject, so many must show it within the cut-out. Where the calm way keeps fewer it is
followed closely, if that keeps so many; a clip that keeps fewer is shown whole. Of footage with known places it is some 0.7
of the frames: what goes faster than any way may came to 0.45 to 0.71, what a way can follow to 0.83 and more."""
SURELY = 0.995
"""What is missed in fewer pictures than that leaves is not told."""
LEAPS = 0.4
"""Motion that is so many widths off in the next picture that shows any is that of another thing."""
TRAVELS = 0.2
"""What keeps within so many widths moves on the spot. Where that is not in the cut-out another thing moves than the one
held on to, which may well be there, at rest."""
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
SLACK = 1e-6
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

    def shows(self, face: Ints) -> Flags:
        """At which places the middle of a face lies within the cut-out."""
        middle = min(FULL, max(0, int(face[1 if self.is_across else 2]))) / FULL
        return np.asarray(np.abs(places(self.window) - middle) <= self.window / 2 + SLACK)


@dataclass(frozen=True)
class _Shot:
    """Pictures [first, last) of a shot, by what it is framed, and what every place gains.

    seen: pictures that show a subject, those in which it was not looked for in proportion. shows: bool, as gains, whether
    a subject lies within the cut-out there; no place where none was seen.
    """

    first: int
    last: int
    method: str | None
    seen: int
    gains: Ints
    shows: Flags

    def share_shown(self, way: Floats, window: float) -> float:
        """Share of the sightings whose subject lies within the cut-out, 0 to 1; 1 where there are none.

        way: middle of the cut-out for each picture of the shot, as shares of the picture's side.
        """
        sighted = self.shows.any(axis=1)
        at = np.rint((way - window / 2) / (1 - window) * (self.shows.shape[1] - 1)).astype(np.int64)
        held = self.shows[np.arange(len(at)), at.clip(0, self.shows.shape[1] - 1)]
        return float(held[sighted].mean()) if sighted.any() else 1.0


def frame_clip(video: VideoStream, outlook: Outlook, evidence: Evidence, window: tuple[float, float]) -> Framing:
    """The framing of one clip. window: shares of the upright picture's width and height that are cut out; one of them is 1."""
    axis = _Axis(window[0] < window[1], min(window))
    if not len(evidence.pts):
        return Framing(method="blur", reason="no picture of it could be decoded", evidence=0.0)
    times_s = np.array([_time_s(video, int(pts)) for pts in evidence.pts])
    shots = [_judged(evidence, axis, first, last) for first, last in _shots(evidence)]
    n = len(evidence.pts)
    share = round(sum(s.seen for s in shots) / n, 3)
    if sum(s.last - s.first for s in shots if s.method) < LEAST_SEEN * n:
        reason = f"no face, and no motion that keeps together, in {1 - share:.0%} of the pictures: shown whole"
        return Framing(method="blur", reason=reason, evidence=share)
    methods = {s.method for s in shots if s.method}
    starts_s = [_start_s(video, outlook, evidence, s.first) for s in shots]
    keyframes = _keyframes(shots, axis, times_s, starts_s)
    shown = _share_shown(shots, axis, _places_at(keyframes, axis, times_s))
    if shown < LEAST_SHOWN:
        reason = f"its subject, seen in {share:.0%} of the pictures, moves faster than the picture may follow"
        reason += f": a cut-out would miss it in {1 - shown:.0%} of these; shown whole"
        return Framing(method="blur", reason=reason, evidence=share)
    missed = f"; the subject is outside of the cut-out in {1 - shown:.0%} of those that show one"
    return Framing(
        method="mixed" if len(methods) > 1 else "faces" if "faces" in methods else "motion",
        reason=_reason(shots, n) + (missed if shown < SURELY else ""),
        evidence=share,
        keyframes=keyframes,
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
        gains, shows = _face_gains(evidence, axis, by_picture, (first, last))
        seen = round((last - first) * len(with_face) / len(looked))
        return _Shot(first, last, "faces", seen, gains, shows)
    gains, shows = _motion_gains(evidence, axis, (first, last))
    seen = int(np.count_nonzero(shows.any(axis=1)))
    if seen >= max(2, LEAST_MOTION * (last - first)):
        return _Shot(first, last, "motion", seen, gains, shows)
    return _Shot(first, last, None, seen, np.zeros_like(gains), np.zeros_like(shows))


def _face_gains(
    evidence: Evidence, axis: _Axis, by_picture: dict[int, Ints], span: tuple[int, int]
) -> tuple[Ints, Flags]:
    """What every place gains, and in which pictures it shows a face, whichever.

    A picture in which no face was looked for, or none found, gains what those near it do, by half as much.
    """
    first, last = span
    gains = np.zeros((last - first, len(places(axis.window))), np.int64)
    shows = np.zeros(gains.shape, np.bool_)
    known = [k - first for k, faces in by_picture.items() if len(faces)]
    for i in known:
        faces = by_picture[i + first]
        for face, weight in zip(faces, _weights(evidence, faces, i + first, span), strict=True):
            gains[i] += np.rint(FULL * weight * gain_of(*axis.place_of(face), axis.window)).astype(np.int64)
            shows[i] |= axis.shows(face)
    for i in sorted(set(range(last - first)) - set(known)):
        at = bisect(known, i)
        near = [j for j in known[max(0, at - 1) : at + 1] if abs(i - j) <= RECALL]
        if near:
            gains[i] = sum(gains[j] for j in near) // (2 * len(near))
    return gains, shows


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


def _motion_gains(evidence: Evidence, axis: _Axis, span: tuple[int, int]) -> tuple[Ints, Flags]:
    """What every place gains, and in which of the pictures with motion that keeps together it shows that."""
    first, last = span
    padded = np.pad(axis.motion(evidence)[first:last], ((1, 1), (0, 0)))
    moving = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    spots = (np.arange(moving.shape[1]) + 0.5) / moving.shape[1]
    within = np.abs(places(axis.window)[None, :] - spots[:, None]) <= axis.window / 2
    gathered = moving @ within.astype(np.int64)
    most = gathered.max(axis=1) / np.maximum(1, moving.sum(axis=1))
    together = np.rint(FULL * np.clip((most - axis.window) / max(1e-6, 1 - axis.window), 0, 1)).astype(np.int64)
    is_seen = (evidence.area[first:last] >= LEAST_AREA) & (together >= LEAST_TOGETHER)
    shown = np.array([np.rint(FULL * gain_of(spot, 0.0, axis.window)) for spot in spots]).astype(np.int64)
    around = axis.contrast(evidence)[first:last]
    parts = [weight * _shared(sums, shown) for weight, sums in ((100 - CONTRAST, moving), (CONTRAST, around))]
    gains = (parts[0] + parts[1]) * np.where(is_seen, together, 0)[:, None] // (100 * FULL)
    now = padded[1:-1]  # alone: in the sums over three pictures what is fast lies in all of its places
    found = now @ within.astype(np.int64)
    is_there = BLIND * found >= found.max(axis=1)[:, None]
    shows = is_there | ~_travels(_middles(now, within, spots), is_seen)[:, None]
    return _remembered(gains, is_seen), shows & is_seen[:, None]


def _middles(moving: Ints, within: Flags, spots: Floats) -> Floats:
    """Where in each picture the motion lies that one cut-out gathers most of, as shares of the picture's side."""
    best = within[:, (moving @ within.astype(np.int64)).argmax(axis=1)].T * moving
    return np.asarray(np.round((best * spots).sum(axis=1) / np.maximum(1, best.sum(axis=1)), 6))


def _travels(middles: Floats, is_seen: Flags) -> Flags:
    """The pictures that show motion of what goes elsewhere."""
    known = np.flatnonzero(is_seen)
    found = np.zeros(len(middles), np.bool_)
    for run in np.split(known, np.flatnonzero(np.abs(np.diff(middles[known])) >= LEAPS) + 1):
        found[run] = len(run) > 0 and np.ptp(middles[run]) >= TRAVELS
    return found


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
    ways = [_way(shot, times_s[shot.first : shot.last], axis.window) for shot in shots]
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


def _way(shot: _Shot, times_s: Floats, window: float) -> Way:
    """The calm one, unless that loses the subject and a close one does not: to run after it in vain would be no better."""
    calm = best_way(shot.gains, times_s, window)
    if shot.share_shown(calm.places, window) >= LEAST_SHOWN:
        return calm
    close = best_way(shot.gains, times_s, window, CLOSE)
    return close if shot.share_shown(close.places, window) >= LEAST_SHOWN else calm


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


def _places_at(keyframes: Sequence[Keyframe], axis: _Axis, times_s: Floats) -> Floats:
    """Middle of the cut-out at each time, as it is rendered."""
    at_s, at = np.array([(k.time_s, k.x if axis.is_across else k.y) for k in keyframes]).T
    before = np.maximum(0, np.searchsorted(at_s, times_s + SLACK, side="right") - 1)
    after = np.minimum(before + 1, len(at) - 1)
    after = np.where(np.array([k.cut for k in keyframes])[after], before, after)
    part = (times_s - at_s[before]) / np.maximum(SLACK, at_s[after] - at_s[before])
    return np.asarray(at[before] + (at[after] - at[before]) * part.clip(0, 1))


def _share_shown(shots: list[_Shot], axis: _Axis, way: Floats) -> float:
    """Of all pictures that show a subject: in how many of them it lies within the cut-out, 0 to 1."""
    mine = [s for s in shots if s.method]
    held = sum(s.seen * s.share_shown(way[s.first : s.last], axis.window) for s in mine)
    return round(held / max(1, sum(s.seen for s in mine)), 3)
