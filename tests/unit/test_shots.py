"""The cut rule on pictures drawn by hand: what is a cut, and what only looks like one."""

import numpy as np
import pytest
from numpy.typing import NDArray

from topclip.analysers.frames import FrameNumbers
from topclip.analysers.shots import find_cuts
from topclip.analysers.tracks import Tracks

Picture = NDArray[np.uint8]


def scene(seed: int, n: int, *, level: int = 120, moving: float = 1.0, noise: float = 1.5) -> list[Picture]:
    """A smooth picture that drifts sideways under camera noise."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.arange(64), np.arange(36))
    waves = [
        (rng.uniform(0.02, 0.15), rng.uniform(0.02, 0.15), rng.uniform(0, 6), rng.uniform(15, 35)) for _ in range(5)
    ]
    frames = []
    for k in range(n):
        picture = sum(a * np.sin(u * (x + moving * k) * 6 + v * y * 6 + p) for u, v, p, a in waves)
        frames.append(np.clip(level + picture + rng.normal(0, noise, x.shape), 0, 255).astype(np.uint8))
    return frames


def cuts_of(
    frames: list[Picture],
    *,
    rate: float = 25.0,
    keys: tuple[int, ...] = (),
    drawn: range = range(0),
    pts: list[int] | None = None,
) -> list[int]:
    numbers = FrameNumbers()
    for i, frame in enumerate(frames):
        numbers.add(i if pts is None else pts[i], frame, is_owned=True, is_key=i in keys, is_drawn=i in drawn)
    empty = np.empty(0, np.float32)
    tracks = Tracks(
        **numbers.arrays(), loudness_lufs=empty, levels_db=empty, spectra=empty, n_corrupt=np.zeros(1, np.int64)
    )
    return [int(c) for c in find_cuts(tracks, rate, 1 / rate)]


@pytest.mark.parametrize("seed", range(20))
def test_a_hard_cut_is_found_at_its_frame(seed: int) -> None:
    assert cuts_of(scene(seed, 30, level=90) + scene(seed + 100, 30, level=150)) == [30]


def test_a_cut_from_a_still_to_a_busy_shot_is_found() -> None:
    rng = np.random.default_rng(5)
    busy = [rng.integers(0, 255, (36, 64)).astype(np.uint8) for _ in range(30)]
    assert cuts_of(scene(1, 30, level=60, moving=0) + busy) == [30]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_slides_of_few_frames_each_are_shots(n: int) -> None:
    """As a recorder has them that writes what changes."""
    slides = [frame for k in range(8) for frame in scene(50 + k, n, level=70 + 20 * k, moving=0)]
    pts = [100 * (i // n) + i % n for i in range(len(slides))]
    assert cuts_of(slides, pts=pts) == [n * k for k in range(1, 8)]


def test_what_comes_and_goes_in_a_time_lapse_makes_no_shots() -> None:
    """Of one scene, a picture each two seconds; then of another."""
    frames = [frame.copy() for frame in scene(3, 12, level=90, moving=0) + scene(40, 12, level=150, moving=0)]
    for n in (2, 3, 7, 15, 16, 20):
        frames[n][8:26, 6 * (n % 7) : 6 * (n % 7) + 16] = 255
    assert cuts_of(frames, rate=0.5) == [12]


def test_steady_motion_is_no_cut() -> None:
    assert cuts_of(scene(3, 80, moving=3)) == []


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_a_flash_is_no_cut(length: int) -> None:
    frames = scene(4, 60, level=90)
    for k in range(30, 30 + length):
        frames[k] = np.clip(frames[k].astype(int) + 110, 0, 255).astype(np.uint8)
    assert cuts_of(frames) == []


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_slide_of_few_frames_that_stands_for_long_is_no_flash(length: int) -> None:
    camera, slide = scene(4, 80, level=90), scene(7, length, level=190, moving=0)
    frames = camera[:40] + slide + camera[40:]
    held = [*range(40), *(40 + 100 * n for n in range(length + 1)), *(40 + 100 * length + n for n in range(1, 40))]
    assert cuts_of(frames, pts=held) == [40, 40 + length]
    assert cuts_of(frames) == []


@pytest.mark.parametrize("length", [1, 2, 3, 4])
@pytest.mark.parametrize("moving", [0.05, 0.15])
def test_white_within_a_shot_is_a_flash_and_between_two_shots_one_cut(length: int, moving: float) -> None:
    white = [np.full((36, 64), 255, np.uint8)] * length
    for seed in range(10):
        shot, other = scene(seed, 60, level=150, moving=moving), scene(seed + 50, 30, level=170, moving=moving)
        assert cuts_of(shot[:30] + white + shot[30 + length :]) == []
        darker = [(frame * 0.88).astype(np.uint8) for frame in shot[30 + length :]]  # another exposure
        assert cuts_of(shot[:30] + white + darker) == []
        found = cuts_of(shot[:30] + white + other)
        assert len(found) == 1
        assert 30 <= found[0] <= 30 + length


def test_a_fast_pan_is_no_cut() -> None:
    still, pan = scene(6, 30, moving=0), scene(6, 12, moving=7)
    assert cuts_of(still + pan + [pan[-1]] * 30) == []


def test_two_quick_cuts_are_both_found() -> None:
    assert cuts_of(scene(1, 30, level=70) + scene(2, 10, level=180) + scene(3, 30, level=90)) == [30, 40]


@pytest.mark.parametrize("shown", [2, 5, 6])
def test_motion_that_was_taken_at_a_lower_rate_is_no_cut(shown: int) -> None:
    moving = [picture for picture in scene(3, 40, moving=3) for _ in range(shown)]
    assert cuts_of(moving, rate=60.0) == []
    other = [picture for picture in scene(9, 20, level=170, moving=3) for _ in range(shown)]
    assert cuts_of(moving + other, rate=60.0) == [len(moving)]


def test_what_a_key_frame_sets_right_is_no_cut() -> None:
    """Pictures drift while no key frame comes. A cut that falls on one is larger, or comes earlier than by the clock."""
    shot, keys = scene(2, 600, moving=0.2), (0, 240, 480, 540)
    for k, frame in enumerate(shot):
        back = k - max(key for key in keys if key <= k)
        shot[k] = np.clip(frame + 9 * back / 240, 0, 255).astype(np.uint8)
    assert cuts_of(shot, keys=keys) == []
    assert cuts_of(shot, keys=(0, 250, 490)) == [240, 480]
    assert cuts_of(shot[:480] + scene(3, 60, level=150), keys=keys) == [480]
    assert cuts_of(shot[:480], keys=(0, 240)) == [240]  # it comes once: a shot may end there


def noise(seed: int, n: int, low: int, high: int) -> list[Picture]:
    """A picture whose points are others in each frame, and whose layout stays."""
    rng = np.random.default_rng(seed)
    return [rng.integers(low, high, (36, 64)).astype(np.uint8) for _ in range(n)]


@pytest.mark.parametrize("seed", range(5))
def test_a_cut_between_a_calm_picture_and_moving_noise_is_found(seed: int) -> None:
    calm = scene(seed, 30, level=130)
    assert cuts_of(calm + noise(seed, 30, 60, 170)) == [30]
    assert cuts_of(noise(seed, 30, 60, 170) + calm) == [30]


def test_a_cut_between_two_noises_is_found() -> None:
    assert cuts_of(noise(1, 30, 0, 160) + noise(2, 30, 60, 220)) == [30]


def test_fine_stripes_that_shimmer_are_no_cut() -> None:
    stripes = [np.tile(np.array([[80, 80, 150, 150]], np.uint8), (36, 16)) for _ in range(60)]
    moved = [np.roll(stripe, k // 9, axis=1) for k, stripe in enumerate(stripes)]
    assert cuts_of(moved) == []


@pytest.mark.parametrize("frame", range(1, 6))
def test_nothing_among_the_first_frames_is_a_cut(frame: int) -> None:
    assert cuts_of(scene(1, frame, level=70) + scene(2, 40, level=180)) == []


def test_one_picture_or_none_has_no_cut() -> None:
    assert cuts_of([]) == []
    assert cuts_of(scene(1, 1)) == []


# --- shots that pass into one another ---------------------------------------------------------------------------


def mixed(first: Picture, second: Picture, share: float) -> Picture:
    return np.round(first * (1 - share) + second * share).astype(np.uint8)


def dissolve(one: list[Picture], other: list[Picture], length: int) -> list[Picture]:
    """The last frames of one shot mixed with the first ones of the other."""
    shares = [(k + 0.5) / length for k in range(length)]
    between = [mixed(a, b, share) for a, b, share in zip(one[-length:], other[:length], shares, strict=True)]
    return one[:-length] + between + other[length:]


def faded(frames: list[Picture], to: int, length: int) -> list[Picture]:
    """A shot that ends in black or white."""
    colour = np.full((36, 64), to, np.uint8)
    return frames[:-length] + [mixed(f, colour, (k + 1) / length) for k, f in enumerate(frames[-length:])]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("length", [8, 15, 30, 44])
def test_a_dissolve_is_found_at_its_middle(seed: int, length: int) -> None:
    one, other = scene(seed, 70, level=90, moving=0.1), scene(seed + 100, 80, level=160, moving=0.1)
    (cut,) = cuts_of(dissolve(one, other, length))
    assert abs(cut - (70 - length // 2)) <= max(1, length // 8)


def crossed(frames: list[Picture], speed: float) -> list[Picture]:
    """The same with somebody who walks from left to right, again and again."""
    found = [frame.copy() for frame in frames]
    for k, frame in enumerate(found):
        x = int(k * speed) % 64
        frame[10:28, x : x + 9] = 250
    return found


@pytest.mark.parametrize(
    ("seed", "length", "speed"),
    [(3, 16, 1.0), (5, 16, 1.0), (10, 18, 1.0), (21, 10, 1.0), (20, 18, 0.8), (35, 18, 0.8)],
)
def test_a_dissolve_is_found_while_something_moves_in_a_shot(seed: int, length: int, speed: float) -> None:
    one, other = scene(seed, 60, level=100, moving=0.1), scene(seed + 100, 60, level=140, moving=0.1)
    (cut,) = cuts_of(dissolve(one, crossed(other, speed), length))
    assert abs(cut - (60 - length // 2)) <= 2


@pytest.mark.parametrize("seed", [3, 29, 75])
def test_a_dissolve_between_dull_shots_that_are_unlike_is_found(seed: int) -> None:
    one, other = scene(seed, 60, level=115, moving=0.1), scene(seed + 100, 60, level=141, moving=0.1)
    grey = np.full((36, 64), 128, np.uint8)
    (cut,) = cuts_of([mixed(frame, grey, 0.4) for frame in dissolve(one, other, 16)])
    assert abs(cut - 52) <= 2


@pytest.mark.parametrize(("seed", "moving"), [(29, 0.15), (57, 0.2)])
def test_a_pan_that_goes_on_is_no_dissolve(seed: int, moving: float) -> None:
    assert cuts_of(scene(seed, 90, moving=moving)) == []


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("to", [0, 255])
@pytest.mark.parametrize(("length", "rest"), [(10, 0), (15, 12), (30, 5)])
def test_a_fade_out_and_in_is_one_boundary_in_the_dark(seed: int, to: int, length: int, rest: int) -> None:
    one, other = scene(seed, 60), scene(seed + 50, 60)
    dark = [np.full((36, 64), to, np.uint8)] * rest
    back = faded(other[::-1], to, length)[::-1]
    (cut,) = cuts_of(faded(one, to, length) + dark + back)
    assert abs(cut - (60 + rest // 2)) <= 2


def test_a_fade_in_at_the_start_and_a_fade_out_at_the_end_begin_no_shot() -> None:
    frames = faded(faded(scene(2, 120), 0, 25)[::-1], 0, 25)[::-1]
    assert cuts_of(frames) == []


@pytest.mark.parametrize("to", [0, 255])
def test_a_fade_in_the_middle_is_found_where_the_source_begins_and_ends_with_one(to: int) -> None:
    one = faded(faded(scene(2, 120), 0, 25)[::-1], to, 25)[::-1]
    other = faded(faded(scene(52, 120), to, 25)[::-1], 0, 25)[::-1]
    (cut,) = cuts_of(one + other)
    assert abs(cut - 120) <= 2


def test_a_cut_to_black_and_one_from_it_are_two() -> None:
    dark = [np.full((36, 64), 4, np.uint8)] * 30
    assert cuts_of(scene(1, 40) + dark + scene(2, 40)) == [40, 70]


def test_a_slow_pan_between_two_views_is_no_dissolve() -> None:
    x, y = np.meshgrid(np.arange(400), np.arange(36))
    wide = np.clip(120 + 60 * np.sin(x * 0.08) * np.cos(y * 0.1) + 40 * np.sin(x * 0.31 + y * 0.2), 0, 255)
    places = np.concatenate([np.zeros(30), np.linspace(0, 40, 30), np.full(30, 40)]).astype(int)
    assert cuts_of([wide[:, k : k + 64].astype(np.uint8) for k in places]) == []


def test_light_that_changes_on_one_set_is_no_dissolve() -> None:
    levels = np.concatenate([np.ones(40), np.linspace(1, 0.6, 20), np.full(40, 0.6)])
    frames = [np.round(f * level).astype(np.uint8) for f, level in zip(scene(7, 100, moving=0), levels, strict=True)]
    assert cuts_of(frames) == []


def test_a_dissolve_of_pictures_that_were_drawn_is_not_believed() -> None:
    one, other = scene(1, 70, level=90, moving=0.1), scene(101, 80, level=160, moving=0.1)
    frames = dissolve(one, other, 30)
    assert cuts_of(frames, drawn=range(40, 44)) == cuts_of(frames) != []
    assert cuts_of(frames, drawn=range(40, 70)) == []
