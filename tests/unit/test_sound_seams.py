"""The loudness of a moment is the same whichever chunk it is measured in, at any sample rate."""

import math
import subprocess
from pathlib import Path

import numpy as np
import pytest

from topclip.media.binary import find_ffmpeg
from topclip.media.decode import Faults, Span, decode_span
from topclip.media.probe import probe
from topclip.media.sound import SoundBlock


@pytest.mark.parametrize(
    ("rate_hz", "layout", "container"),
    [
        *((44_100, "stereo", "mkv"), (48_000, "mono", "mkv"), (32_000, "mono", "mkv"), (96_000, "stereo", "mkv")),
        *((22_050, "mono", "avi"), (44_100, "stereo", "avi")),  # its clock counts whole frames of sound
    ],
)
def test_a_chunk_hears_what_the_whole_source_hears(tmp_path: Path, rate_hz: int, layout: str, container: str) -> None:
    path = tmp_path / f"steps.{container}"
    steps = f"aevalsrc=sin(2*PI*440*t)*(0.02+0.3*mod(floor(t*1.7)\\,4)):s={rate_hz}:d=24:c={layout}"
    if layout == "stereo":
        steps = steps.replace(f":s={rate_hz}", f"|0.5*sin(2*PI*660*t):s={rate_hz}")
    inputs = ["-f", "lavfi", "-i", "testsrc=s=64x36:r=10:d=24", "-f", "lavfi", "-i", steps]
    argv = [find_ffmpeg(""), "-v", "error", *inputs, "-c:v", "libx264", "-g", "60", "-bf", "0"]
    argv += ["-c:a", "libmp3lame" if container == "avi" else "pcm_s16le", str(path)]
    subprocess.run(argv, check=True)
    whole, part = loudness(path, 0.0, 24.0), loudness(path, 14.0, 20.0)
    shared = [at for at in part if 14.0 <= at < 20.0]
    assert len(shared) == 60
    assert np.max(np.abs([whole[at] - part[at] for at in shared])) < 0.1
    assert np.ptp([whole[at] for at in shared]) > 3


@pytest.mark.parametrize("container", ["mkv", "avi", "mp4"])
def test_sound_that_goes_on_behind_the_picture_is_not_followed(tmp_path: Path, container: str) -> None:
    """The silence that ends it lies there by the clock of its stream, be that of milliseconds or of whole frames of sound."""
    path = tmp_path / f"long.{container}"
    inputs = ["-f", "lavfi", "-i", "testsrc=s=64x36:r=10:d=4", "-f", "lavfi", "-i", "sine=300:r=44100:d=10"]
    code = ["-c:v", "libx264", "-c:a", "libmp3lame" if container == "avi" else "aac"]
    subprocess.run([find_ffmpeg(""), "-v", "error", *inputs, *code, str(path)], check=True)
    heard = loudness(path, 0.0, math.inf)
    assert 4.0 <= max(heard) <= 5.5


def loudness(path: Path, start_s: float, end_s: float) -> dict[float, float]:
    """Momentary loudness by the time at which its block begins."""
    info = probe(path)
    first, last = (
        info.video.start_pts + math.ceil(min(t, info.duration_s) / info.video.tick) for t in (start_s, end_s)
    )
    span = Span(first if start_s else None, last if end_s < info.duration_s else None)
    items = decode_span(path, info, span, Faults(), max_pixels=10_000_000)
    return {round(b.start_s, 1): b.momentary_lufs for b in items if isinstance(b, SoundBlock)}
