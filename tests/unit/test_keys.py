"""Spans that begin at key frames: together they are the whole, and none decodes what another does."""

import gc
from pathlib import Path

import numpy as np
import pytest

from tests.media import RATE, X264, Media, run
from tests.unit.conftest import make_context
from topclip.media import decode
from topclip.media.decode import Faults, Picture, Span, decode_span
from topclip.media.keys import span_starts
from topclip.media.probe import probe
from topclip.media.skim import Effort
from topclip.model.analysis import Analysis
from topclip.model.source import SourceInfo
from topclip.pipeline.analyse import measure_chunk
from topclip.pipeline.chunk import plan_chunks
from topclip.pipeline.merge import merge_chunks

MAX_PIXELS = 10**7


def cut_up(path: Path, n_spans: int) -> SourceInfo:
    info = probe(path)
    return info.model_copy(update={"chunk_pts": span_starts(path, info, n_spans, MAX_PIXELS, lambda: None)})


def analysed(path: Path, info: SourceInfo, folder: Path) -> Analysis:
    ctx = make_context(folder)
    return merge_chunks(info, [measure_chunk(path, info, chunk, ctx) for chunk in plan_chunks(info)])


def dense_in_keys(media: Media, path: Path, *args: str) -> Path:
    run("-i", media("base.mp4"), "-t", "9", *X264, "-bf", "2", "-g", "40", "-c:a", "aac", *args, path)
    return path


@pytest.mark.parametrize("name", ["base.mp4", "open_gop.mp4", "vfr.mp4", "made.mkv", "made.flv", "fragmented.mp4"])
def test_spans_from_key_frames_are_together_the_whole(media: Media, tmp_path: Path, name: str) -> None:
    args = ("-movflags", "frag_keyframe+empty_moov") if name == "fragmented.mp4" else ()
    is_made = name in ("made.mkv", "made.flv", "fragmented.mp4")
    path = dense_in_keys(media, tmp_path / name, *args) if is_made else media(name)
    info = cut_up(path, 8)
    assert info.chunk_pts
    parts, whole = analysed(path, info, tmp_path), analysed(path, probe(path), tmp_path)
    assert np.array_equal(whole.frame_pts, parts.frame_pts)
    assert whole.shots == parts.shots
    assert whole.end_pts == parts.end_pts
    for one, other in zip(whole.signals, parts.signals, strict=True):
        is_seen = one.name in ("motion", "cuts")  # sound may be half a sample off where times are in milliseconds
        assert not is_seen or np.allclose(one.values, other.values, atol=1e-4)
    heard, again = (np.maximum(np.nan_to_num(a.loudness_lufs, nan=-60), -60) for a in (whole, parts))
    assert np.max(np.abs(heard - again)) < 0.5


def test_nothing_before_the_key_frame_is_decoded(media: Media, monkeypatch: pytest.MonkeyPatch) -> None:
    path = media("base.mp4")
    info = cut_up(path, 4)
    first, last = info.chunk_pts[:2]
    monkeypatch.setattr(decode, "LEADS_S", ())
    items = list(decode_span(path, info, Span(first, last, is_at_key=True), Faults(), max_pixels=MAX_PIXELS))
    pictures = [item for item in items if isinstance(item, Picture)]
    assert pictures[0].pts == first
    assert all(picture.is_owned for picture in pictures)
    assert len(pictures) == pytest.approx((last - first) * info.video.tick * RATE)


def test_a_key_frame_that_is_none_is_decoded_from_further_back(media: Media, tmp_path: Path) -> None:
    path = media("base.mp4")
    info, tick = probe(path), probe(path).video.tick
    between = [info.video.start_pts + round(at_s / tick) for at_s in (7.32, 15.56)]
    wrong = info.model_copy(update={"chunk_pts": tuple(between)})
    found = analysed(path, wrong, tmp_path)
    assert len(found.frame_pts) == len(analysed(path, info, tmp_path).frame_pts)
    assert found.shots == analysed(path, info, tmp_path).shots


def test_spans_are_of_like_work(media: Media) -> None:
    info = cut_up(media("base.mp4"), 6)
    chunks = plan_chunks(info)
    assert [c.is_at_key for c in chunks] == [False, *[True] * (len(chunks) - 1)]
    lengths_s = [c.duration_s for c in chunks]
    assert sum(lengths_s) == pytest.approx(info.duration_s)
    assert min(lengths_s) >= info.duration_s / 6 / 2 - 1e-6


@pytest.mark.parametrize("name", ["offset.ts", "h264.avi", "raw.h264", "short.mpg"])
def test_where_times_may_be_damaged_or_made_up_there_are_none(media: Media, name: str) -> None:
    assert cut_up(media(name), 6).chunk_pts == ()


@pytest.mark.parametrize("effort", list(Effort))
def test_what_a_decoder_held_goes_with_it(media: Media, effort: Effort) -> None:
    """And not when cycles are looked for: until then each chunk's would stay."""
    path = media("base.mp4")
    info = cut_up(path, 4)
    span = Span(*info.chunk_pts[:2], is_at_key=True)
    gc.collect()
    gc.disable()
    try:
        assert list(decode_span(path, info, span, Faults(), max_pixels=MAX_PIXELS, effort=effort))
        assert not [one for one in gc.get_objects() if type(one).__name__ in ("_Pass", "Skim", "InputContainer")]
    finally:
        gc.enable()
