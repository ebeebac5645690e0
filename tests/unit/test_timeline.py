"""Frames whose times run back: what is made of them, and that ffmpeg's filter makes the same of them."""

import itertools
import random
import subprocess

import pytest

from tests.media import Media, ffmpeg
from topclip.media.probe import probe
from topclip.media.timeline import Timeline, number_filter, timeline_filter
from topclip.model.source import VideoStream

FRAME = 3600


@pytest.fixture
def video(media: Media) -> VideoStream:
    """25 frames a second, 90 000 ticks."""
    return probe(media("short.ts")).video


def places(video: VideoStream, claimed: list[int]) -> list[int]:
    timeline = Timeline(video)
    return [placed for placed in map(timeline.place, claimed) if placed is not None]


def filtered(filters: str, claimed: list[int]) -> list[int]:
    """What ffmpeg makes of frames with these times."""
    times = "+".join(f"eq(N,{n})*{pts}" for n, pts in enumerate(claimed))
    graph = f"settb=1/90000,setpts='{times}',{filters}"
    out = ["-frames:v", str(len(claimed)), "-fps_mode", "passthrough", "-enc_time_base", "1/90000", "-f", "framecrc"]
    source = ["-f", "lavfi", "-t", str(len(claimed) / 25), "-i", "nullsrc=s=16x16:r=25"]
    done = subprocess.run(
        [ffmpeg(), "-v", "error", *source, "-vf", graph, *out, "-"],
        capture_output=True,
        text=True,
        check=True,
    )
    return [int(line.split(",")[2]) for line in done.stdout.splitlines() if not line.startswith("#")]


@pytest.mark.parametrize(
    ("claimed", "wanted"),
    [
        ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4]),
        ([0, 1, 2, 3, 2, 3, 6], [0, 1, 2, 3, 3.5, 4, 6]),
        ([0, 1, 1, 2, 3], [0, 1, 1.5, 2, 3]),
        ([5, 6, 40, 7, 8, 40.5, 41], [5, 6, 40, 40.5, 41]),
    ],
    ids=["rising", "two wrong guesses", "a time twice", "damage"],
)
def test_a_frame_that_comes_too_early_is_shown_behind_the_last_one(
    video: VideoStream, claimed: list[float], wanted: list[float]
) -> None:
    assert places(video, [round(t * FRAME) for t in claimed]) == [round(t * FRAME) for t in wanted]


def test_what_a_guess_has_overtaken_catches_up(video: VideoStream) -> None:
    dense = [0, FRAME, FRAME, *(FRAME + n * 360 for n in range(1, 20))]
    placed = places(video, dense)
    assert len(placed) == len(dense)
    assert placed[-1] == dense[-1]


def test_where_no_time_lies_between_a_frame_is_dropped(video: VideoStream) -> None:
    coarse = video.model_copy(update={"time_base": "1/25"})
    assert places(coarse, [0, 1, 1, 2, 1, 3]) == [0, 1, 2, 3]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("time_base", ["1/90000", "1/25"])
def test_ffmpeg_places_them_alike(video: VideoStream, seed: int, time_base: str) -> None:
    stream = video.model_copy(update={"time_base": time_base})
    chance = random.Random(seed)
    unit = FRAME if time_base == "1/90000" else 1
    claimed = [round((n + 50 + chance.choice([0, 0, 0, 0, 0, -1, -2, -5, 0.4, 3, -30])) * unit) for n in range(60)]
    assert any(b <= a for a, b in itertools.pairwise(claimed))
    assert filtered(timeline_filter(stream), claimed) == places(stream, claimed)


def test_ffmpeg_numbers_frames_from_the_start(video: VideoStream) -> None:
    numbered = video.model_copy(update={"start_pts": 7})
    assert filtered(number_filter(numbered), [0, 9, 3]) == [7, 7 + FRAME, 7 + 2 * FRAME]
