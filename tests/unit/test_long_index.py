"""A long index is not loaded whole, and nothing comes out otherwise for that."""

import contextlib
import hashlib
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.media import X264, Media, run
from tests.unit.conftest import make_context
from topclip.errors import MediaError
from topclip.media import long_index, moov, sample_tables
from topclip.media.boxes import Runs, Unusual, run_table
from topclip.media.decode import Faults, Picture, Span, decode_span
from topclip.media.keys import span_starts
from topclip.media.opening import open_media
from topclip.media.part import Part
from topclip.media.probe import probe
from topclip.media.seek import seek_lead_s
from topclip.media.skim import Effort
from topclip.model.source import SourceInfo
from topclip.pipeline.cut import cut_range

MAX_PIXELS = 10**7
TIMES = 3
"""So often a source of 24 s comes in one file."""
SOUND = ("-c:a", "aac", "-b:a", "64k")
SOURCES: dict[str, tuple[str, ...]] = {
    "closed.mp4": (*X264, "-bf", "2", "-g", "50", *SOUND),
    "open.mp4": (
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
        "-g",
        "75",
        "-bf",
        "3",
        "-x264-params",
        "open-gop=1",
        *SOUND,
    ),
    "index_first.mp4": (*X264, "-g", "50", *SOUND, "-movflags", "faststart"),
    "fine_clock.mp4": (*X264, "-g", "50", *SOUND, "-video_track_timescale", "10000000"),
    "samples.mov": (*X264, "-g", "50", "-c:a", "pcm_s16le"),
    "all_keys.mp4": ("-c:v", "mjpeg", *SOUND),
    "mpeg4.mp4": ("-c:v", "mpeg4", "-g", "25", *SOUND),
    "uneven.mp4": ("-vf", "select='mod(floor(n/17),3)'", "-fps_mode", "vfr", *X264, "-g", "48", *SOUND),
}

TOLD_APART = ("index_first.mp4", "uneven.mp4")
"""The others take long."""


@pytest.fixture(scope="module")
def film(media: Media, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("films")

    def made(name: str) -> Path:
        path = folder / name
        if path.exists():
            return path
        if name == "edited.mp4":  # begins between key frames, which its edit list hides
            run("-ss", "7.3", "-i", made("closed.mp4"), "-c", "copy", path)
        elif name == "late.mp4":  # whose picture begins three seconds after its sound
            source = made("closed.mp4")
            run("-itsoffset", "3", "-i", source, "-i", source, "-map", "0:v", "-map", "1:a", "-c", "copy", path)
        else:
            run("-stream_loop", str(TIMES - 1), "-i", media("base.mp4"), *SOURCES[name], path)
        return path

    return made


@pytest.fixture
def shortened(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Any index is long here; tells of each whether it was shortened."""
    monkeypatch.setattr(moov, "LONG_BYTES", 0)
    monkeypatch.setattr(sample_tables, "LONG_SAMPLES", 0)
    told: list[bool] = []
    open_parts = long_index.open_parts

    def counted(*args: Any) -> Any:
        file = open_parts(*args)
        told.append(file is not None)
        return file

    monkeypatch.setattr(long_index, "open_parts", counted)
    return told


def decoded(path: Path, info: SourceInfo, span: Span, effort: Effort) -> str:
    """All that comes out of a span."""
    faults, digest = Faults(), hashlib.sha256()
    for item in decode_span(path, info, span, faults, max_pixels=MAX_PIXELS, effort=effort):
        seen = isinstance(item, Picture)
        digest.update(repr(item.pts if seen else (item.start_s, item.momentary_lufs, item.peak)).encode())
        digest.update((item.thumb if seen else item.levels_db).tobytes())
    assert not faults.n_corrupt
    return digest.hexdigest()


def all_of(path: Path) -> list[object]:
    """What is found in a file: its facts, key frames to begin at, and what comes out of spans."""
    info = probe(path)
    keys = span_starts(path, info, 6, MAX_PIXELS, lambda: None)
    middle, end = (info.video.start_pts + round(at_s / info.video.tick) for at_s in (41.1, 45.7))
    spans = [Span(middle, end)]
    at_keys = [Span(a, b, is_at_key=True) for a, b in zip(keys[2:], [*keys[3:], None], strict=True)]
    return [
        info,
        keys,
        [decoded(path, info, span, Effort.WHOLE) for span in spans],
        [decoded(path, info, span, Effort.TELLING) for span in at_keys],
        [seek_lead_s(path, info, middle + n * 997, MAX_PIXELS) for n in range(4)],
    ]


@pytest.mark.parametrize(
    "name",
    [
        *(pytest.param(name, marks=pytest.mark.faults) for name in SOURCES if name not in TOLD_APART),
        *TOLD_APART,
        "edited.mp4",
        "late.mp4",
    ],
)
def test_all_is_as_with_the_whole_index(
    film: Callable[[str], Path], name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = film(name)
    whole = all_of(path)
    shortened: list[bool] = request.getfixturevalue("shortened")
    monkeypatch.setattr(sample_tables, "MOST_TICKS", 200_000_000)  # 20 s of the finest clock
    assert all_of(path) == whole
    assert any(shortened)


def n_entries(path: Path, parts: list[Part] | None) -> list[int]:
    with open_media(path, MAX_PIXELS, parts=parts) as container:
        return [len(stream.index_entries) for stream in container.streams]


@pytest.mark.usefixtures("shortened")
def test_what_is_not_read_is_not_in_the_index(film: Callable[[str], Path]) -> None:
    path = film("closed.mp4")
    whole, part = n_entries(path, None), n_entries(path, [Part(40.0, 41.0, margin_s=0.5)])
    assert all(few < 0.3 * many for few, many in zip(part, whole, strict=True))
    assert n_entries(path, [Part(0.0, 200.0)]) == whole


def test_a_smart_cut_is_the_same(film: Callable[[str], Path], tmp_path: Path, request: pytest.FixtureRequest) -> None:
    path = film("closed.mp4")
    ctx = make_context(tmp_path)
    cuts = [tmp_path / "whole.mp4", tmp_path / "parts.mp4"]
    assert cut_range(path, 41.3, 47.9, cuts[0], ctx).method == "smart"
    shortened: list[bool] = request.getfixturevalue("shortened")
    assert cut_range(path, 41.3, 47.9, cuts[1], ctx).method == "smart"
    assert cuts[0].read_bytes() == cuts[1].read_bytes()
    assert sum(shortened) > 3


def test_what_cannot_be_shortened_is_read_as_it_is(
    film: Callable[[str], Path], tmp_path: Path, shortened: list[bool]
) -> None:
    """Such as an edit list with less in it than it says."""
    content = film("edited.mp4").read_bytes()
    n_edits = content.index(b"elst") + 8
    assert content[n_edits : n_edits + 4] == b"\0\0\0\1"
    path = tmp_path / "two.mp4"
    path.write_bytes(content[:n_edits] + b"\0\0\0\2" + content[n_edits + 4 :])
    assert probe(path).duration_s > 60
    assert shortened
    assert not any(shortened)


def test_a_count_that_is_a_lie_takes_no_memory(
    film: Callable[[str], Path], tmp_path: Path, shortened: list[bool]
) -> None:
    content = bytearray(film("closed.mp4").read_bytes())
    at = content.index(b"stsz") + 12
    content[at : at + 4] = (300_000_000).to_bytes(4, "big")
    path = tmp_path / "lie.mp4"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with contextlib.suppress(MediaError):
            span_starts(path, probe(path), 6, MAX_PIXELS, lambda: None)
        assert tracemalloc.get_traced_memory()[1] < 50 << 20
    finally:
        tracemalloc.stop()
    assert not any(shortened)


def test_an_index_of_endless_times_is_read_as_it_is(
    film: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, shortened: list[bool]
) -> None:
    """Each sample may last for hours by what it says."""
    monkeypatch.setattr(sample_tables, "MOST_TICKS", 20_000)
    path, part = film("closed.mp4"), [Part(40.0, 41.0, margin_s=0.5)]
    assert n_entries(path, part) < n_entries(path, None)
    monkeypatch.setattr(sample_tables, "MOST_STOPS", 10)
    assert n_entries(path, part) == n_entries(path, None)
    assert shortened == [True, False]


def test_a_short_index_is_read_as_it_is(film: Callable[[str], Path]) -> None:
    assert moov.long_index(film("closed.mp4")) is None


def test_an_index_in_pieces_is_read_as_it_is(media: Media, tmp_path: Path, shortened: list[bool]) -> None:
    pieces = tmp_path / "pieces.mp4"
    run("-i", media("base.mp4"), "-c", "copy", "-movflags", "frag_keyframe+empty_moov", pieces)
    assert probe(pieces).duration_s == pytest.approx(24, abs=0.1)
    assert shortened
    assert not any(shortened)


def test_a_table_of_runs_is_what_it_spreads_to() -> None:
    rng = np.random.default_rng(5)
    for n in (1, 7, 400):
        values = np.repeat(rng.integers(0, 9, n), rng.integers(1, 6, n))
        table = memoryview(run_table(b"stts", bytes(4), values))[8:]
        runs, sums = Runs(table, 4, len(values)), np.cumsum(values) - values
        places = rng.integers(0, len(values), 50)
        assert np.array_equal(runs.at(places), values[places])
        assert np.array_equal(runs.before(places), sums[places])
        for total in (-1, 0, 3, *rng.integers(0, sums[-1] + 9, 20)):
            assert runs.reaching(int(total)) == np.searchsorted(sums, total, "right")
        longer = Runs(table, 4, len(values) + 2, is_short=True)
        assert longer.at(np.array([len(values) + 1])) == 0
        with pytest.raises(Unusual):
            Runs(table, 4, len(values) + 1)
