"""A few small pictures a second of one range of a source, by ffmpeg: upright, with the times that the render gives them."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from topclip.errors import DecodeError
from topclip.media.colour import clip_filter, reading_filter, scale_filter
from topclip.media.encode import chosen_frames
from topclip.media.ffmpeg import run_ffmpeg
from topclip.media.guard import file_url, input_args
from topclip.media.limits import Allowance, work_s
from topclip.media.opening import MJPEG_FORMAT, open_media
from topclip.media.seek import seek_lead_s
from topclip.model.framing import Outlook
from topclip.model.geometry import Size
from topclip.model.source import SourceInfo

SAMPLES_PER_S = 4.0
MOST_SAMPLES = 2400
"""Of one clip; a longer one is looked at less often."""
SLACK_BYTES = 16 << 20


class Sample(NamedTuple):
    """A picture: its pts in the source, its luma (uint8, (height, width)), and itself as RGB (uint8, (height, width, 3))."""

    pts: int
    luma: NDArray[np.uint8]
    rgb: Callable[[], NDArray[np.uint8]]


class Sampling(NamedTuple):
    """How a range is looked at. size: width and height of the pictures in pixels; both are even."""

    source: Path
    info: SourceInfo
    outlook: Outlook
    size: tuple[int, int]
    ffmpeg: str
    max_pixels: int
    memory_bytes: int | None
    threads: int


def sample_file(sampling: Sampling, out: Path, on_progress: Callable[[float], None]) -> None:
    """Write the pictures of a range into a file: the first one, and the first in each new quarter of a second.

    on_progress(done_s): may raise to stop. Raises: MediaError, StorageError.
    """
    info, outlook = sampling.info, sampling.outlook
    lead_s = seek_lead_s(sampling.source, info, outlook.first_pts, sampling.max_pixels)
    before_s = outlook.start_s if lead_s is None else lead_s
    length_s = outlook.end_s - outlook.start_s
    n_frames = (before_s + length_s) * float(info.video.rate)
    n_bytes = round(length_s * _rate(outlook) + 2) * sampling.size[0] * sampling.size[1] * 2
    allowance = Allowance(
        sampling.memory_bytes,
        SLACK_BYTES + n_bytes,
        work_s(before_s + length_s, n_frames * info.video.width * info.video.height),
    )
    # Pictures that no other rests on are passed over, unless the range has none but these; nor where frames are told by number.
    may_skip = outlook.held_pts is None and not (info.video.is_bare or info.video.dts_lag is not None)
    for is_quick in (True, False) if may_skip else (False,):
        args = _args(sampling, lead_s, out, is_quick=is_quick)
        run_ffmpeg(sampling.ffmpeg, args, on_progress, allowance=allowance)
        if out.stat().st_size > sampling.size[0] * sampling.size[1]:  # a picture has more, a header alone less
            return
    raise DecodeError("no picture of this range could be decoded")


def read_samples(outlook: Outlook, tick: Fraction, path: Path) -> Iterator[Sample]:
    """The pictures of such a file. tick: seconds of one pts unit of the source. Raises: ProbeError if it is damaged."""
    with open_media(path) as container:
        frame: Any  # ours, so that it has a time
        for frame in container.decode(video=0):
            pts = outlook.start_pts + round(frame.pts * Fraction(frame.time_base) / tick)
            yield Sample(pts, _luma(frame), partial(frame.to_ndarray, format="rgb24"))


def _luma(frame: Any) -> NDArray[np.uint8]:
    plane = frame.planes[0]
    return np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]


def _rate(outlook: Outlook) -> float:
    return min(SAMPLES_PER_S, MOST_SAMPLES / (outlook.end_s - outlook.start_s))


def _args(sampling: Sampling, lead_s: float | None, out: Path, *, is_quick: bool) -> list[str]:
    info, outlook, video = sampling.info, sampling.outlook, sampling.info.video
    args = ["-skip_loop_filter", "all", "-threads", str(sampling.threads)]
    if is_quick:
        args += ["-skip_frame", "noref"]
    if lead_s is not None:
        at_s = float(outlook.first_pts * video.tick) - lead_s
        args += ["-seek_timestamp", "1", "-noaccurate_seek", "-ss", f"{at_s:.6f}"]
    args += ["-copyts", *(("-f", MJPEG_FORMAT) if info.container == MJPEG_FORMAT else ())]
    args += input_args(sampling.source, sampling.max_pixels)
    slot = f"floor({{}}*{_rate(outlook):.6f}+0.0001)"
    chain = [
        *chosen_frames(info, outlook, is_from_start=lead_s is None),
        f"select='isnan(prev_selected_t)+gt({slot.format('t')},{slot.format('prev_selected_t')})'",
        *reading_filter(video),
        scale_filter(video, Size(*sampling.size)),
        f"setsar=1,{clip_filter(video)}",
        f"settb={video.time_base}",
    ]
    args += ["-map", f"0:{video.index}", "-vf", ",".join(chain), "-an", "-sn", "-dn", "-fps_mode", "passthrough"]
    args += ["-enc_time_base:v", video.time_base.replace("/", ":"), "-c:v", "rawvideo", "-fflags", "+bitexact"]
    return [*args, "-filter_threads", "1", "-f", "nut", file_url(out)]
