"""Sound far above full scale, as damaged frames decode to: it must not outweigh the rest."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.media import Media, ffmpeg, run
from tests.unit.conftest import request_for
from topclip import run_local
from topclip.analysers.loudness import integrated_lufs
from topclip.media.decode import Faults, Span, decode_span
from topclip.media.probe import probe
from topclip.media.sound import CLAMP, RATE_HZ, SoundBlock
from topclip.pipeline.context import StageContext

TONE_S, BURST_S = 5, 2.0
Samples = NDArray[np.float32]


def tone_then_silence() -> Samples:
    t = np.arange(8 * RATE_HZ) / RATE_HZ
    return (0.1 * np.sin(2 * np.pi * 440 * t) * (t < TONE_S)).astype(np.float32)


def with_burst(level: float) -> Samples:
    samples, at = tone_then_silence(), round(BURST_S * RATE_HZ)
    samples[at : at + 960 : 2], samples[at + 1 : at + 960 : 2] = level, -level
    return samples


def source(media: Media, folder: Path, samples: Samples) -> Path:
    raw, path = folder / "sound.f32", folder / "source.mkv"
    raw.write_bytes(samples.tobytes())
    sound = ("-f", "f32le", "-ar", str(RATE_HZ), "-ac", "1", "-i", raw)
    run("-i", media("short.mp4"), *sound, "-map", "0:v", "-map", "1:a", "-c:v", "copy", "-c:a", "pcm_f32le", path)
    return path


def loudness(path: Path) -> dict[float, float]:
    """Momentary loudness by the time at which its block begins."""
    items = decode_span(path, probe(path), Span(None, None), Faults(), max_pixels=10**6)
    return {round(b.start_s, 1): b.momentary_lufs for b in items if isinstance(b, SoundBlock)}


@pytest.mark.parametrize("level", [20_000.0, 473_040.0, 1e30, np.inf, np.nan])
def test_a_burst_is_over_when_it_is_over(media: Media, tmp_path: Path, level: float) -> None:
    found = loudness(source(media, tmp_path, with_burst(level)))
    right = loudness(source(media, tmp_path, tone_then_silence()))
    ends_s = BURST_S + 0.5
    for at, wanted in right.items():
        if at < BURST_S or at >= ends_s:
            assert found[at] == pytest.approx(wanted, abs=0.1, nan_ok=True)
        else:
            assert found[at] <= 6
    silent = np.array([lufs for at, lufs in found.items() if at >= TONE_S + 0.5])
    assert integrated_lufs(silent) is None


@pytest.mark.parametrize("level", [20_000.0, 473_040.0, np.nan])
def test_clips_before_in_and_behind_a_burst_are_good(
    media: Media, tmp_path: Path, ctx: StageContext, level: float
) -> None:
    ranges = [[0, 1.8], [1, 4], [3, 4.6], [5.5, 7.5]]
    path = source(media, tmp_path, with_burst(level))
    manifest = run_local.run(request_for(path, mode="ranges", ranges=ranges, quality="draft"), ctx).manifest
    assert not manifest.failed
    for clip in manifest.clips[:3]:
        (heard,) = [check.found for check in clip.checks if check.name == "loudness"]
        assert heard == pytest.approx(-14, abs=1)


def test_what_lies_below_the_bound_stays_the_same_to_the_bit(tmp_path: Path) -> None:
    chance = np.random.default_rng(5)
    samples = (chance.uniform(-4, 4, 50_000) * 10.0 ** chance.uniform(-9, 0, 50_000)).astype("<f4")
    raw = tmp_path / "sound.f32"
    raw.write_bytes(samples.tobytes())
    sound = ("-f", "f32le", "-ar", str(RATE_HZ), "-ac", "1", "-i", str(raw))
    filters = ",".join(f"{name}={options}" for name, options in CLAMP)
    argv = [ffmpeg(), "-v", "error", *sound, "-af", filters, "-f", "f32le", "-"]
    assert subprocess.run(argv, capture_output=True, check=True).stdout == samples.tobytes()
