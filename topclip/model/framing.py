"""How a clip of another shape than its source's shows it: where its picture is cut from, over time, and why there."""

from typing import Literal

from pydantic import Field

from topclip.model.base import Model


class Outlook(Model):
    """A clip's range in which stage reframe looks for a subject.

    cut_pts: pts of the first frames of new shots in it. true_leaps: as of ClipSpec.
    """

    n: int
    start_s: float
    end_s: float
    start_pts: int
    end_pts: int
    cut_pts: tuple[int, ...] = ()
    true_leaps: tuple[int, ...] = ()


class Keyframe(Model):
    """Where the middle of the cut-out lies at one time; between two of them it goes in a straight line."""

    time_s: float = Field(description="Seconds from the source's first frame.")
    x: float = Field(ge=0, le=1, description="Share of the upright picture's width.")
    y: float = Field(ge=0, le=1, description="Share of its height.")
    cut: bool = Field(
        False, description="Whether it jumps here, instead of having gone here since the keyframe before."
    )


class Framing(Model):
    """The framing of one highlight.

    method: by what it was found, `mixed`: by faces in some shots and motion in others; `blur`: no subject was found, and the
    whole picture is shown over a blurred copy of itself.
    """

    method: Literal["faces", "motion", "mixed", "blur"]
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
