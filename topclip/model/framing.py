"""How a clip of another shape than its source's shows it: where its picture is cut from, over time, and why there."""

from collections.abc import Sequence
from math import inf
from typing import Literal

from pydantic import Field

from topclip.model.base import Model, says_nothing


class Outlook(Model):
    """A clip's range in which stage reframe looks for a subject.

    cut_pts: pts of the first frames of new shots in it. held_pts, true_leaps: as of ClipSpec.
    """

    n: int
    start_s: float
    end_s: float
    start_pts: int
    end_pts: int
    held_pts: int | None = Field(None, exclude_if=says_nothing)
    cut_pts: tuple[int, ...] = ()
    true_leaps: tuple[int, ...] = ()

    @property
    def first_pts(self) -> int:
        """pts of the first frame."""
        return self.start_pts if self.held_pts is None else self.held_pts


MOST_KEYFRAMES = 300
"""Of one clip: ffmpeg is told of them in one expression."""


ROUNDED = 1e-3
"""What a plan's times and places are rounded off by at most, in seconds and shares."""


class Keyframe(Model):
    """Where the middle of the cut-out lies at one time; between two of them it goes in a straight line."""

    time_s: float = Field(description="Seconds from the source's first frame.")
    x: float = Field(ge=0, le=1, description="Share of the upright picture's width.")
    y: float = Field(ge=0, le=1, description="Share of its height.")
    cut: bool = Field(
        False, description="Whether it jumps here, instead of having gone here since the keyframe before."
    )


def framing_fault(
    keyframes: Sequence[Keyframe], span_s: tuple[float, float], window: tuple[float, float]
) -> tuple[int, str, str] | None:
    """What of keyframes cannot be: which of them, from 0, which field of it, and why; None if all can be.

    span_s: of the clip. window: shares of the picture's width and height that are cut out.
    """
    last_s = -inf
    for n, now in enumerate(keyframes):
        if not span_s[0] - ROUNDED <= now.time_s <= span_s[1] + ROUNDED:
            return n, "time_s", f"time_s {now.time_s:g} is not within the clip: {span_s[0]:g} to {span_s[1]:g} s"
        if now.time_s <= last_s:
            return n, "time_s", f"time_s {now.time_s:g} is not after that of the keyframe before, {last_s:g}"
        for name, at, share in (("x", now.x, window[0]), ("y", now.y, window[1])):
            if abs(at - 0.5) > (1 - share) / 2 + ROUNDED:
                least = f"{share / 2:.4f} to {1 - share / 2:.4f}" if share < 1 else "0.5"
                return n, name, f"{name} {at:g} leads out of the picture: the cut-out's middle may lie at {least}"
        last_s = now.time_s
    return None


class Framing(Model):
    """The framing of one highlight.

    method: by what it was found, `mixed`: by faces in some shots and motion in others; `blur`: no subject was found, or none
    that the cut-out can keep up with, and the whole picture is shown over a blurred copy of itself; `asked`: a person has
    set it.
    """

    method: Literal["faces", "motion", "mixed", "blur", "asked"]
    reason: str
    evidence: float = Field(ge=0, le=1, description="Share of the pictures looked at that show a subject.")
    keyframes: tuple[Keyframe, ...] = Field((), description="In order of time; none with `blur`.")


class Sighting(Model):
    """The outcome of looking for a clip's subject: where the evidence lies."""

    outcome: Literal["ok"] = "ok"
    n: int
    key: str


class Unseen(Model):
    """A clip whose subject could not be looked for, and why. It is shown whole."""

    outcome: Literal["failed"] = "failed"
    n: int
    message: str
