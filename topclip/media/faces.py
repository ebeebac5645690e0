"""Where faces are in a picture, by CenterFace (docs/adr/0020) run by OpenCV. Loads OpenCV only when the first finder is made.

One thread, and whole numbers out: what is found does not depend on how many cores look for it.
"""

from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

MODEL = "models/centerface.onnx"
NET_WIDTH_PX, NET_STEP_PX = 416, 32
"""Width of a wide picture as the net sees it, the longer side of any; sides are multiples of the step. A face of a twentieth of
the picture's width is found."""
CELL_PX = 4
"""The net answers for each cell of so many pixels."""
LEAST_SCORE = 0.3
OVERLAP = 0.3
"""Two boxes that share more of their union are one face."""
UNITS = 1000
"""Boxes are in thousandths of the picture's width and height."""

Boxes = NDArray[np.int32]


class FaceFinder:
    """Finds faces. Not for two threads at once."""

    def __init__(self) -> None:
        import cv2  # noqa: PLC0415 - heavy, and needed by this one stage

        cv2.setNumThreads(1)
        model = (files("topclip.media") / MODEL).read_bytes()
        self._net: Any = cv2.dnn.readNetFromONNX(np.frombuffer(model, np.uint8))
        self._outputs = self._net.getUnconnectedOutLayersNames()

    def find(self, picture: NDArray[np.uint8]) -> Boxes:
        """Faces of a picture, best first: centre x, centre y, width, height, score, each in thousandths; int32 (n, 5).

        picture: uint8 RGB, (height, width, 3), sides multiples of NET_STEP_PX.
        """
        height, width = picture.shape[:2]
        planes = np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32)
        self._net.setInput(planes)
        heat, scale, offset = self._net.forward(self._outputs)[:3]
        return _boxes(heat[0, 0], scale[0], offset[0], width, height)


def net_size(width: int, height: int) -> tuple[int, int]:
    """Size at which a picture of this shape is looked at."""
    scale = NET_WIDTH_PX / max(width, height)
    sides = [max(NET_STEP_PX, round(side * scale / NET_STEP_PX) * NET_STEP_PX) for side in (width, height)]
    return sides[0], sides[1]


def _boxes(
    heat: NDArray[np.float32], scale: NDArray[np.float32], offset: NDArray[np.float32], width: int, height: int
) -> Boxes:
    rows, columns = np.nonzero(heat > LEAST_SCORE)
    scores = heat[rows, columns]
    high, wide = (np.exp(scale[i, rows, columns]) * CELL_PX for i in (0, 1))
    down, right = (offset[i, rows, columns] for i in (0, 1))
    found = np.stack([(columns + right + 0.5) * CELL_PX / width, (rows + down + 0.5) * CELL_PX / height,
                      wide / width, high / height, scores], axis=1)  # fmt: skip
    whole = np.rint(found * UNITS).astype(np.int32)
    order = np.lexsort((whole[:, 0], whole[:, 1], -whole[:, 4]))
    return _distinct(whole[order])


def _distinct(boxes: Boxes) -> Boxes:
    """The best of each heap of boxes."""
    kept: list[NDArray[np.int32]] = []
    for box in boxes:
        if all(_shared(box, other) <= OVERLAP for other in kept):
            kept.append(box)
    return np.array(kept, np.int32).reshape(-1, 5)


def _shared(a: NDArray[np.int32], b: NDArray[np.int32]) -> float:
    """Intersection over union."""
    sides = [
        min(a[i] + a[i + 2] / 2, b[i] + b[i + 2] / 2) - max(a[i] - a[i + 2] / 2, b[i] - b[i + 2] / 2) for i in (0, 1)
    ]
    both = max(0.0, sides[0]) * max(0.0, sides[1])
    return float(both / (a[2] * a[3] + b[2] * b[3] - both))
