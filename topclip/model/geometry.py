"""Sizes of a clip's picture. Pure arithmetic: even sizes, square pixels, nothing is ever enlarged beyond the source."""

import math
from typing import NamedTuple

from topclip.model.clip import ClipSpec
from topclip.model.request import Aspect, Fit
from topclip.model.source import VideoStream

ASPECT_TOLERANCE = 0.004
MAX_SHRINK_PX = 16
LEAST_LOSS = 0.02
"""Of the picture's side; a clip that loses less has nobody cut off."""


class Size(NamedTuple):
    """Width and height in pixels."""

    width: int
    height: int


class Geometry(NamedTuple):
    """How a picture becomes the clip's.

    crop: what is kept of the upright, square-pixel source. scaled: what that is scaled to. canvas: the clip's picture,
    in whose middle it lies.
    """

    crop: Size
    scaled: Size
    canvas: Size


def clip_geometry(video: VideoStream, spec: ClipSpec) -> Geometry:
    """The sizes for one clip."""
    return plan_geometry(video, spec.aspect, spec.fit, is_whole=spec.is_whole)


def plan_geometry(video: VideoStream, aspect: Aspect, fit: Fit, *, is_whole: bool = False) -> Geometry:
    """The sizes for one source and one wanted shape. is_whole: as of ClipSpec."""
    shown = Size(video.display_width, video.display_height)
    if aspect is Aspect.SOURCE:
        canvas = Size(_even(shown.width), _even(shown.height))
        return Geometry(shown, canvas, canvas)
    ratio = _ratio(aspect)
    if fit is Fit.CROP:
        inner = Size(min(shown.width, round(shown.height * ratio)), min(shown.height, round(shown.width / ratio)))
        canvas = _even_of_ratio(inner, ratio)
        crop = Size(max(1, inner.width), max(1, inner.height))
        return _within(shown, canvas) if is_whole else Geometry(crop, canvas, canvas)
    area = shown.width * shown.height
    return _within(shown, _even_of_ratio(Size(round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))), ratio))


def cut_out(video: VideoStream, aspect: Aspect, fit: Fit) -> tuple[float, float] | None:
    """Shares of the upright picture's width and height that a clip shows; None where all of it is shown, or all but all."""
    crop = plan_geometry(video, aspect, fit).crop
    window = crop.width / video.display_width, crop.height / video.display_height
    return window if min(window) < 1 - LEAST_LOSS else None


def _within(shown: Size, canvas: Size) -> Geometry:
    """All of the picture, as large as the canvas has room for."""
    scale = min(canvas.width / shown.width, canvas.height / shown.height)
    width, height = (_even(round(side * scale)) for side in shown)
    return Geometry(shown, Size(min(canvas.width, width), min(canvas.height, height)), canvas)


def _ratio(aspect: Aspect) -> float:
    width, height = aspect.value.split(":")
    return int(width) / int(height)


def _even(value: float) -> int:
    return max(2, int(value) // 2 * 2)


def _even_of_ratio(limit: Size, ratio: float) -> Size:
    """The largest even size within the limit whose shape is close enough; the closest one if none is."""
    sizes = []
    for height in range(_even(limit.height), max(0, _even(limit.height) - MAX_SHRINK_PX), -2):
        width = max(2, round(height * ratio / 2) * 2)
        if width > limit.width + 1:
            width = _even(limit.width)
        error = abs(width / height - ratio)
        if error <= ASPECT_TOLERANCE:
            return Size(width, height)
        sizes.append((error, Size(width, height)))
    return min(sizes)[1]
