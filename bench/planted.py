"""Footage with moments planted in it, made from a seed: what somebody would clip, and what only looks or sounds like it.

A source is minutes of talk before a calm picture. Five moments lie in it (laughter, applause, a cheer, shouting, a burst of
motion), and distractors: loud music that goes on and on, a loud steady noise, a silence, a burst of cuts, a jingle that comes
again and again. Levels, voices, picture and order vary with the seed. Nothing here knows how TopClip measures.
"""

import subprocess
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topclip.media.binary import find_ffmpeg

LENGTH_S = 480
RATE_HZ = 24_000
FPS, WIDTH, HEIGHT = 10, 160, 90
SLOTS = 16
KINDS = ("laughter", "applause", "cheer", "shout", "motion")
DISTRACTORS = ("music", "noise", "silence", "cuts", "jingle", "jingle", "jingle")
VOWELS = (
    (730, 1090, 2440),
    (270, 2290, 3010),
    (300, 870, 2240),
    (530, 1840, 2480),
    (570, 840, 2410),
    (660, 1720, 2410),
)

Array = NDArray[Any]
Random = np.random.Generator


@dataclass(frozen=True)
class Event:
    """Something that happens in [start_s, end_s)."""

    kind: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Planted:
    """A source, its moments and its distractors."""

    path: Path
    moments: tuple[Event, ...]
    distractors: tuple[Event, ...]


def make(seed: int, folder: Path) -> Planted:
    """Make the source of a seed: an mp4 of LENGTH_S in the folder."""
    rng = np.random.default_rng(seed)
    moments, distractors = _schedule(rng)
    sound = _sound(rng, moments, distractors)
    wav, path = folder / f"planted-{seed}.wav", folder / f"planted-{seed}.mp4"
    with wave.open(str(wav), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes((np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes())
    raw = ("-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{WIDTH}x{HEIGHT}", "-r", str(FPS), "-i", "-")
    codecs = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "96k")
    command = [find_ffmpeg(""), "-v", "error", "-y", *raw, "-i", str(wav), *codecs, "-shortest", str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        for picture in _pictures(rng, moments, distractors):
            process.stdin.write(picture.tobytes())
        process.stdin.close()
    assert process.returncode == 0
    wav.unlink()
    return Planted(path, tuple(moments), tuple(distractors))


def _schedule(rng: Random) -> tuple[list[Event], list[Event]]:
    """Each in a slot of its own, the long distractors in two slots that follow each other."""
    slot_s = LENGTH_S / SLOTS
    pairs = rng.permutation(SLOTS // 2)
    first = int(pairs[0]) * 2
    events = [Event("music", first * slot_s + 3, (first + 2) * slot_s - 3)]
    rest = [int(p) * 2 + i for p in pairs[1:] for i in (0, 1)]
    slots = rng.permutation(rest)
    moments = []
    names = [*(KINDS[i] for i in rng.permutation(len(KINDS))), *DISTRACTORS[1:]]
    lengths = {"noise": (22, 27), "silence": (10, 20), "cuts": (8, 14), "jingle": (6, 6)}
    for slot, name in zip(slots.tolist(), names, strict=False):
        length_s = float(rng.uniform(*lengths.get(name, (6, 13))))
        start_s = slot * slot_s + float(rng.uniform(1, slot_s - length_s - 1))
        (moments if name in KINDS else events).append(Event(name, round(start_s, 1), round(start_s + length_s, 1)))
    return sorted(moments, key=lambda e: e.start_s), sorted(events, key=lambda e: e.start_s)


# --- sound ----------------------------------------------------------------------------------------------------


def _sound(rng: Random, moments: list[Event], distractors: list[Event]) -> Array:
    """Everything mixed. A talk's mean square is 1 before the gain."""
    n = LENGTH_S * RATE_HZ
    mix = _talk(rng, LENGTH_S, float(rng.uniform(90, 220)))
    room = rng.normal(0, 10 ** (rng.uniform(-55, -40) / 20), n)
    jingle = _music(np.random.default_rng(int(rng.integers(1 << 30))), 6.0)
    for event in distractors:
        part = _part(event, n)
        length_s = (part.stop - part.start) / RATE_HZ
        if event.kind in ("music", "jingle"):
            made = jingle if event.kind == "jingle" else _music(rng, length_s)
            mix[part] = _fitted(made, part) * (1.2 if event.kind == "jingle" else rng.uniform(2.0, 3.0))
        elif event.kind == "noise":
            mix[part] += _band(rng, part.stop - part.start, 60, 2500) * rng.uniform(1.6, 2.4)
        elif event.kind == "silence":
            mix[part] = 0
    for event in moments:
        part = _part(event, n)
        made = _moment(rng, event.kind, (part.stop - part.start) / RATE_HZ)
        if made is not None:
            mix[part] = mix[part] * rng.uniform(0.1, 0.5) + _fitted(made, part) * rng.uniform(1.2, 1.9)
    gain = 10 ** (rng.uniform(-34, -26) / 20)
    return (mix + room) * gain


def _moment(rng: Random, kind: str, length_s: float) -> Array | None:
    """The sound of a moment, mean square 1; None: as before."""
    if kind == "laughter":
        return _unit(sum(_laugher(rng, length_s) for _ in range(rng.integers(2, 6))))
    if kind == "applause":
        return _unit(_claps(rng, length_s))
    if kind == "cheer":
        n = round(length_s * RATE_HZ)
        swell = 0.5 + 0.5 * np.sin(np.linspace(0.2, np.pi - 0.2, n))
        voices = sum(_talk(rng, length_s, float(rng.uniform(200, 400)), pause=0.0) for _ in range(4))
        return _unit((_band(rng, n, 500, 5000) + 0.25 * _fitted(voices, slice(0, n))) * swell)
    if kind == "shout":
        return _unit(_talk(rng, length_s, float(rng.uniform(230, 330)), pause=0.1, tilt=0.5)) * 1.3
    return None


def _talk(rng: Random, length_s: float, pitch_hz: float, *, pause: float = 0.22, tilt: float = 1.0) -> Array:
    """Syllables: harmonics under moving formants, hisses between them, and pauses. tilt: how fast high harmonics fade."""
    n = round(length_s * RATE_HZ)
    out = np.zeros(n + RATE_HZ)
    at = 0
    while at < n:
        length = int(rng.uniform(0.11, 0.28) * RATE_HZ)
        if rng.random() < pause / 4:
            at += int(rng.uniform(0.25, 1.4) * RATE_HZ)
            continue
        hz = pitch_hz * rng.uniform(0.85, 1.2)
        voiced = _voiced(length, hz, VOWELS[rng.integers(len(VOWELS))], tilt, float(rng.uniform(-0.2, 0.2)))
        out[at : at + length] += voiced[: len(out) - at] * np.hanning(length)[: len(out) - at] * rng.uniform(0.5, 1.2)
        if rng.random() < 0.45:
            hiss = int(rng.uniform(0.04, 0.1) * RATE_HZ)
            end = min(len(out), at + length + hiss)
            out[at + length : end] += (np.diff(rng.normal(0, 0.25, hiss + 1)) * np.hanning(hiss))[: end - at - length]
        at += int(length * rng.uniform(0.85, 1.1))
    return _unit(out[:n])


def _voiced(n: int, hz: float, formants: tuple[int, ...], tilt: float, glide: float) -> Array:
    t = np.arange(n) / RATE_HZ
    phase = 2 * np.pi * hz * (t + glide * t * t)
    numbers = np.arange(1, int(5000 / hz) + 1)
    at_hz = numbers * hz
    gains = sum(np.exp(-(((at_hz - f) / (90 + 0.08 * f)) ** 2)) / (1 + i) for i, f in enumerate(formants)) + 0.02
    waves: Array = (gains / numbers ** (0.5 * tilt)) @ np.sin(numbers[:, None] * phase)
    return waves


def _laugher(rng: Random, length_s: float) -> Array:
    """One of many who laugh: rows of short breathy vowels, five or so a second, falling in pitch."""
    n = round(length_s * RATE_HZ)
    out = np.zeros(n + RATE_HZ)
    at, hz = int(rng.uniform(0, 0.4) * RATE_HZ), float(rng.uniform(220, 420))
    while at < n:
        for i in range(rng.integers(4, 9)):
            length = int(rng.uniform(0.07, 0.11) * RATE_HZ)
            if at + length > len(out):
                break
            voiced = _voiced(length, hz * (1 - 0.04 * i), VOWELS[0], 0.5, 0.0)
            breath = np.diff(rng.normal(0, 0.5, length + 1))
            out[at : at + length] += (voiced + breath) * np.hanning(length)
            at += int(RATE_HZ / rng.uniform(4.2, 5.8))
        at += int(rng.uniform(0.2, 0.6) * RATE_HZ)
    return _unit(out[:n])


def _claps(rng: Random, length_s: float) -> Array:
    n = round(length_s * RATE_HZ)
    out = np.zeros(n + 2400)
    shape = np.exp(-np.arange(480) / RATE_HZ / 0.004)
    for at in rng.integers(0, n, int(rng.uniform(30, 150) * length_s)).tolist():
        out[at : at + 480] += _band(rng, 480, 700, 6000) * shape * rng.uniform(0.3, 1)
    return out[:n]


def _music(rng: Random, length_s: float) -> Array:
    """Chords, bass drum and hi-hat at a steady beat."""
    n = round(length_s * RATE_HZ)
    t = np.arange(n) / RATE_HZ
    beat_s = 60 / rng.uniform(90, 140)
    root = rng.uniform(110, 220)
    chords = [[1, 1.26, 1.5], [1.33, 1.68, 2], [1.5, 1.89, 2.25], [0.89, 1.12, 1.33]]
    out = np.zeros(n)
    for i in range(int(length_s / beat_s / 4) + 1):
        part = slice(round(i * 4 * beat_s * RATE_HZ), min(n, round((i + 1) * 4 * beat_s * RATE_HZ)))
        for ratio in chords[i % 4]:
            out[part] += sum(np.sin(2 * np.pi * root * ratio * k * t[part]) / k for k in (1, 2, 3, 4))
    since = np.mod(t, beat_s)
    out += 3 * np.sin(2 * np.pi * 60 * since) * np.exp(-since / 0.08)
    out += np.diff(rng.normal(0, 1, n + 1)) * np.exp(-np.mod(t, beat_s / 2) / 0.02)
    return _unit(out)


def _band(rng: Random, n: int, low_hz: float, high_hz: float) -> Array:
    """Noise between two frequencies, mean square 1."""
    spectrum = np.fft.rfft(rng.normal(0, 1, n))
    hz = np.fft.rfftfreq(n, 1 / RATE_HZ)
    spectrum[(hz < low_hz) | (hz > high_hz)] = 0
    return _unit(np.fft.irfft(spectrum, n))


def _unit(samples: Array) -> Array:
    scaled: Array = samples / max(1e-9, float(np.sqrt(np.mean(np.square(samples)))))
    return scaled


def _part(event: Event, n: int) -> slice:
    return slice(round(event.start_s * RATE_HZ), min(n, round(event.end_s * RATE_HZ)))


def _fitted(samples: Array, part: slice) -> Array:
    return np.resize(samples, part.stop - part.start)


# --- pictures -------------------------------------------------------------------------------------------------


def _pictures(rng: Random, moments: list[Event], distractors: list[Event]) -> Iterator[Array]:
    """One grey picture after the other: a set, somebody who moves a little in it, and what happens."""
    sets = [_backdrop(rng) for _ in range(4)]
    burst = [_backdrop(rng) for _ in range(12)]
    jingle = _backdrop(np.random.default_rng(int(rng.integers(1 << 30))))
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    change_s = np.cumsum(rng.uniform(12, 40, 60))
    pace, size = rng.uniform(0.3, 1.2), rng.uniform(10, 22)
    for k in range(LENGTH_S * FPS):
        t = k / FPS
        kinds = {e.kind: e for e in (*moments, *distractors) if e.start_s <= t < e.end_s}
        picture = sets[int(np.searchsorted(change_s, t)) % len(sets)]
        if "cuts" in kinds:
            picture = burst[int((t - kinds["cuts"].start_s) * 1.2) % len(burst)]
        if "jingle" in kinds:
            picture = np.roll(jingle, int((t - kinds["jingle"].start_s) * 20), axis=1)
        elif "silence" not in kinds:
            speed = pace * (6 if "motion" in kinds else 1.4 if "cheer" in kinds else 1)
            cx = WIDTH / 2 + 30 * np.sin(t * speed * 0.7) + 8 * np.sin(t * speed * 2.3)
            cy = HEIGHT / 2 + 8 * np.sin(t * speed * 1.1)
            body = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * size**2))
            picture = picture + 90 * body
        if "motion" in kinds:
            picture = np.roll(picture, (int(rng.integers(-4, 5)), int(rng.integers(-9, 10))), axis=(0, 1))
        yield np.clip(picture + rng.normal(0, 1.5, picture.shape), 0, 255).astype(np.uint8)


def _backdrop(rng: Random) -> Array:
    """A picture of a few soft patches."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    picture = np.full((HEIGHT, WIDTH), rng.uniform(40, 120))
    for _ in range(9):
        spread = rng.uniform(8, 40)
        patch = np.exp(-((x - rng.uniform(0, WIDTH)) ** 2 + (y - rng.uniform(0, HEIGHT)) ** 2) / (2 * spread**2))
        picture = picture + rng.uniform(-60, 90) * patch
    clipped: Array = np.clip(picture, 0, 255)
    return clipped
