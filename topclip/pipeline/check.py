"""Compare what was found in a rendered clip with what was wanted, check by check. Pure.

A clip shows what its source shows: one that is black, stands still or is silent is wrong only where the source's range is not.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from topclip.analysers.loudness import ABSOLUTE_GATE_LUFS, integrated_lufs
from topclip.media.colour import clip_colour
from topclip.media.look import PIXEL_FORMAT, Found, Sound
from topclip.model.clip import Check, ClipSpec
from topclip.model.geometry import clip_geometry
from topclip.model.source import Colour, SourceInfo

LOUDNESS_TOLERANCE_LU = 0.5
MOST_PEAK_DB = -1.0
"""dBTP."""
START_TOLERANCE_S = 0.03
AUDIO_END_TOLERANCE_S = 0.1
SHARE_TOLERANCE = 0.1
SHARE_TOLERANCE_S = 0.5
"""Beside the share: of a clip of two seconds half a second may differ."""
SOUND_CHECKS = frozenset({"sound_length", "loudness", "true_peak"})
"""Those that other sound may mend."""


def check_clip(found: Found, info: SourceInfo, spec: ClipSpec, *, at_limit: bool) -> tuple[Check, ...]:
    """Compare a file with its spec.

    at_limit: the gain is as large as it may be, so that a quieter clip than wanted is right.
    """
    return (*_picture_checks(found, info, spec), *_sound_checks(found, info, spec, at_limit=at_limit))


def _picture_checks(found: Found, info: SourceInfo, spec: ClipSpec) -> Iterator[Check]:
    pictures = found.pictures
    codecs = ("h264",) if info.audio is None else ("h264", "aac")
    yield _equal("streams", list(found.codecs), list(codecs))
    yield _equal("pixel_format", found.pixel_format, PIXEL_FORMAT)
    if found.colour is not None:
        yield _equal("colour", _said(found.colour), _said(clip_colour(info.video)))
    yield _equal("size", list(found.size), list(clip_geometry(info.video, spec).canvas))
    yield Check(name="decodes", ok=pictures.fault is None, found=pictures.fault, wanted=None)
    yield _equal("frames", pictures.n_frames, spec.frames)
    yield _near("duration", pictures.end_s - pictures.start_s, spec.end_s - spec.start_s, info.slack_s)
    if spec.shares is not None:
        yield _no_more("black", pictures.black, spec.shares.black, spec)
        yield _no_more("frozen", pictures.frozen, spec.shares.frozen, spec)


def _sound_checks(found: Found, info: SourceInfo, spec: ClipSpec, *, at_limit: bool) -> Iterator[Check]:
    sound = found.sound
    if info.audio is None or sound is None:
        return
    pictures_s = found.pictures.start_s
    yield _near("starts_together", sound.start_s, pictures_s, START_TOLERANCE_S)
    yield _near("ends_together", sound.end_s, pictures_s + spec.end_s - spec.start_s, AUDIO_END_TOLERANCE_S)
    yield _near("sound_length", sound.heard_s, sound.end_s - sound.start_s, AUDIO_END_TOLERANCE_S)
    if spec.shares is not None:
        yield _no_more("silent", silent_share(sound), spec.shares.silent, spec)
    if spec.source_loudness is None:
        return
    loudness = integrated_lufs(sound.momentary_lufs)
    difference = -np.inf if loudness is None else loudness - spec.loudness
    is_ok = abs(difference) <= LOUDNESS_TOLERANCE_LU or (at_limit and loudness is not None and difference < 0)
    heard = None if loudness is None else round(loudness, 2)
    yield Check(name="loudness", ok=bool(is_ok), found=heard, wanted=spec.loudness)
    is_ok = sound.true_peak_db <= MOST_PEAK_DB
    yield Check(name="true_peak", ok=is_ok, found=round(sound.true_peak_db, 2), wanted=MOST_PEAK_DB)


def _said(colour: Colour) -> str:
    """A colour in one line, as ffprobe orders it."""
    return f"{'pc' if colour.full_range else 'tv'}, {colour.matrix}/{colour.primaries}/{colour.transfer}"


def silent_share(sound: Sound) -> float:
    """Share of the sound that nobody hears, 0-1."""
    known = sound.momentary_lufs[np.isfinite(sound.momentary_lufs)]
    return float(np.mean(known <= ABSOLUTE_GATE_LUFS)) if len(known) else 0.0


WORDS = {
    "decodes": "it breaks off: {found}",
    "colour": "it says of its colours {found}, wanted {wanted}",
    "black": "{found:.0%} of it is black, of the source {wanted:.0%} at most",
    "frozen": "the picture stands still for {found:.0%} of it, in the source for {wanted:.0%} at most",
    "silent": "{found:.0%} of it is silent, of the source {wanted:.0%} at most",
    "loudness": "its loudness is {found} LUFS, wanted {wanted}",
    "true_peak": "its true peak is {found} dBTP, wanted {wanted} at most",
    "sound_length": "its sound lasts {found:.2f} s, and is to be heard for {wanted:.2f} s",
    "frames": "it has {found} frames, wanted {wanted}",
}


def in_words(check: Check) -> str:
    """What a failed check says of the clip."""
    if check.name == "loudness" and check.found is None:
        return "it is silent, although the source can be heard here"
    words = WORDS.get(check.name, f"{check.name} is {{found}}, wanted {{wanted}}")
    return words.format(found=check.found, wanted=check.wanted)


def warnings_of(checks: Sequence[Check]) -> tuple[str, ...]:
    """What a person should know of a clip that passed: it may be quieter than wanted, for reasons that no repair changes."""
    return tuple(
        f"its loudness is {check.found} LUFS, wanted {check.wanted}: as loud as its peaks and the greatest gain allow"
        for check in checks
        if check.name == "loudness" and check.ok and _is_quieter(check)
    )


def _is_quieter(check: Check) -> bool:
    return bool(check.found < check.wanted - LOUDNESS_TOLERANCE_LU - 0.01)  # found is rounded


def _equal(name: str, found: object, wanted: object) -> Check:
    return Check(name=name, ok=found == wanted, found=found, wanted=wanted)


def _near(name: str, found: float, wanted: float, tolerance: float) -> Check:
    is_ok = abs(found - wanted) <= tolerance + 1e-6
    return Check(name=name, ok=is_ok, found=round(found, 6), wanted=round(wanted, 6))


def _no_more(name: str, found: float, of_source: float, spec: ClipSpec) -> Check:
    """A share of the clip against that of its range of the source."""
    tolerance = SHARE_TOLERANCE + SHARE_TOLERANCE_S / max(SHARE_TOLERANCE_S, spec.end_s - spec.start_s)
    return Check(name=name, ok=found <= of_source + tolerance, found=round(found, 3), wanted=round(of_source, 3))
