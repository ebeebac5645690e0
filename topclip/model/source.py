"""What probe found in a source."""

from fractions import Fraction

from pydantic import Field

from topclip.model.base import Model

SLOW_S = 0.1
"""Longest time of a frame whose own duration does not matter."""
HOLD_S = 1.0
"""Within the time of a frame that lasts longer, such as a slide, a clip may begin or end."""


class Colour(Model):
    """How a picture's values are to be read, in FFmpeg's names; guessed where the source does not say."""

    matrix: str = "bt709"
    primaries: str = "bt709"
    transfer: str = "bt709"
    full_range: bool = Field(False, description="Whether values take all of their range, not that of television.")
    is_rgb: bool = Field(False, description="Whether values are red, green and blue: then there is no matrix.")


class VideoStream(Model):
    """The video stream that clips are made of."""

    index: int = Field(description="Index in the container.")
    codec: str
    width: int = Field(description="Coded width in pixels, before rotation and pixel aspect.")
    height: int
    rotation: int = Field(0, description="Degrees clockwise that a player turns the picture: 0, 90, 180, 270.")
    sample_aspect: str = Field("1/1", description="Shape of a pixel, width to height, as a fraction.")
    display_width: int = Field(description="Width as shown: after rotation and pixel aspect.")
    display_height: int
    fps: str = Field(description="Average frame rate as a fraction, such as 30000/1001.")
    time_base: str = Field(description="Unit of pts as a fraction of a second.")
    start_pts: int = Field(description="pts of the first frame; times in a source count from it.")
    dts_lag: int | None = Field(
        None,
        description="Set where a container has no pts: how far a frame's dts, as the decoder tells it, lies behind its time.",
    )
    is_bare: bool = Field(
        False,
        description="Whether the container is a bare stream without any times: frames are told by their number.",
    )
    pixel_format: str
    bit_depth: int = 8
    interlaced: bool = Field(False, description="Whether the stream or its first frame is flagged as two fields.")
    colour: Colour = Colour()

    @property
    def rate(self) -> Fraction:
        """Average frame rate."""
        return Fraction(self.fps)

    @property
    def tick(self) -> Fraction:
        """Seconds of one pts unit."""
        return Fraction(self.time_base)


class AudioStream(Model):
    """The audio stream that clips are made of."""

    index: int
    codec: str
    sample_rate_hz: int
    channels: int


class SourceInfo(Model):
    """A source as probe found it. `sha256` names its content: analysis is cached under it."""

    sha256: str
    size_bytes: int
    container: str
    duration_s: float = Field(description="Seconds of picture from the first frame.")
    video: VideoStream
    audio: AudioStream | None
    n_streams: int
    chunk_pts: tuple[int, ...] = Field(
        (), description="pts of the key frames that chunks but the first begin at; none: chunks are of equal time."
    )
    timecode: str | None = Field(
        None, description="Timecode of the first frame where the container has one, such as 01:00:00;00."
    )
    base_fps: str | None = Field(
        None,
        description="Rate whose frames all frames fall on, as far as the container tells; above `fps` where that varies.",
    )
    lead_s: float = Field(
        0.0,
        description="Seconds of the file before its first frame: players count them, times here do not.",
    )
    name: str = Field("", description="File name for people.")

    @property
    def end_pts(self) -> int:
        """Where the picture ends by its packets."""
        return self.video.start_pts + round(self.duration_s / float(self.video.tick))

    @property
    def slack_s(self) -> float:
        """How far an end may be off: a frame's time, by the rate."""
        return min(float(1 / self.video.rate), SLOW_S)

    def last_ticks(self, pts: int, usual: int) -> int:
        """How long the last frame, at `pts`, is shown, in pts units: as long as others are, their `usual`; where that is long,
        as long as its packet says at most.
        """
        told = self.end_pts - pts
        return min(usual, told) if usual * self.video.tick > SLOW_S and told > 0 else usual

    def holds(self, pts: int, next_pts: int) -> bool:
        """Whether a frame is shown for so long that a clip may begin or end within its time."""
        return (next_pts - pts) * self.video.tick > HOLD_S
