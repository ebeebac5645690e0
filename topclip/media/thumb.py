"""A frame as a small grey picture."""

from functools import cache

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

THUMB_WIDTH_PX, THUMB_HEIGHT_PX = 64, 36
ROWS_EACH = 8
"""About as many rows of a frame make one of a thumb, five at least: the mean of more is no better, and reading is the work."""
PLAIN_FORMATS = frozenset({"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "nv12"})
"""Formats whose first plane is the grey picture, a byte each point."""
FULL_RANGE = 2
BLACK, WHITE = 16, 235

Thumb = NDArray[np.uint8]


class Thumbs:
    """Makes thumbs; keeps its scalers, since a new one for each frame costs more than scaling."""

    def __init__(self) -> None:
        self._plain, self._other = VideoReformatter(), VideoReformatter()

    def of(self, frame: VideoFrame) -> Thumb:
        """The frame as uint8 (36, 64), full-range grey, each point the mean of what it covers."""
        if frame.format.name not in PLAIN_FORMATS:
            return _scaled(self._other, frame)
        plane = frame.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        step = max(1, frame.height // (THUMB_HEIGHT_PX * ROWS_EACH)) | 1  # odd: both fields of two are seen
        small = _scaled(self._plain, VideoFrame.from_numpy_buffer(rows[: frame.height : step, : frame.width], "gray"))
        is_full = frame.color_range == FULL_RANGE or frame.format.name.startswith("yuvj")
        return small if is_full else _to_full_range()[small]


def _scaled(scaler: VideoReformatter, frame: VideoFrame) -> Thumb:
    small = scaler.reformat(frame, THUMB_WIDTH_PX, THUMB_HEIGHT_PX, "gray", interpolation=Interpolation.AREA)
    return np.asarray(small.to_ndarray(), np.uint8)


@cache
def _to_full_range() -> Thumb:
    levels = (np.arange(256) - BLACK) * 255 / (WHITE - BLACK)
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)
