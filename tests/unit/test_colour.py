"""Colours of clips against what is computed from the source's own values, by formulas of the standards, not by FFmpeg."""

import subprocess
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.media import RATE, ffmpeg, run
from tests.unit.conftest import make_context, request_for
from topclip import run_local
from topclip.errors import EncodeError
from topclip.media.probe import probe
from topclip.model.source import Colour
from topclip.pipeline.context import StageContext
from topclip.storage.base import job_folder

Floats = NDArray[np.float64]

WIDTH, HEIGHT, PATCH = 256, 64, 32
"""Of a picture of eight patches side by side."""
PATCHES = np.array(
    [(255, 255, 255), (16, 16, 16), (128, 128, 128), (200, 40, 40), (40, 180, 60), (50, 60, 200), (220, 200, 40),
     (90, 140, 190)]
)  # fmt: skip
"""Red, green, blue of 0-255."""
LUMA = {"smpte170m": (0.299, 0.114), "bt470bg": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020nc": (0.2627, 0.0593)}
"""Shares of red and blue in grey."""
MATRIX_OF = {1: "bt709", 5: "bt470bg", 6: "smpte170m", 9: "bt2020nc"}


class Kind(NamedTuple):
    """A source of patches. pixels: by FFmpeg. tags: matrix, primaries, transfer; None: it says nothing."""

    pixels: str
    matrix: str
    primaries: str | None
    transfer: str | None
    codec: tuple[str, ...] = ("-c:v", "ffv1")
    full_range: bool = False
    size: tuple[int, int] = (WIDTH, HEIGHT)


def planes(rgb: Floats, kind: Kind) -> list[NDArray[np.uint16]]:
    """Y, Cb, Cr values of each patch."""
    red, blue = LUMA[kind.matrix]
    depth = 10 if "10" in kind.pixels else 8
    grey = rgb @ (red, 1 - red - blue, blue)
    chroma = [(rgb[:, 2] - grey) / (2 - 2 * blue), (rgb[:, 0] - grey) / (2 - 2 * red)]
    most, step = 2**depth - 1, 2 ** (depth - 8)
    scale = (most, 0.0, most, 2 ** (depth - 1)) if kind.full_range else (219 * step, 16 * step, 224 * step, 128 * step)
    return [
        np.rint(values).astype(np.uint16)
        for values in (grey * scale[0] + scale[1], *(c * scale[2] + scale[3] for c in chroma))
    ]


def picture(rgb: Floats, kind: Kind) -> bytes:
    """A frame of patches, as FFmpeg takes it raw."""
    wide = 1 if "444" in kind.pixels else 2
    high = 2 if "420" in kind.pixels else 1
    shapes = [(HEIGHT, PATCH), (HEIGHT // high, PATCH // wide), (HEIGHT // high, PATCH // wide)]
    kinds = np.dtype("<u2") if "10" in kind.pixels else np.dtype("u1")
    rows = [
        np.repeat(np.repeat(v[None].astype(kinds), w, axis=1), h, axis=0)
        for v, (h, w) in zip(planes(rgb, kind), shapes, strict=True)
    ]
    return b"".join(r.tobytes() for r in rows)


def make_source(folder: Path, rgb: Floats, kind: Kind, *more: str) -> Path:
    """Two seconds of a still frame of patches."""
    path = folder / "source.mkv"
    tags = [("-color_primaries", kind.primaries), ("-color_trc", kind.transfer)]
    said = list(chain.from_iterable((n, v) for n, v in tags if v is not None))
    if kind.primaries is not None:
        said += ["-colorspace", kind.matrix]
    said += ["-color_range", "pc" if kind.full_range else "tv"]
    raw = ["-f", "rawvideo", "-pix_fmt", kind.pixels, "-s", f"{WIDTH}x{HEIGHT}", "-r", str(RATE), *said, "-i", "-"]
    width, height = kind.size
    scale = [] if kind.size == (WIDTH, HEIGHT) else ["-vf", f"scale={width}:{height}:flags=neighbor"]
    command = [
        ffmpeg(),
        "-v",
        "error",
        "-y",
        *raw,
        *more,
        *scale,
        *kind.codec,
        "-pix_fmt",
        kind.pixels,
        *said,
        str(path),
    ]
    subprocess.run(command, input=picture(rgb, kind) * (2 * RATE), check=True)
    return path


class Seen(NamedTuple):
    """A clip's patches, red, green and blue of 0-255, as its own tags say that it is to be read; and these."""

    rgb: Floats
    tags: tuple[int, int, int, int]
    side_data: set[str]


def seen(path: Path) -> Seen:
    with av.open(str(path)) as container:
        frame = next(f for n, f in enumerate(container.decode(video=0)) if n == 3)
    assert frame.format.name == "yuv420p"
    found = []
    for n, plane in enumerate(frame.planes):
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width].astype(float)
        parts = np.array_split(rows[rows.shape[0] * 7 // 16 : rows.shape[0] * 9 // 16], 8, axis=1)
        values = np.array([np.median(p[:, p.shape[1] // 3 : p.shape[1] * 2 // 3 + 1]) for p in parts])
        found.append((values - 16) / 219 if n == 0 else (values - 128) / 224)
    tags = (int(frame.color_range), int(frame.colorspace), int(frame.color_primaries), int(frame.color_trc))
    red, blue = LUMA[MATRIX_OF[tags[1]]]
    r, b = found[0] + 2 * (1 - red) * found[2], found[0] + 2 * (1 - blue) * found[1]
    g = (found[0] - red * r - blue * b) / (1 - red - blue)
    return Seen(np.stack([r, g, b], axis=1) * 255, tags, {d.type.name for d in frame.side_data})


def clip_of(path: Path, ctx: StageContext, **options: object) -> Path:
    wanted = {"mode": "ranges", "ranges": [[0.2, 0.6]], "quality": "high", **options}
    (clip,) = run_local.run(request_for(path, **wanted), ctx).manifest.clips
    assert all(check.ok for check in clip.checks)
    with ctx.store.local_path(f"{job_folder(ctx.job_id)}/{clip.file}") as file:
        return file


STANDARD = {
    "601": (Kind("yuv420p", "smpte170m", "smpte170m", "smpte170m"), (1, 6, 6, 6)),
    "709, small": (Kind("yuv420p", "bt709", "bt709", "bt709"), (1, 1, 1, 1)),
    "709, full range": (Kind("yuv420p", "bt709", "bt709", "bt709", full_range=True), (1, 1, 1, 1)),
    "601, 10 bit 4:2:2": (Kind("yuv422p10le", "bt470bg", "bt470bg", "bt709"), (1, 5, 5, 1)),
    "709, 4:4:4": (Kind("yuv444p", "bt709", "bt709", "bt709"), (1, 1, 1, 1)),
    "2020, 10 bit": (Kind("yuv420p10le", "bt2020nc", "bt2020", "bt2020-10"), (1, 9, 9, 14)),
    "nothing said, small": (Kind("yuv420p", "smpte170m", None, None), (1, 6, 6, 6)),
    "nothing said, large": (Kind("yuv420p", "bt709", None, None, size=(1280, 320)), (1, 1, 1, 1)),
    "odd": (Kind("yuv444p", "bt709", "bt709", "bt709", size=(257, 65)), (1, 1, 1, 1)),
}


@pytest.mark.parametrize(("kind", "tags"), STANDARD.values(), ids=STANDARD)
def test_colours_of_standard_range_stay_what_they_are(
    ctx: StageContext, tmp_path: Path, kind: Kind, tags: tuple[int, ...]
) -> None:
    found = seen(clip_of(make_source(tmp_path, PATCHES / 255, kind), ctx))
    assert found.tags == tags
    assert np.abs(found.rgb - PATCHES).max() < 5


def test_blur_and_pad_keep_the_colours(ctx: StageContext, tmp_path: Path) -> None:
    source = make_source(tmp_path, PATCHES / 255, STANDARD["709, full range"][0])
    for fit in ("blur", "pad"):
        found = seen(clip_of(source, ctx, aspect="1:1", fit=fit))
        assert found.tags == (1, 1, 1, 1)
        assert np.abs(found.rgb - PATCHES).max() < 5


def test_red_green_and_blue_become_709(ctx: StageContext, tmp_path: Path) -> None:
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", str(RATE), "-i", "-"]
    path = tmp_path / "rgb.mov"
    row = np.repeat(PATCHES.astype(np.uint8), PATCH, axis=0).tobytes()
    command = [ffmpeg(), "-v", "error", "-y", *raw, "-c:v", "qtrle", str(path)]
    subprocess.run(command, input=row * (HEIGHT * 2 * RATE), check=True)
    found = seen(clip_of(path, ctx))
    assert found.tags == (1, 1, 1, 1)
    assert np.abs(found.rgb - PATCHES).max() < 5


# --- HDR ------------------------------------------------------------------------------------------------------

NITS = np.array([(0, 0, 0), (5, 5, 5), (26, 26, 26), (100, 100, 100), (203, 203, 203), (600, 600, 600), (203, 120, 90),
                 (40, 90, 160)], float)  # fmt: skip
TO_709 = np.array(
    [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]]
)


def pq(nits: Floats) -> Floats:
    """Signal of SMPTE ST 2084."""
    y = (nits / 10_000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * y) / (1 + 2392 / 128 * y)) ** (2523 / 32)


def hlg(nits: Floats) -> Floats:
    """Signal of BT.2100 HLG for a display of 1000 nits."""
    shown = nits / 1000
    grey = shown @ (0.2627, 0.678, 0.0593)
    scene = shown * np.where(grey > 0, grey, 1)[:, None] ** (1 / 1.2 - 1)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c)


def mapped(nits: Floats) -> Floats:
    """What a clip is to say, 0-255, to a display of BT.1886: straight up to 0.3 of 203 nits, a hyperbola to 1 at 1000 nits."""
    light = nits / 203 @ TO_709.T
    most, peak, knee = light.max(axis=1), 1000 / 203, 0.3
    a = -knee * knee * (peak - 1) / (knee * knee - 2 * knee + peak)
    b = (knee * knee - 2 * knee * peak + peak) / (peak - 1)
    curve = (b * b + 2 * b * knee + knee * knee) / (b - a) * (most + a) / (most + b)
    light = np.clip(light * np.where(most > knee, curve / np.maximum(most, 1e-9), 1)[:, None], 0, 1)
    return 255 * light ** (1 / 2.4)


X265 = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params")
DEEP = {
    "PQ, HEVC": (pq, "smpte2084", (*X265, "log-level=error:lossless=1:master-display="
                 "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400")),
    "HLG, VP9": (hlg, "arib-std-b67", ("-c:v", "libvpx-vp9", "-lossless", "1", "-deadline", "realtime", "-cpu-used", "8")),
    "PQ, H.264": (pq, "smpte2084", ("-c:v", "libx264", "-preset", "ultrafast", "-qp", "0")),
    "HLG, AV1": (hlg, "arib-std-b67", ("-c:v", "libsvtav1", "-preset", "12", "-crf", "4")),
}  # fmt: skip


@pytest.mark.parametrize(("signal", "transfer", "codec"), DEEP.values(), ids=DEEP)
def test_hdr_is_tone_mapped(
    ctx: StageContext, tmp_path: Path, signal: Callable[[Floats], Floats], transfer: str, codec: tuple[str, ...]
) -> None:
    source = make_source(tmp_path, signal(NITS), Kind("yuv420p10le", "bt2020nc", "bt2020", transfer, codec))
    assert probe(source).video.colour == Colour(matrix="bt2020nc", primaries="bt2020", transfer=transfer)
    found = seen(clip_of(source, ctx))
    assert found.tags == (1, 1, 1, 1)
    assert np.abs(found.rgb - mapped(NITS)).max() < 6
    assert not {name for name in found.side_data if "MASTERING" in name or "LIGHT" in name}


def test_an_ffmpeg_that_cannot_tone_map_says_what_to_do(tmp_path: Path) -> None:
    source = make_source(tmp_path, pq(NITS), Kind("yuv420p10le", "bt2020nc", "bt2020", "smpte2084"))
    poor = tmp_path / "ffmpeg"
    poor.write_text(f'#!/bin/bash\nexec "{ffmpeg()}" "${{@//zscale/nozscale}}"\n')
    poor.chmod(0o755)
    with pytest.raises(EncodeError, match="no filter nozscale") as caught:
        clip_of(source, make_context(tmp_path / "store", ffmpeg=str(poor)))
    assert "TOPCLIP_FFMPEG" in str(caught.value.hint)


# --- geometry -------------------------------------------------------------------------------------------------

CORNERS = np.array([[(230, 30, 30), (30, 200, 60)], [(40, 60, 220), (230, 220, 40)]], float)
"""Red, green; blue, yellow."""
TURNS = {
    "90": (("-display_rotation", "90"), np.rot90(CORNERS)),
    "180": (("-display_rotation", "180"), np.rot90(CORNERS, 2)),
    "270": (("-display_rotation", "270"), np.rot90(CORNERS, 3)),
    "mirrored": (("-display_hflip",), CORNERS[:, ::-1]),
    "upside down": (("-display_vflip",), CORNERS[::-1]),
    "90, mirrored": (("-display_rotation", "90", "-display_hflip"), np.rot90(CORNERS)[:, ::-1]),
    "270, mirrored": (("-display_rotation", "270", "-display_hflip"), np.rot90(CORNERS, 3)[:, ::-1]),
}  # fmt: skip


@pytest.fixture(scope="module")
def corners(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corners") / "corners.mp4"
    row = [np.repeat(np.repeat(half[None], 48, axis=0), 64, axis=1) for half in CORNERS.astype(np.uint8)]
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "128x96", "-r", str(RATE), "-i", "-"]
    code = ["-vf", "scale=out_color_matrix=bt709:out_range=tv,setsar=4/3", "-colorspace", "bt709", "-c:v", "libx264"]
    command = [ffmpeg(), "-v", "error", "-y", *raw, *code, "-preset", "ultrafast", "-pix_fmt", "yuv420p", str(path)]
    subprocess.run(command, input=np.concatenate(row).tobytes() * RATE, check=True)
    return path


@pytest.mark.parametrize(("matrix", "wanted"), TURNS.values(), ids=TURNS)
def test_a_turned_or_mirrored_anamorphic_picture_comes_out_as_a_player_shows_it(
    corners: Path, ctx: StageContext, tmp_path: Path, matrix: tuple[str, ...], wanted: Floats
) -> None:
    source = tmp_path / "turned.mp4"
    run(*matrix, "-i", corners, "-c", "copy", source)
    with av.open(str(clip_of(source, ctx))) as container:
        frame = next(container.decode(video=0))
    is_on_its_side = "90" in matrix or "270" in matrix
    assert (frame.width, frame.height) == ((96, 170) if is_on_its_side else (170, 96))
    found = frame.to_ndarray(format="rgb24")
    rows, columns = (found.shape[0] // 4, found.shape[0] * 3 // 4), (found.shape[1] // 4, found.shape[1] * 3 // 4)
    assert np.abs(found[np.ix_(rows, columns)] - wanted).max() < 12


# --- interlaced -----------------------------------------------------------------------------------------------

MOVING = "geq=lum='if(lt(mod(X+8*N,64),32),60,200)':cb=128:cr=128"
FIELDS = {"tff": "interleave_top", "bff": "interleave_bottom"}


def comb(path: Path, first: int) -> float:
    """How much more a row differs from the next than from the one after that: large where two moments are woven."""
    with av.open(str(path)) as container:
        frames = [
            f.to_ndarray()[: f.height].astype(float) for n, f in enumerate(container.decode(video=0)) if n >= first
        ]
    inner = np.stack(frames)[1:-1, 8:-8]
    return float(np.abs(np.diff(inner, axis=1)).mean() / (np.abs(inner[:, 2:] - inner[:, :-2]).mean() + 0.5))


def interlaced(path: Path, order: str, *code: str) -> None:
    weave = f"{MOVING},tinterlace={FIELDS[order]},setfield={order}"
    source = ("-f", "lavfi", "-t", "2", "-i", f"color=c=gray:s=192x96:r=50,format=yuv420p,{weave}")
    run(*source, *code, path)


X264_FIELDS = ("-c:v", "libx264", "-preset", "ultrafast", "-flags", "+ilme+ildct", "-x264-params")
WOVEN = {
    "MPEG-2": ("tff", "mpg", ("-c:v", "mpeg2video", "-q:v", "3", "-flags", "+ilme+ildct")),
    "H.264, bottom first": ("bff", "mp4", (*X264_FIELDS, "bff=1")),
}


@pytest.mark.parametrize(("order", "suffix", "code"), WOVEN.values(), ids=WOVEN)
def test_two_fields_of_a_frame_are_no_comb_and_no_two_frames(
    ctx: StageContext, tmp_path: Path, order: str, suffix: str, code: tuple[str, ...]
) -> None:
    path = tmp_path / f"source.{suffix}"
    interlaced(path, order, *code)
    assert probe(path).video.interlaced
    assert comb(path, 0) > 2
    file = clip_of(path, ctx, ranges=[[0.2, 1.2]])
    assert comb(file, 0) < 1
    with av.open(str(file)) as container:
        assert sum(1 for _ in container.decode(video=0)) == RATE


def test_a_recording_that_turns_interlaced_later_is_woven_nowhere(ctx: StageContext, tmp_path: Path) -> None:
    parts = [tmp_path / "one.ts", tmp_path / "two.ts"]
    still = ("-f", "lavfi", "-t", "2", "-i", f"color=c=gray:s=192x96:r=25,format=yuv420p,{MOVING}")
    run(*still, "-c:v", "libx264", "-preset", "ultrafast", parts[0])
    interlaced(parts[1], "tff", *X264_FIELDS, "tff=1", "-output_ts_offset", "2")
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert not probe(path).video.interlaced
    file = clip_of(path, ctx, ranges=[[1.0, 3.6]])
    assert comb(file, 30) < 1


@pytest.mark.parametrize(("container", "begins_with"), [("ts", "hdr"), ("mkv", "sdr")])
def test_a_part_of_other_colours_in_a_joined_recording_is_read_by_its_own(
    tmp_path: Path, container: str, begins_with: str
) -> None:
    """Parts of 4 s; the middle one is of the other kind."""
    parts = {}
    for name, tags in {"sdr": "bt709", "hdr": "smpte2084"}.items():
        parts[name] = tmp_path / f"{name}.ts"
        space = "bt709" if name == "sdr" else "bt2020nc"
        colours = ("-color_primaries", space.removesuffix("nc"), "-color_trc", tags, "-colorspace", space)
        x265 = f"log-level=error:keyint=25:colorprim={space.removesuffix('nc')}:transfer={tags}:colormatrix={space}"
        picture = ("-f", "lavfi", "-i", "testsrc2=s=128x72:r=25:d=4", "-pix_fmt", "yuv420p10le", "-c:v", "libx265")
        run(*picture, "-preset", "ultrafast", "-x265-params", x265, *colours, parts[name])
    other = "sdr" if begins_with == "hdr" else "hdr"
    listed, joined = tmp_path / "parts.txt", tmp_path / f"joined.{container}"
    listed.write_text("".join(f"file '{parts[name]}'\n" for name in (begins_with, other, begins_with)))
    run("-f", "concat", "-safe", "0", "-i", listed, "-c", "copy", joined)

    def clip(path: Path, span: list[int]) -> Seen:
        return seen(clip_of(path, make_context(tmp_path / "store"), ranges=[span]))

    alone = {name: clip(path, [1, 3]) for name, path in parts.items()}
    assert np.abs(alone["sdr"].rgb - alone["hdr"].rgb).mean() > 6
    for name, span in ((begins_with, [1, 3]), (other, [5, 7]), (begins_with, [9, 11])):
        found = clip(joined, span)
        assert np.abs(found.rgb - alone[name].rgb).mean() < 3, (name, span)
    wanted = request_for(joined, mode="ranges", ranges=[[2, 6], [4.5, 7.5], [2, 10]])
    mixed = run_local.run(wanted, make_context(tmp_path / "store")).manifest.clips
    assert [any("colours become others" in text for text in clip.warnings) for clip in mixed] == [True, False, True]
