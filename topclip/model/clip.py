"""Highlights chosen, clips to be made, and clips made."""

from typing import Any, Literal

from pydantic import Field

from topclip.model.base import JsonDict, Model, says_nothing
from topclip.model.framing import Framing, Keyframe
from topclip.model.request import Aspect, CaptionStyle, Fit, Quality, Range


class SignalPart(Model):
    """One signal's share in a highlight's score: contribution = weight * percentile."""

    name: str
    value: float | None = Field(description="Mean of the signal over the range, in its own unit.")
    percentile: float = Field(ge=0, le=1, description="Mean percentile within the source, 0-1.")
    weight: float = Field(ge=0, le=1)
    contribution: float


class Highlight(Model):
    """A scored range [start_s, end_s) of the source, exact to the frame."""

    n: int
    start_s: float
    end_s: float
    score: float
    signals: tuple[SignalPart, ...]
    start_pts: int
    end_pts: int = Field(
        description="pts of the first frame after the range, or within the time of one that lasts long."
    )
    frames: int
    held_pts: int | None = Field(
        None,
        exclude_if=says_nothing,
        description="pts of the frame that the range begins with, where that is shown since long before.",
    )
    start_edge: str = Field(
        description="What the start was snapped to: cut, quiet, source, sentence, word, none or asked."
    )
    end_edge: str
    asked_s: Range | None = Field(
        None, description="The range that was asked for, where the source's frames allow only one that lies elsewhere."
    )
    framing: Framing | None = Field(
        None,
        description="How a clip of another shape shows the source, with fit `crop`; null where nothing is cut away.",
    )


class NearMiss(Model):
    """A scored range that was not chosen, and why."""

    n: int
    start_s: float
    end_s: float
    score: float
    signals: tuple[SignalPart, ...]
    reason: str = Field(
        description="overlap (with a highlight), close (to one), similar (to one, which costs it), or lower score; of whole "
        "shots and stretches also too short, too long."
    )
    to: int | None = Field(None, description="Number of the highlight that it overlaps, is close or similar to.")


class Plan(Model):
    """What was chosen and why: same signals and options, same plan, byte for byte."""

    source: JsonDict = Field(description="Facts of the source that the plan rests on: sha256, duration_s, name.")
    options: JsonDict
    version: str = Field(description="Version of analysis and selection.")
    is_first: bool = Field(False, description="Whether it was made by a first look; the full plan may choose others.")
    highlights: tuple[Highlight, ...]
    near_misses: tuple[NearMiss, ...]


class Shares(Model):
    """How much of a range of the source may look black, stand still and be silent."""

    black: float = Field(ge=0, le=1)
    frozen: float = Field(ge=0, le=1)
    silent: float = Field(ge=0, le=1)


class CaptionSpec(Model):
    """What becomes of the words in a clip. style: of those that are drawn into the pictures, None: they are not."""

    transcript: str = Field(description="Key of the transcript in the store, named by its content.")
    style: CaptionStyle | None = None


class ClipSpec(Model):
    """A clip to be made; all that determines its bytes, and what they are checked by."""

    n: int
    start_s: float
    end_s: float
    start_pts: int
    end_pts: int
    held_pts: int | None = Field(None, exclude_if=says_nothing, description="As of Highlight.")
    frames: int
    true_leaps: tuple[int, ...] = Field(
        (),
        description="pts of frames that come long after the one before and are no damage; only where damage is likely.",
    )
    aspect: Aspect
    fit: Fit
    keyframes: tuple[Keyframe, ...] = Field((), description="Where the picture is cut out; none: of the middle.")
    is_whole: bool = Field(
        False,
        description="With fit `crop`: whether all of the picture is shown, over a blurred copy of it, in a clip as large as "
        "those that are cut out.",
    )
    quality: Quality
    loudness: float = Field(description="Target, LUFS.")
    source_loudness: float | None = Field(
        description="Measured integrated loudness of the range, LUFS; null if silent."
    )
    shares: Shares | None = Field(None, description="Of the range; null where it was not analysed.")
    captions: CaptionSpec | None = None
    warnings: tuple[str, ...] = Field((), description="What a person should know of the range.")

    @property
    def first_pts(self) -> int:
        """pts of the first frame."""
        return self.start_pts if self.held_pts is None else self.held_pts


class Check(Model):
    """One check of a rendered clip."""

    name: str
    ok: bool
    found: Any = None
    wanted: Any = None


class ClipCaptions(Model):
    """The captions of a clip. srt and vtt: their files, in the clip's own time."""

    srt: str
    vtt: str
    cues: int
    burned: bool = Field(description="Whether they are drawn into the pictures.")
    origin: str = Field(description="Where the words came from: subtitles (a given file), embedded, transcriber.")


class RenderedClip(Model):
    """A clip that was made and passed its checks."""

    outcome: Literal["ok"] = "ok"
    n: int
    start_s: float
    end_s: float
    key: str
    thumbnail_key: str
    frames: int
    width: int
    height: int
    duration_s: float
    size_bytes: int
    sha256: str
    checks: tuple[Check, ...]
    method: Literal["smart", "encode"] = Field(
        "encode", description="Whether frames of the source were copied as they are, or all of them encoded."
    )
    copied: int = Field(0, description="Frames that are the source's own to the bit.")
    note: str | None = Field(None, description="Why nothing was copied of a clip of the source's shape.")
    captions: ClipCaptions | None = Field(None, description="Null where none are wanted, or there is no text.")
    warnings: tuple[str, ...] = Field((), description="What a person should know, such as signs that no font has.")


class FailedClip(Model):
    """A clip that could not be made, as a value: a failing header task would take its whole chord down."""

    outcome: Literal["failed"] = "failed"
    n: int
    start_s: float
    end_s: float
    code: str
    message: str
    hint: str | None = None


RenderResult = RenderedClip | FailedClip
