"""The ffmpeg command for what a splice does not copy: the pictures before and behind the copied ones, and the sound.

Pure: builds arguments, runs nothing. One run makes all three, each from an input of its own that begins near it, so that
nothing of the copied pictures is decoded.
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from topclip.media.encode import AUDIO_BITRATE, AUDIO_RATE_HZ, Attempt, Level, audio_filter, clip_allowance
from topclip.media.guard import file_url, input_args
from topclip.media.limits import Allowance
from topclip.media.prospect import Prospect
from topclip.media.splice import Splice
from topclip.media.timeline import leap_test, timeline_filter
from topclip.model.clip import ClipSpec
from topclip.model.source import SourceInfo

ENDS_THREADS = 2
"""Fixed, since x264 makes other bytes with other numbers of threads, and a clip is the same wherever it is made."""
ENDS_PRESET, ENDS_CRF = "ultrafast", "16"
"""A second or two between pictures of the source's own quality: bytes matter little, the difference must not be seen."""
TOOLS = {"baseline": "", "main": ":cabac=1", "high": ":8x8dct=1"}
"""What tells a profile from the one below it: x264 writes the lowest that fits, which here would not be the source's."""


@dataclass(frozen=True)
class Ends:
    """Files that one run makes; None where there is nothing to be made."""

    head: Path | None
    tail: Path | None
    sound: Path | None

    @classmethod
    def beside(cls, path: Path, info: SourceInfo, splice: Splice) -> "Ends":
        """Names next to a clip's own."""
        return cls(
            head=path.with_suffix(".head.mp4") if splice.n_head else None,
            tail=path.with_suffix(".tail.mp4") if splice.n_tail else None,
            sound=path.with_suffix(".sound.mp4") if info.audio is not None else None,
        )

    @property
    def paths(self) -> list[Path]:
        """All of them."""
        return [path for path in (self.head, self.tail, self.sound) if path is not None]


def ends_args(prospect: Prospect, spec: ClipSpec, ends: Ends, level: Level, max_pixels: int) -> list[str]:
    """Arguments of ffmpeg that make the ends' pictures and the clip's sound. max_pixels: largest picture that is allowed."""
    info, splice, leads = prospect.info, prospect.splice, prospect.leads
    inputs: list[str] = []
    outputs: list[str] = []
    n_inputs = 0
    for path, start_pts, end_pts, lead_s in (
        (ends.head, spec.start_pts, splice.head_end_pts, leads.head_s),
        (ends.tail, splice.tail_pts, splice.end_pts, leads.tail_s),
    ):
        if path is not None:
            inputs += _input(prospect, start_pts, lead_s, max_pixels)
            pictures = _pictures(info, spec, start_pts, end_pts, is_from_start=lead_s is None)
            outputs += ["-map", f"{n_inputs}:{info.video.index}", "-vf", pictures, *_x264(info, splice), *_mp4(path)]
            n_inputs += 1
    if ends.sound is not None and info.audio is not None:
        inputs += _input(prospect, spec.start_pts, leads.range_s, max_pixels)
        outputs += ["-map", f"{n_inputs}:{info.audio.index}", "-af", audio_filter(info, spec, level)]
        outputs += ["-c:a", "aac", "-b:a", AUDIO_BITRATE, "-ar", str(AUDIO_RATE_HZ), "-ac", "2", *_mp4(ends.sound)]
    return ["-copyts", *inputs, *outputs]


def ends_allowance(prospect: Prospect, spec: ClipSpec, memory_bytes: int | None) -> Allowance:
    """What that run may use: no more than making the whole clip may."""
    all_s = (prospect.leads.head_s, prospect.leads.tail_s, prospect.leads.range_s)
    lead_s = None if None in all_s else max(s for s in all_s if s is not None)
    return clip_allowance(prospect.info, spec, Attempt(Level(0.0), lead_s), memory_bytes)


def _input(prospect: Prospect, start_pts: int, lead_s: float | None, max_pixels: int) -> list[str]:
    seek: list[str] = []
    entry = prospect.entry_pts(start_pts, lead_s)
    if entry is not None:
        at_s = float(
            (entry + Fraction(1, 2)) * prospect.info.video.tick
        )  # half a tick, so that rounding does not miss it
        seek = ["-seek_timestamp", "1", "-noaccurate_seek", "-ss", f"{at_s:.6f}"]
    return [*seek, *input_args(prospect.source, max_pixels)]


def _pictures(info: SourceInfo, spec: ClipSpec, start_pts: int, end_pts: int, *, is_from_start: bool) -> str:
    """Choose the pictures of [start_pts, end_pts) and start them at 0."""
    leaps = leap_test(info, spec.model_copy(update={"start_pts": start_pts}), is_from_start=is_from_start)
    chain = [f"settb={info.video.time_base}", timeline_filter(info.video, leaps)]
    chain += [f"trim=start_pts={start_pts}:end_pts={end_pts}", f"setpts=PTS-{start_pts}", "format=yuv420p"]
    return ",".join([*chain, f"settb={info.video.time_base}"])


def _x264(info: SourceInfo, splice: Splice) -> list[str]:
    """One group of pictures without B-frames, whose parameter sets have an id of their own."""
    return [
        *("-fps_mode", "passthrough", "-enc_time_base:v", info.video.time_base.replace("/", ":")),
        *("-c:v", "libx264", "-preset", ENDS_PRESET, "-crf", ENDS_CRF, "-profile:v", splice.profile, "-bf", "0"),
        *("-x264-params", f"sps-id={splice.free_id}:keyint=infinite:scenecut=0{TOOLS[splice.profile]}"),
        *("-flags:v", "+bitexact", "-threads", str(ENDS_THREADS)),
    ]


def _mp4(path: Path) -> list[str]:
    return [
        "-sn",
        "-dn",
        "-map_metadata",
        "-1",
        "-map_chapters",
        "-1",
        "-fflags",
        "+bitexact",
        "-f",
        "mp4",
        file_url(path),
    ]
