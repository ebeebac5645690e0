"""The kept analysis of a whole source is the merged one to the bit, is used, and is made again where it is damaged."""

import dataclasses
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.unit.test_select import make_analysis, make_info
from topclip.analysers.frames import N_BLOCKS, N_TONES, SHAPE
from topclip.analysers.tracks import N_BANDS, N_LAGS, Tracks
from topclip.model.analysis import Analysis
from topclip.model.request import ClipOptions, ClipRequest, MediaPath
from topclip.pipeline import whole
from topclip.pipeline.context import StageContext
from topclip.pipeline.merge import merge_chunks
from topclip.pipeline.plan import make_plan
from topclip.pipeline.whole import from_bytes, load_analysis, to_bytes
from topclip.run_analysis import analyse


def same(a: Analysis, b: Analysis) -> bool:
    def parts(one: Analysis) -> list[object]:
        arrays = [one.frame_pts, one.level_db, one.loudness_lufs, one.fingerprints, *(s.values for s in one.signals)]
        return [
            [(x.dtype, x.shape, x.tobytes()) for x in arrays],
            one.shots,
            one.end_pts,
            [s.name for s in one.signals],
        ]

    return parts(a) == parts(b)


@pytest.mark.parametrize("cuts", [(), (10.0, 20.0)])
def test_an_analysis_comes_back_to_the_bit(cuts: tuple[float, ...]) -> None:
    analysis = make_analysis(60, ((5, 9),), cuts)
    assert same(from_bytes(to_bytes(analysis)), analysis)
    none = np.empty(0, np.float32)
    mute = dataclasses.replace(analysis, level_db=none, loudness_lufs=none, signals=())
    assert same(from_bytes(to_bytes(mute)), mute)


def test_a_second_plan_merges_nothing_and_is_the_same(
    media: Callable[[str], Path], ctx: StageContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = media("base.mp4")
    request = ClipRequest(
        source=MediaPath(path=str(path), name=path.name), options=ClipOptions(count=2, min_length=1, max_length=3)
    )
    info = analyse(request, ctx)
    first = ctx.store.get_bytes(make_plan(request, info, ctx).plan_key)
    (kept,) = [key for key in ctx.store.list(f"analysis/{info.sha256}") if "whole" in key]

    def refuse(*_: object) -> Analysis:
        raise AssertionError("merged again")

    merge = whole.merge_chunks
    monkeypatch.setattr(whole, "merge_chunks", refuse)
    again = dataclasses.replace(ctx, job_id="5f0c0000-0000-4000-8000-000000000000")
    assert ctx.store.get_bytes(make_plan(request, info, again).plan_key) == first
    assert load_analysis(info.model_copy(update={"name": "other.mp4"}), ctx)
    with pytest.raises(AssertionError, match="merged again"):
        load_analysis(make_info(2).model_copy(update={"sha256": info.sha256}), ctx)

    monkeypatch.setattr(whole, "merge_chunks", merge)
    ctx.store.delete(kept)
    ctx.store.put_bytes(kept, b"PK damaged")
    load_analysis(info, ctx)
    from_bytes(ctx.store.get_bytes(kept))


def test_hours_of_numbers_are_merged_in_little_memory() -> None:
    """All numbers of a frame are some 85 bytes; beside them there is room for one and a half times as much."""
    n, shots = 1500, 20
    rng = np.random.default_rng(3)
    blank = np.zeros((N_LAGS, *SHAPE), np.uint8)
    jumps = np.float32(40) * (np.arange(n) % (n // shots) == 0)

    def part(k: int) -> Tracks:
        return Tracks(
            pts=(np.arange(n) + k * n) * 128,
            differences=rng.random((n, N_LAGS), np.float32) + jumps[:, None],
            layouts=rng.random(n, np.float32) + jumps,
            grids=np.repeat(rng.integers(0, 255, (shots, N_BLOCKS)), n // shots, axis=0).astype(np.uint8),
            tones=np.repeat(rng.integers(0, 40, (shots, N_TONES)), n // shots, axis=0).astype(np.uint8),
            kinds=np.zeros(n, np.uint8),
            head=blank,
            tail=blank,
            loudness_lufs=rng.random(80, np.float32),
            levels_db=rng.random(160, np.float32),
            spectra=rng.integers(0, 200, (160, N_BANDS + 1)).astype(np.uint8),
            n_corrupt=np.zeros(1, np.int64),
        )

    n_parts = 60
    tracemalloc.start()
    try:
        analysis = merge_chunks(make_info(8.0 * n_parts), (part(k) for k in range(n_parts)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(analysis.shots) > n_parts
    assert peak < 225 * n * n_parts
