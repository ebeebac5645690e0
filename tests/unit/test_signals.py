"""Each analyser on sounds and pictures made by hand: what it must tell apart, and what all of them keep."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from topclip.analysers import ANALYSERS
from topclip.analysers.fingerprint import fingerprints
from topclip.analysers.frames import FrameNumbers
from topclip.analysers.tracks import N_BANDS, Array, SoundNumbers, Tracks
from topclip.media.spectrum import BAND_EDGES_HZ, spectra
from topclip.model.request import Weights

RATE_HZ = 48_000
FPS = 5
NO_CUTS = np.empty(0, np.int64)
NO_SOUND: dict[str, Any] = {
    "loudness_lufs": np.empty(0, np.float32),
    "levels_db": np.empty(0, np.float32),
    "spectra": np.empty((0, N_BANDS + 1), np.uint8),
}


def sound_numbers(mono: Array) -> dict[str, Array]:
    """The sound's part of Tracks, by blocks of 100 ms; its momentary loudness is the level, near enough."""
    numbers = SoundNumbers(0.0, len(mono) / RATE_HZ)
    stereo = np.repeat(mono.astype(np.float32), 2).reshape(-1, 2, 4800)
    for k, block in enumerate(stereo):
        level_db = 10 * np.log10(np.maximum(np.mean(np.square(block), axis=1), 1e-12))
        numbers.add(k / 10, float(level_db.mean()), level_db, spectra(block, RATE_HZ))
    return numbers.arrays()


def tracks_of(mono: Array, pictures: Array | None = None) -> Tracks:
    """Tracks of a sound, before a still picture unless others are given: uint8 (n, rows, columns), FPS a second."""
    shown = np.zeros((int(len(mono) / RATE_HZ * FPS), 36, 64), np.uint8) if pictures is None else pictures
    frames = FrameNumbers()
    for k, picture in enumerate(shown):
        frames.add(k, picture, is_owned=True)
    return Tracks(**frames.arrays(), **sound_numbers(mono), n_corrupt=np.zeros(1, np.int64))


def values(name: str, tracks: Tracks) -> Array:
    signal = ANALYSERS[name](tracks, NO_CUTS, 1 / FPS)
    assert signal is not None
    return signal.values


def mean(name: str, tracks: Tracks, start_s: float, end_s: float) -> float:
    return float(values(name, tracks)[round(start_s * 2) : round(end_s * 2)].mean())


def time_s(length_s: float) -> Array:
    return np.arange(round(length_s * RATE_HZ)) / RATE_HZ


def voice(length_s: float, gain: float = 0.1) -> Array:
    """Four syllables a second, each a row of harmonics."""
    t = time_s(length_s)
    harmonics = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 16))
    return gain * harmonics * np.maximum(0, np.sin(2 * np.pi * 2 * t)) ** 2


def noise(length_s: float, gain: float = 0.1, seed: int = 1) -> Array:
    return gain * np.random.default_rng(seed).normal(0, 1, round(length_s * RATE_HZ))


@pytest.mark.parametrize("name", ANALYSERS)
def test_an_analyser_keeps_the_contract(name: str) -> None:
    pictures = np.random.default_rng(3).integers(0, 255, (70 * FPS, 36, 64)).astype(np.uint8)
    tracks = tracks_of(np.concatenate([voice(40), noise(30)]), pictures)
    signal = ANALYSERS[name](tracks, np.array([100]), 1 / FPS)
    assert signal is not None
    assert (signal.name, signal.values.dtype) == (name, np.float32)
    assert name in Weights.model_fields
    assert (0.5 / signal.hop_s).is_integer()
    assert len(signal.values) * signal.hop_s == pytest.approx(70, abs=1)
    assert np.isfinite(signal.values).mean() > 0.99
    again = ANALYSERS[name](tracks, np.array([100]), 1 / FPS)
    assert again is not None
    assert again.values.tobytes() == signal.values.tobytes()


@pytest.mark.parametrize("name", ANALYSERS)
def test_an_analyser_without_its_matter_has_no_signal(name: str) -> None:
    nothing = Tracks(**FrameNumbers().arrays(), **NO_SOUND, n_corrupt=np.zeros(1, np.int64))
    assert ANALYSERS[name](nothing, NO_CUTS, 1 / FPS) is None


@pytest.mark.parametrize("band", range(N_BANDS))
def test_a_note_lies_in_its_band(band: int) -> None:
    hz = (BAND_EDGES_HZ[band] * BAND_EDGES_HZ[band + 1]) ** 0.5
    found = tracks_of(np.sin(2 * np.pi * hz * time_s(1))).spectra[4]
    assert np.argmax(found[:N_BANDS]) == band
    assert found[band] / 2 - 120 == pytest.approx(-4, abs=1.5)  # the mix of pairs takes 2 dB of the highest


def test_noise_is_noisy_and_a_note_is_not() -> None:
    assert tracks_of(noise(1)).spectra[:, N_BANDS].mean() > 180
    assert tracks_of(np.sin(2 * np.pi * 1000 * time_s(1))).spectra[:, N_BANDS].mean() < 25


def test_what_was_never_heard_is_silent() -> None:
    numbers = SoundNumbers(0.0, 1.0)
    assert not numbers.arrays()["spectra"].any()


def test_a_burst_surprises_and_what_stays_does_not() -> None:
    tracks = tracks_of(np.concatenate([voice(60), noise(8, 0.6), voice(60), noise(60, 0.6), voice(30)]))
    assert mean("surprise", tracks, 61, 67) > 8
    assert abs(mean("surprise", tracks, 150, 185)) < 1
    assert np.argmax(values("loudness", tracks)) > 600


def test_talk_after_a_silence_is_no_surprise() -> None:
    tracks = tracks_of(np.concatenate([voice(60), np.zeros(25 * RATE_HZ), voice(60)]))
    assert mean("surprise", tracks, 95, 120) < 3


def test_a_voice_is_speech_and_noise_notes_and_silence_are_not() -> None:
    parts = [voice(20), noise(20), 0.2 * np.sin(2 * np.pi * 500 * time_s(20)), np.zeros(20 * RATE_HZ)]
    tracks = tracks_of(np.concatenate(parts))
    heard = [mean("speech", tracks, 20 * i + 3, 20 * i + 17) for i in range(4)]
    assert heard[0] > 0.5
    assert max(heard[1:]) < 0.1


def test_applause_is_a_crowd_and_a_voice_or_hiss_in_a_pause_is_not() -> None:
    tracks = tracks_of(np.concatenate([voice(20), noise(20), noise(20, 0.0005), voice(20)]))
    talk, applause, hiss = (mean("crowd", tracks, 20 * i + 3, 20 * i + 17) for i in range(3))
    assert applause > talk + 10
    assert applause > hiss + 10


def test_beats_are_onsets_and_a_held_note_has_none() -> None:
    beats = np.zeros(20 * RATE_HZ)
    for at in range(0, len(beats), RATE_HZ // 4):
        beats[at : at + 2400] = noise(0.05, 0.3)
    tracks = tracks_of(np.concatenate([beats, 0.2 * np.sin(2 * np.pi * 500 * time_s(20))]))
    assert mean("onsets", tracks, 4, 16) == pytest.approx(4, abs=0.5)
    assert mean("onsets", tracks, 24, 36) < 0.2


def test_what_comes_again_is_less_novel() -> None:
    jingle = np.sin(2 * np.pi * np.array([300, 900, 2500, 5000]).repeat(2 * RATE_HZ) * time_s(8)) * 0.3
    fresh = np.sin(2 * np.pi * np.array([500, 1500, 200, 7000]).repeat(2 * RATE_HZ) * time_s(8)) * 0.3
    gaps = [voice(22), voice(30, 0.05), noise(25, 0.02), voice(40, 0.2)]
    tracks = tracks_of(np.concatenate([gaps[0], jingle, gaps[1], jingle, gaps[2], fresh, gaps[3]]))
    assert mean("novelty", tracks, 23, 29) < 0.8 * mean("novelty", tracks, 94, 100)


def test_a_source_of_a_moment_has_no_novelty() -> None:
    assert ANALYSERS["novelty"](tracks_of(voice(20)), NO_CUTS, 1 / FPS) is None


def test_a_picture_that_stands_lends_its_tones_to_the_seconds_after() -> None:
    pictures = np.full((10 * FPS, 36, 64), 100, np.uint8)
    tracks = tracks_of(voice(10), pictures)
    keep = np.r_[0:5, 40:50]
    slides = replace(
        tracks, **{name: getattr(tracks, name)[keep] for name in ("pts", "differences", "layouts", "tones")}
    )
    found = fingerprints(slides, NO_CUTS, 1 / FPS)[:, N_BANDS:-1]
    assert len(found) == 10
    assert (found == found[0]).all()
    assert found[0].max() == 16
