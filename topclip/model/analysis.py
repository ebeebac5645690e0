"""What analysis yields: chunks of work, and whole-source signals and shots."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from topclip.model.base import Model
from topclip.model.transcript import Word

FloatArray = NDArray[np.float32]
PtsArray = NDArray[np.int64]
StepArray = NDArray[np.int16]


class Chunk(Model):
    """A range [start_s, end_s) of the source given to one analyse task. The grid depends on the source alone.

    start_pts, end_pts: the same in pts; None: open to that side.
    """

    index: int
    start_s: float
    end_s: float
    start_pts: int | None = None
    end_pts: int | None = None
    is_at_key: bool = Field(False, description="Whether it begins at a key frame that decodes by itself.")

    @property
    def duration_s(self) -> float:
        """Seconds of media in the chunk."""
        return self.end_s - self.start_s


class Shot(Model):
    """Frames [start_frame, end_frame) between two cuts; times count from the source's first frame."""

    start_frame: int
    end_frame: int
    start_s: float
    end_s: float


class Cut(Model):
    """A shot boundary: the first frame of the new shot."""

    frame: int
    time_s: float


@dataclass(frozen=True)
class Signal:
    """One analyser's values over a whole source.

    values: float32, shape (n,); value k covers [k * hop_s, (k + 1) * hop_s) seconds. Not a number where unknown.
    """

    name: str
    hop_s: float
    values: FloatArray


class ChunkResult(Model):
    """The outcome of analysing one chunk: where its artifact lies."""

    index: int
    key: str
    n_frames: int = Field(description="Video frames owned by the chunk.")


@dataclass(frozen=True)
class Analysis:
    """All that is known of a source before choosing.

    frame_pts: int64, shape (n,), strictly rising, one for each frame. end_pts: where the last frame's time ends.
    level_db: RMS level, dBFS, at LEVEL_HOP_S; empty without audio. loudness_lufs: momentary, at its signal's hop; empty
    without audio. signals: by name, those that the source has. fingerprints: whole numbers, (n, k), one row a second: what it
    looks and sounds like; empty where nothing is to be compared. grids: uint8, (n, parts), mean greys of each frame's parts.
    changes: mean absolute difference of grey to the frame before, 0-255, (n,); not a number where there is none.
    words: what is said, sorted; empty if nobody knows.
    """

    frame_pts: PtsArray
    end_pts: int
    level_db: FloatArray
    loudness_lufs: FloatArray
    signals: tuple[Signal, ...]
    shots: tuple[Shot, ...]
    fingerprints: StepArray = field(default_factory=lambda: np.empty((0, 0), np.int16))
    grids: NDArray[np.uint8] = field(default_factory=lambda: np.empty((0, 1), np.uint8))
    changes: FloatArray = field(default_factory=lambda: np.empty(0, np.float32))
    words: tuple[Word, ...] = ()
