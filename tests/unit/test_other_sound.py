"""Sound that becomes another in mid-file: recordings joined into one, and damage."""

from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.media import run
from tests.unit.conftest import make_context, request_for
from topclip import run_local
from topclip.media.probe import probe
from topclip.media.undecoded import undecoded_s
from topclip.model.manifest import ManifestClip
from topclip.pipeline.cut import cut_range
from topclip.storage.base import job_folder

RATE_HZ = 48_000
SEAM_S = 4.0
ON = "gt(mod(t\\,0.5)\\,0.25)"
CHANGES = {
    "rate": ("-ar", "44100"),
    "channels": ("-ac", "1"),
    "all": ("-vf", "scale=480:270", "-ar", "44100", "-ac", "1"),
}


def joined(folder: Path, change: tuple[str, ...]) -> Path:
    """Two recordings in one file, on one clock; sound that comes and goes twice a second."""
    path = folder / "joined.ts"
    with path.open("wb") as file:
        for n, more in enumerate(((), change)):
            part = folder / f"{n}.ts"
            pictures = ("-f", "lavfi", "-i", f"testsrc2=s=320x180:r=25:d={SEAM_S}")
            sound = ("-f", "lavfi", "-i", f"aevalsrc=0.2*sin(2764*t)*{ON}:s={RATE_HZ}:d={SEAM_S}")
            code = ("-c:v", "libx264", "-g", "25", "-pix_fmt", "yuv420p", "-c:a", "aac", "-ac", "2")
            run(*pictures, *sound, *code, *more, "-output_ts_offset", str(1 + SEAM_S * n), part)
            file.write(part.read_bytes())
    return path


def levels(path: Path) -> NDArray[np.float64]:
    """RMS of each 50 ms of a clip's sound, of all that comes out of it, whatever times it has."""
    with av.open(str(path)) as container:
        (stream,) = container.streams.audio
        frames = [frame.to_ndarray()[0] for frame in container.decode(stream)]
    samples = np.concatenate(frames)
    n = RATE_HZ // 20
    found: NDArray[np.float64] = np.sqrt(np.mean(samples[: len(samples) // n * n].reshape(-1, n) ** 2, axis=1))
    return found


def clip_of(path: Path, folder: Path, start_s: float, end_s: float) -> tuple[ManifestClip, Path]:
    ctx = make_context(folder / "store")
    (clip,) = run_local.run(request_for(path, mode="ranges", ranges=[[start_s, end_s]]), ctx).manifest.clips
    with ctx.store.local_path(f"{job_folder(ctx.job_id)}/{clip.file}") as made:
        copy = folder / "clip.mp4"
        copy.write_bytes(made.read_bytes())
    return clip, copy


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_sound_is_in_step_behind_the_place_where_it_becomes_another(tmp_path: Path, change: tuple[str, ...]) -> None:
    source = joined(tmp_path, change)
    clip, path = clip_of(source, tmp_path, 2, 6)
    assert clip.frames == 100
    cut = tmp_path / "cut.mp4"
    assert cut_range(source, 2.0, 6.0, cut, make_context(tmp_path / "store")).frames == 100
    for made in (path, cut):
        heard = levels(made)
        assert 4.0 <= len(heard) / 20 < 4.1
        is_on = heard > heard.max() / 4
        wanted = np.arange(len(heard)) % 10 >= 5
        assert np.mean(is_on[:80] == wanted[:80]) > 0.9


def test_sound_that_does_not_decode_is_told_of(tmp_path: Path) -> None:
    source = joined(tmp_path, ())
    whole = tmp_path / "whole.mp4"
    run("-i", source, "-c", "copy", whole)
    content = bytearray(whole.read_bytes())
    noise = np.random.default_rng(7)
    with av.open(str(whole)) as container:
        for packet in container.demux(container.streams.audio[0]):
            if packet.size and packet.pts is not None and 3.0 <= packet.pts * packet.time_base < 7.0:
                content[packet.pos : packet.pos + packet.size] = noise.bytes(packet.size)
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(content)
    clip, _ = clip_of(damaged, tmp_path, 2, 6)
    assert any("cannot be decoded" in said for said in clip.warnings)
    clip, _ = clip_of(whole, tmp_path, 2, 6)
    assert clip.warnings == ()


def test_sound_is_looked_for_within_the_range_alone(tmp_path: Path) -> None:
    """Also where it has ended long before: the pictures tell how far to read."""
    source, n_packets = tmp_path / "early.mp4", list[None]()
    pictures, sound = "testsrc2=s=64x48:r=25:d=60", f"sine=f=440:r={RATE_HZ}:d=5"
    run("-f", "lavfi", "-i", pictures, "-f", "lavfi", "-i", sound, "-c:v", "libx264", "-g", "25", "-c:a", "aac", source)
    assert undecoded_s(source, probe(source), (3.0, 8.0), 10**6, lambda: n_packets.append(None)) == 0.0
    assert 100 < len(n_packets) < 500  # of 1735


def test_sound_that_damage_makes_longer_is_brought_to_its_length(tmp_path: Path) -> None:
    """By its header a damaged packet may be of half the rate."""
    source, damaged = tmp_path / "whole.mkv", tmp_path / "damaged.ts"
    pictures, tone = "testsrc2=s=160x90:r=25:d=10", f"aevalsrc=0.2*sin(2764*t)|0.2*sin(2764*t):s={RATE_HZ}:d=10"
    coded = ("-c:v", "libx264", "-g", "25", "-pix_fmt", "yuv420p", "-c:a", "mp2")
    run("-f", "lavfi", "-i", pictures, "-f", "lavfi", "-i", tone, *coded, source)
    run("-i", source, "-c", "copy", "-bsf:a", "noise=amount=20", damaged)
    clip, made = clip_of(damaged, tmp_path, 4, 9)
    assert all(check.ok for check in clip.checks)
    assert len(levels(made)) / 20 == pytest.approx(5, abs=0.1)
