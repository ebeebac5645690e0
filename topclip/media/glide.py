"""Where ffmpeg's crop stands in each frame, as an expression of the frame's time. Pure."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from topclip.model.framing import Keyframe

SLACK_S = 1e-5
"""Keyframes' times are rounded; frames are farther apart than this."""


def crop_place(keyframes: Sequence[Keyframe], start_s: float) -> str:
    """The options x and y of a crop whose middle follows the keyframes; nothing if there are none: it stands in the middle.

    The filter itself keeps it within the picture and, where colours are stored for two points, on even ones.
    start_s: the time of the frame that has t = 0.
    """
    if not keyframes:
        return ""
    x, y = (_along(keyframes, start_s, axis) for axis in (lambda k: k.x, lambda k: k.y))
    return f":x='iw*({x})-ow/2':y='ih*({y})-oh/2'"


def _along(keyframes: Sequence[Keyframe], start_s: float, axis: Callable[[Keyframe], float]) -> str:
    """One coordinate over t. Before the first keyframe it is the first one's, behind the last one the last one's."""
    pieces = [(float("-inf"), f"{axis(keyframes[0]):.5f}")]
    for a, b in pairwise(keyframes):
        since_s = a.time_s - start_s
        slope = 0.0 if b.cut or b.time_s <= a.time_s else (axis(b) - axis(a)) / (b.time_s - a.time_s)
        line = f"{axis(a):.5f}" + (f"{slope:+.6f}*(t{-since_s:+.6f})" if slope else "")
        pieces.append((since_s, line))
    pieces.append((keyframes[-1].time_s - start_s, f"{axis(keyframes[-1]):.5f}"))
    return _tree(_merged(pieces))


def _merged(pieces: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """Without pieces that go on like the one before."""
    return [piece for i, piece in enumerate(pieces) if not i or piece[1] != pieces[i - 1][1]]


def _tree(pieces: Sequence[tuple[float, str]]) -> str:
    """The line that holds at t, found by halving: each piece holds from its time on."""
    if len(pieces) == 1:
        return pieces[0][1]
    middle = len(pieces) // 2
    at_s = pieces[middle][0] - SLACK_S
    return f"if(lt(t,{at_s:.6f}),{_tree(pieces[:middle])},{_tree(pieces[middle:])})"
