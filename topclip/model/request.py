"""What the client asked for. Option names are those of the command line with underscores."""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from topclip.model.base import JsonDict, Model
from topclip.model.framing import Keyframe


class Mode(StrEnum):
    """What a job makes: the best clips, given ranges, whole shots, what lies between silences, or only the plan."""

    HIGHLIGHTS = "highlights"
    RANGES = "ranges"
    SHOTS = "shots"
    SILENCE = "silence"
    PLAN = "plan"


class Aspect(StrEnum):
    """Shape of the clips, width to height."""

    VERTICAL = "9:16"
    SQUARE = "1:1"
    PORTRAIT = "4:5"
    WIDE = "16:9"
    SOURCE = "source"


class Fit(StrEnum):
    """How a picture of another shape is fitted into the clip's: cut, over a blurred copy, or between bars."""

    CROP = "crop"
    BLUR = "blur"
    PAD = "pad"


class Quality(StrEnum):
    """Encoding effort: draft is quickest, high is smallest for what it keeps."""

    DRAFT = "draft"
    STANDARD = "standard"
    HIGH = "high"


class Captions(StrEnum):
    """What becomes of the words: files beside the clips, or drawn into the pictures too. auto: files where there is text."""

    AUTO = "auto"
    OFF = "off"
    SIDE = "side"
    BURN = "burn"


class CaptionStyle(StrEnum):
    """How burned captions look: words lit as they are spoken, all alike, over a dark box, or large and few at a time."""

    SPOKEN = "spoken"
    PLAIN = "plain"
    BOX = "box"
    LARGE = "large"


class Weights(Model):
    """How much each signal counts in a highlight's score; they are normalised to a sum of one."""

    loudness: float = Field(0.4, ge=0, le=100, description="Momentary loudness.")
    surprise: float = Field(1.0, ge=0, le=100, description="Loudness above what is usual around it.")
    speech: float = Field(0.4, ge=0, le=100, description="Presence of speech.")
    crowd: float = Field(0.8, ge=0, le=100, description="Laughter, applause and cheers against voice.")
    onsets: float = Field(0.5, ge=0, le=100, description="How often something begins to sound.")
    motion: float = Field(1.3, ge=0, le=100, description="Change of the picture within shots.")
    cuts: float = Field(0.1, ge=0, le=100, description="Cuts a minute.")
    novelty: float = Field(1.0, ge=0, le=100, description="Unlikeness to the rest of the source.")
    words: float = Field(0.3, ge=0, le=100, description="Words a second, where a transcript tells.")
    questions: float = Field(0.3, ge=0, le=100, description="Questions asked nearby, where a transcript tells.")
    keywords: float = Field(2.0, ge=0, le=100, description="Keywords said nearby, where a transcript tells.")
    audience: float = Field(2.0, ge=0, le=100, description="The audience curve, where one was sent.")

    @model_validator(mode="after")
    def _some_weight(self) -> Self:
        if not any(getattr(self, name) for name in type(self).model_fields):
            raise ValueError("at least one weight must be above 0")
        return self


Keyword = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80)]
Range = Annotated[tuple[float, float], Field(description="[start_s, end_s]")]


ALL_PIECES = {"count": 50, "min_length": 1.0, "max_length": 3600.0}
"""What the modes of whole pieces take where nothing else is said: as much as may be."""
OF_MODE = ("count", "min_length", "max_length", "ranges")
"""Options whose meaning depends on the mode: with another mode they begin anew."""
OF_RENDERING = ("aspect", "fit", "loudness", "quality", "captions", "caption_style", "callback_url")
"""Options that choose nothing: where only these change, a clip that a person has set stays as it was set."""


class ClipOptions(Model):
    """The options of a job."""

    mode: Mode = Mode.HIGHLIGHTS
    count: int = Field(5, ge=1, le=50, description="Clips wanted at most; modes `shots` and `silence`: 50 by default.")
    min_length: float = Field(
        15.0, ge=1, le=600, description="Shortest clip, seconds; modes `shots` and `silence`: 1 by default."
    )
    max_length: float = Field(
        60.0, ge=1, le=3600, description="Longest clip, seconds; modes `shots` and `silence`: 3600 by default."
    )
    aspect: Aspect = Aspect.SOURCE
    fit: Fit = Fit.CROP
    loudness: float = Field(-14.0, ge=-40, le=-5, description="Integrated loudness of a clip, LUFS.")
    quality: Quality = Quality.STANDARD
    captions: Captions = Field(
        Captions.AUTO,
        description="auto: SRT and VTT files beside the clips where there is text; side: the same, and an error where there "
        "is none; burn: drawn into the pictures too; off: none.",
    )
    caption_style: CaptionStyle = Field(CaptionStyle.SPOKEN, description="How burned captions look.")
    transcribe: bool = Field(
        False,
        description="Have speech recognised where neither a subtitle file nor a track of the source has the text.",
    )
    weights: Weights = Weights()
    keywords: tuple[Keyword, ...] = Field(
        (),
        max_length=50,
        description="Words or phrases to look for in what is said; they count by the weight `keywords`.",
    )
    ranges: tuple[Range, ...] = Field((), max_length=50, description="Mode `ranges`: the clips' ranges in seconds.")
    callback_url: str | None = Field(
        None, min_length=1, max_length=2048, description="http(s) URL that is told, signed, how the job ended."
    )

    def to_dict(self) -> JsonDict:
        """The options that decide what is made. Who is told of it is not among them, and may be a secret."""
        return self.model_dump(mode="json", exclude={"callback_url"})

    @model_validator(mode="after")
    def _defaults_of_mode(self) -> Self:
        if self.mode in (Mode.SHOTS, Mode.SILENCE):
            for name in ALL_PIECES.keys() - self.model_fields_set:
                object.__setattr__(self, name, ALL_PIECES[name])  # frozen for everybody else
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.max_length < self.min_length:
            raise ValueError(f"max_length {self.max_length:g} is below min_length {self.min_length:g}")
        if (self.mode is Mode.RANGES) != bool(self.ranges):
            raise ValueError("ranges are needed with mode 'ranges', and only there")
        if any(not 0 <= start < end for start, end in self.ranges):
            raise ValueError("each of ranges is [start_s, end_s] with 0 <= start_s < end_s")
        return self


class Upload(Model):
    """A source that was uploaded: it lies in the store."""

    kind: Literal["upload"] = "upload"
    key: str = Field(description="Key in the artifact store.")
    name: str = Field(description="File name as the client gave it, for people only.")


class MediaPath(Model):
    """A source inside the media root, read where it lies."""

    kind: Literal["path"] = "path"
    path: str = Field(description="Absolute path of the file.")
    name: str


class UrlSource(Model):
    """A source that lies on another server; a worker fetches it into the store."""

    kind: Literal["url"] = "url"
    url: str = Field(description="http or https; its query may hold a signature, so that it is shown nowhere.")
    key: str = Field(description="Key in the artifact store, once it is fetched.")
    name: str = Field(description="Last part of the URL's path, for people only.")


SourceRef = Annotated[Upload | MediaPath | UrlSource, Field(discriminator="kind")]


AttachedRef = Annotated[Upload | MediaPath, Field(discriminator="kind")]
"""A file that came with a source."""


class Edit(Model):
    """A clip that a person has set: clip n of the plan is [start_s, end_s) of the source, cut out along the keyframes.

    No times: its range is that of the plan. No keyframes: its subject is looked for.
    """

    n: int = Field(ge=1)
    start_s: float | None = Field(None, ge=0)
    end_s: float | None = Field(None, gt=0)
    keyframes: tuple[Keyframe, ...] = ()


class Edits(Model):
    """Clips of a plan that a person has set anew; the others stay as that plan has them, whatever would be chosen now."""

    plan: str = Field(description="Key of the plan in the artifact store.")
    clips: tuple[Edit, ...] = Field(min_length=1)


class Change(Model):
    """What a job's client asks for from now on, in place of what it asked for before."""

    options: ClipOptions
    edits: Edits | None = None


class ClipRequest(Model):
    """One client submission, with what was changed since.

    subtitles: a file of text and times that came with it. audience: one of an audience curve.
    """

    source: SourceRef
    options: ClipOptions = ClipOptions()
    subtitles: AttachedRef | None = None
    audience: AttachedRef | None = None
    edits: Edits | None = None

    def changed(self, change: Change) -> Self:
        """The request after a change."""
        return self.model_copy(update={"options": change.options, "edits": change.edits})
