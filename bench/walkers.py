"""Footage with subjects whose place in every frame is known: drawn faces, and things that move.

They are seen over still, panning and noisy pictures. The same bytes whenever it is made: each scene has its own seed.
"""

import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from topclip.media.binary import find_ffmpeg

WIDTH, HEIGHT, RATE = 640, 360, 25
Picture = NDArray[np.float32]


class Place(NamedTuple):
    """A subject in one frame: middle and width as shares of the picture's width."""

    x: float
    width: float


@dataclass(frozen=True)
class Scene:
    """A piece of footage. where(t): the subjects at a time, the one that counts first. cuts_s: where new shots begin."""

    name: str
    length_s: float
    where: Callable[[float], Sequence[Place]]
    kind: str
    """`face`, `thing` or `nothing`."""
    pan: float = 0.0
    """Of the camera, in widths of the picture a second."""
    noise: float = 2.0
    cuts_s: tuple[float, ...] = ()

    def truth(self) -> list[Sequence[Place]]:
        """The subjects in each frame."""
        return [self.where(n / RATE) for n in range(round(self.length_s * RATE))]


def _steps(*stops: tuple[float, float]) -> Callable[[float], float]:
    times, values = zip(*stops, strict=True)
    return lambda t: float(np.interp(t, times, values))


def _paces(speed: float) -> Callable[[float], float]:
    """Up and down most of the picture, in its widths a second."""
    return lambda t: 0.85 - abs((speed * t) % 1.4 - 0.7)


def _one(at: Callable[[float], float], width: float = 0.1) -> Callable[[float], Sequence[Place]]:
    return lambda t: [Place(at(t), width)]


SCENES = (
    Scene("a still face", 10, _one(lambda t: 0.76), "face"),
    Scene("a face that sways", 10, _one(lambda t: 0.27 + 0.02 * np.sin(2.1 * t)), "face"),
    Scene("a face that walks", 12, _one(_steps((0, 0.15), (3, 0.15), (7, 0.85), (9, 0.85), (12, 0.45))), "face"),
    Scene("a face that paces", 12, _one(_paces(0.45)), "face"),
    Scene("a face that runs about", 12, _one(_paces(1.0)), "face"),
    Scene("a face that dashes once", 12, _one(_steps((0, 0.15), (5, 0.15), (5.5, 0.85), (12, 0.85))), "face"),
    Scene("faces from shot to shot", 12, _one(lambda t: (0.2, 0.8)[int(t / 3) % 2]), "face", cuts_s=(3, 6, 9)),
    Scene("two faces far apart", 10, lambda t: [Place(0.18, 0.11), Place(0.84, 0.09)], "face"),
    Scene("a thing, camera still", 12, _one(_steps((0, 0.1), (5, 0.8), (7, 0.8), (12, 0.2))), "thing"),
    Scene("a thing, camera pans", 12, _one(_steps((0, 0.8), (6, 0.2), (12, 0.7))), "thing", pan=0.12),
    Scene("a thing in noise", 12, _one(_steps((0, 0.2), (12, 0.85))), "thing", noise=14.0),
    Scene("nothing", 10, lambda t: [], "nothing", noise=6.0),
    Scene("nothing, camera pans", 10, lambda t: [], "nothing", pan=0.1),
)


def make(scene: Scene, path: Path, seed: int = 0) -> None:
    """Write a scene as a video with a quiet tone."""
    size = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", str(RATE), "-i", "-")
    tone = ("-f", "lavfi", "-i", f"sine=300:sample_rate=48000:duration={scene.length_s}")
    code = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-pix_fmt", "yuv420p", "-c:a", "aac")
    command = [find_ffmpeg(""), "-v", "error", "-y", *size, *tone, *code, "-threads", "1", "-bitexact", str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        for picture in _pictures(scene, seed):
            process.stdin.write(picture.tobytes())
        process.stdin.close()
    if process.returncode:
        raise RuntimeError(f"ffmpeg could not write {path}")


def _pictures(scene: Scene, seed: int) -> Iterator[NDArray[np.uint8]]:
    rng = np.random.default_rng([seed, sum(scene.name.encode())])
    backgrounds = [_background(rng, scene) for _ in range(len(scene.cuts_s) + 1)]
    thing, grain = _thing(rng), rng.normal(0, 1, (8, HEIGHT, WIDTH, 1))
    for n, places in enumerate(scene.truth()):
        at = round(scene.pan * n / RATE * WIDTH)
        shot = sum(n >= round(cut * RATE) for cut in scene.cuts_s)
        picture = backgrounds[shot][:, at : at + WIDTH].copy()
        for place in places:
            figure = face(round(place.width * WIDTH / 0.78), n) if scene.kind == "face" else _sized(thing, place)
            _put(picture, figure, place)
        picture += scene.noise * grain[rng.integers(8)]
        yield np.clip(picture, 0, 255).astype(np.uint8)


def _background(rng: np.random.Generator, scene: Scene) -> Picture:
    """Soft spots of colour with some texture, wide enough for the camera's way."""
    wide = WIDTH + round(scene.pan * scene.length_s * WIDTH) + 1
    coarse = _enlarged(rng.uniform(60, 190, (HEIGHT // 60, wide // 60 + 2, 3)), 60)
    fine = _enlarged(rng.uniform(-14, 14, (HEIGHT // 6, wide // 6 + 2, 1)), 6)
    return (coarse[:HEIGHT, :wide] + fine[:HEIGHT, :wide]).astype(np.float32)


def _enlarged(cells: Any, by: int) -> Any:
    """Cells blown up, with straight lines between their middles."""
    for axis in (0, 1):
        spots = (np.arange(cells.shape[axis] * by) + 0.5) / by - 0.5
        low = np.clip(np.floor(spots).astype(int), 0, cells.shape[axis] - 1)
        high, part = np.minimum(low + 1, cells.shape[axis] - 1), np.clip(spots - low, 0, 1)
        part = part.reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        cells = np.take(cells, low, axis) * (1 - part) + np.take(cells, high, axis) * part
    return cells


def _thing(rng: np.random.Generator) -> Picture:
    return np.asarray(rng.uniform(0, 255, (9, 9, 3)), np.float32)


def _sized(thing: Picture, place: Place) -> Picture:
    """A checkered disc of a place's width, with how far it covers as its fourth colour."""
    side = round(place.width * WIDTH)
    spots = np.arange(side) * 9 // side
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    covers = (x**2 + y**2 <= 1).astype(np.float32)[..., None]
    return np.concatenate([thing[spots][:, spots], covers], axis=2)


def face(height: int, n: int = 0) -> Picture:
    """A drawn face of so many points' height, its mouth as it is in frame n, with how far it covers as its fourth colour."""
    width = round(height * 0.78)
    rows, columns = np.mgrid[0:height, 0:width]
    x, y = (columns - width / 2) / (width / 2), (rows - height / 2) / (height / 2)
    picture = np.zeros((height, width, 4), np.float32)

    def put(
        middle: tuple[float, float], radii: tuple[float, float], colour: Sequence[float], strength: float = 1
    ) -> None:
        far = ((x - middle[0]) / radii[0]) ** 2 + ((y - middle[1]) / radii[1]) ** 2
        mask = strength * np.clip((1 - far) / 0.3, 0, 1)
        picture[..., :3] = picture[..., :3] * (1 - mask[..., None]) + np.array(colour) * mask[..., None]
        picture[..., 3] = np.maximum(picture[..., 3], mask)

    put((0, -0.12), (1, 0.88), (60, 40, 30))
    put((0, 0.08), (0.82, 0.88), (196, 150, 122))
    put((-0.15, 0.05), (0.6, 0.75), (224, 174, 142), 0.8)
    for side in (-0.36, 0.36):
        put((side, -0.2), (0.2, 0.05), (70, 45, 35))
        put((side, -0.05), (0.17, 0.08), (245, 245, 245))
        put((side, -0.05), (0.08, 0.08), (50, 35, 25))
    put((0, 0.2), (0.1, 0.2), (150, 100, 80), 0.35)
    for side in (-0.08, 0.08):
        put((side, 0.32), (0.05, 0.03), (120, 70, 60), 0.8)
    opened = 0.5 + 0.5 * np.sin(n * 0.9)
    put((0, 0.55), (0.3, 0.05 + 0.1 * opened), (165, 70, 75))
    put((0, 0.55), (0.2, 0.02 + 0.07 * opened), (90, 30, 35))
    return picture


def _put(picture: Picture, figure: Picture, place: Place) -> None:
    """Lay a figure into a picture, a third down; a face gets shoulders."""
    height, width = figure.shape[:2]
    top, left = round(HEIGHT * 0.4 - height / 2), round(place.x * WIDTH - width / 2)
    if height != width:
        neck, wide = top + round(height * 0.95), round(width * 1.9)
        middle = left + width // 2
        picture[top + height * 3 // 4 : neck + 4, max(0, middle - width // 5) : middle + width // 5] = (200, 150, 120)
        picture[neck:, max(0, middle - wide // 2) : middle + wide // 2] = (40, 60, 120)
    first, last = max(0, -left), min(width, WIDTH - left)
    covers = figure[:, first:last, 3:]
    spot = picture[top : top + height, left + first : left + last]
    spot[:] = spot * (1 - covers) + figure[:, first:last, :3] * covers
