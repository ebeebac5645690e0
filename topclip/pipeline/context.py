"""What a stage is given beside its values."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from topclip.storage.base import ArtifactStore

Report = Callable[[float, float], None]
"""report(done_s, total_s): called often (each frame or progress line is fine, it limits itself); raises JobStopped when
the job was cancelled or superseded, upon which the stage stops its ffmpeg, removes what is half-made, and lets it pass."""


def no_report(done_s: float, total_s: float) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class StageContext:
    """Surroundings of one run of a stage."""

    job_id: str
    store: ArtifactStore
    ffmpeg: str
    max_duration_s: float
    max_pixels: int
    memory_bytes: int | None = None
    """What one ffmpeg may allocate; the process that decodes has the same limit from where it was started."""
    threads: int = 1
    fonts: Path | None = None
    """Where else to look for fonts of captions."""
    whisper_model: str = ""
    whisper_download: bool = False
    report: Report = no_report


def clip_threads(place: int, of: int, *, cores: int, slots: int) -> int:
    """Threads for one of several clips, by its place among them alone, so that nobody need be asked what else goes on.

    place: from 0. cores: of the machine. slots: clips that it makes at once. Where there are enough clips for all slots, the
    cores are shared out among these; the last ones, too few for that, share them among themselves. Several encoders of one
    thread each do more than one encoder of several.
    """
    slots = max(1, min(slots, cores))
    rest = of % slots
    return max(1, cores // (slots if place < of - rest else rest))
