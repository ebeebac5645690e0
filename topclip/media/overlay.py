"""Draw captions by ffmpeg's libass, and measure whether they can be seen."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from topclip.media.ffmpeg import run_ffmpeg
from topclip.media.guard import file_url
from topclip.media.limits import FLOOR_S, Allowance
from topclip.media.opening import open_media
from topclip.model.geometry import Size

Grey = NDArray[np.uint8]
OPAQUE_LEVELS: Final = 24
"""What differs less between a drawing on black and one on white is letter or edge, not what shines through."""
ALIKE_LEVELS: Final = 48
"""What encoding may change of a letter's grey, 0-255."""


def overlay_filter(script: Path, fonts: Path, stretch: int) -> str:
    """The filters that draw a script on pictures whose time begins at 0.

    stretch: how much longer the script runs than the pictures, which have their times put to it and back.
    """
    draw = f"ass=filename={_escaped(script)}:fontsdir={_escaped(fonts)}"
    return f"setpts=PTS*{stretch},{draw},setpts=PTS/{stretch}"


def _escaped(path: Path) -> str:
    """A path as a value in a filter graph: once for the option, once for the graph."""
    value = "".join(f"\\{sign}" if sign in "\\':" else sign for sign in str(path.absolute()))
    return "".join(f"\\{sign}" if sign in "\\'[],;" else sign for sign in value)


@dataclass(frozen=True)
class Drawing:
    """What is to be seen: the filters, and when each caption stands, (start_s, end_s) in the clip's time."""

    overlay: str
    times: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Bench:
    """With what it is measured: ffmpeg, a folder for scratch files, its memory; tick(): called often, may raise to stop."""

    binary: str
    scratch: Path
    memory_bytes: int | None
    tick: Callable[[], None]


def seen_share(clip: Path, drawing: Drawing, bench: Bench) -> float | None:
    """The share of what libass draws that is found in the clip's pictures, 0 to 1; None if no picture falls into the times.

    The same script is drawn on black and on white; where both come out alike there is ink, and there the clip has to look the
    same. Raises: EncodeError, MediaLimit.
    """
    pictures = list(_pictures(clip, drawing.times, bench.tick))
    if not pictures:
        return None
    height, width = pictures[0][1].shape
    black, white = _drawn([at_s for at_s, _ in pictures], drawing.overlay, Size(width, height), bench)
    ink = np.abs(black.astype(np.int16) - white) <= OPAQUE_LEVELS
    alike = np.abs(np.stack([grey for _, grey in pictures]).astype(np.int16) - black) <= ALIKE_LEVELS
    return float(np.mean(alike[ink])) if ink.any() else 0.0


def _pictures(
    clip: Path, times: Sequence[tuple[float, float]], tick: Callable[[], None]
) -> Iterator[tuple[float, Grey]]:
    """For each span of time the first picture behind its middle, or the last one within: its time and its grey."""
    with open_media(clip) as container:
        video = container.streams.video[0]
        unit_s = float(video.time_base or 1)
        for start_s, end_s in times:
            container.seek(int(start_s / unit_s), stream=video)
            found: VideoFrame | None = None
            for frame in container.decode(video):
                tick()
                at_s = (frame.pts or 0) * unit_s
                if at_s >= end_s or (found is not None and at_s > (start_s + end_s) / 2):
                    break
                if at_s >= start_s:
                    found = frame
            if found is not None:
                yield (found.pts or 0) * unit_s, found.to_ndarray(format="gray").astype(np.uint8, copy=False)


def _drawn(at_s: Sequence[float], overlay: str, size: Size, bench: Bench) -> tuple[Grey, Grey]:
    """What stands at some moments, drawn on black and on white."""
    times = "0"
    for n, time_s in enumerate(at_s):
        times = f"if(eq(N\\,{n})\\,{time_s:.6f}\\,{times})"
    chain = f"format=yuv420p,settb=1/1000000,setpts={times}/TB,{overlay},format=gray"
    args, outs = [], []
    for colour in ("black", "white"):
        args += ["-f", "lavfi", "-i", f"color={colour}:s={size.width}x{size.height}:r=1:d={len(at_s)}"]
    for n, colour in enumerate(("black", "white")):
        outs.append(bench.scratch / f"{colour}.grey")
        args += ["-map", f"{n}:v", "-vf", chain, "-fps_mode", "passthrough", "-f", "rawvideo", file_url(outs[-1])]
    allowance = Allowance(bench.memory_bytes, wall_s=FLOOR_S)
    run_ffmpeg(bench.binary, args, lambda _: bench.tick(), allowance=allowance)
    black, white = (np.fromfile(path, np.uint8).reshape(len(at_s), size.height, size.width) for path in outs)
    return black, white
