"""All stages in one process: what they make together, and always the same."""

from pathlib import Path

import pytest

from tests.media import Media, ffmpeg
from tests.unit.conftest import make_context, request_for
from topclip import run_local
from topclip.errors import NoHighlights, SourceNotFound, StorageUnavailable
from topclip.media.opening import open_media
from topclip.model.job import Stage
from topclip.model.request import ClipRequest, Upload
from topclip.pipeline import __doc__ as order_in_words
from topclip.pipeline.context import StageContext, clip_threads
from topclip.pipeline.source import source_path
from topclip.storage.base import job_folder


def test_the_order_of_the_stages_is_said_alike_everywhere() -> None:
    assert tuple(Stage) == run_local.ORDER
    words = str(order_in_words).split(":")[1]
    places = [words.index(stage.value) for stage in Stage]
    assert places == sorted(places)


def test_the_whole_flow_makes_what_the_manifest_says(media: Media, tmp_path: Path) -> None:
    stages: list[Stage] = []
    ctx = make_context(tmp_path / "store")
    content = media("base.mp4").read_bytes()
    ctx.store.put_bytes(f"{job_folder(ctx.job_id)}/source.mp4", content)
    source = Upload(key=f"{job_folder(ctx.job_id)}/source.mp4", name="talk.mp4")
    options = request_for(tmp_path, count=2, min_length=3, max_length=6, aspect="9:16").options
    request = ClipRequest(source=source, options=options)
    result = run_local.run(request, ctx, lambda stage, done, total: stages.append(stage))
    assert [s for i, s in enumerate(stages) if i == 0 or stages[i - 1] != s] == list(Stage)
    assert len(result.manifest.clips) == 2
    assert any(c.start_s < 12 < c.end_s for c in result.manifest.clips)  # the planted loud moment
    folder = Path(f"{job_folder(ctx.job_id)}")
    for clip in result.manifest.clips:
        assert ctx.store.size(str(folder / clip.file)) == clip.size_bytes
        assert ctx.store.exists(str(folder / clip.thumbnail))
    assert ctx.store.exists(str(folder / result.manifest.plan))
    assert run_local.run(request, ctx) == result


def test_two_runs_make_the_same_plan(media: Media, tmp_path: Path) -> None:
    plans = []
    for n in range(2):
        ctx = make_context(tmp_path / str(n), threads=1 + n)
        request = request_for(media("vfr.mp4"), mode="plan", count=3, min_length=2, max_length=5)
        result = run_local.run(request, ctx)
        assert result.manifest.clips == ()
        plans.append(ctx.store.get_bytes(result.plan_key))
    assert plans[0] == plans[1]


def test_too_short_a_source_has_no_highlights(media: Media, ctx: StageContext) -> None:
    with pytest.raises(NoHighlights):
        run_local.run(request_for(media("short.mp4"), min_length=9), ctx)


def test_clips_share_the_cores_by_their_place_alone() -> None:
    def shared(of: int, cores: int, slots: int) -> list[int]:
        return [clip_threads(place, of, cores=cores, slots=slots) for place in range(of)]

    assert shared(1, 2, 2) == [2]
    assert shared(2, 2, 2) == [1, 1]
    assert shared(3, 2, 2) == [1, 1, 2]
    assert shared(7, 8, 4) == [2, 2, 2, 2, 2, 2, 2]
    assert shared(3, 16, 16) == [5, 5, 5]
    assert shared(2, 8, 1) == [8, 8]
    assert shared(3, 1, 4) == [1, 1, 1]


def test_clips_are_made_side_by_side_each_by_its_share_of_threads(media: Media, tmp_path: Path) -> None:
    log, noting = tmp_path / "runs", tmp_path / "ffmpeg"
    noting.write_text(f'#!/bin/sh\necho "$@" >>"{log}"\nexec "{ffmpeg()}" "$@"\n')
    noting.chmod(0o755)
    ctx = make_context(tmp_path / "store", ffmpeg=str(noting), threads=2)
    ranges = [[0, 1], [1, 2], [2, 3]]
    request = request_for(media("short.mp4"), mode="ranges", ranges=ranges, aspect="9:16", quality="draft")
    manifest = run_local.run(request, ctx).manifest
    assert [clip.n for clip in manifest.clips] == [1, 2, 3]
    runs = log.read_text().splitlines()
    assert sorted(run.split(" -threads ")[1].split()[0] for run in runs if "libx264" in run) == ["1", "1", "2"]


def test_a_file_that_goes_away_while_it_is_in_use_is_no_fault_of_the_sources(
    media: Media, ctx: StageContext, tmp_path: Path
) -> None:
    request = request_for(media("short.mp4"))
    with pytest.raises(StorageUnavailable) as caught, source_path(request, ctx):
        open_media(tmp_path / "head.mp4")
    assert caught.value.retryable
    with pytest.raises(SourceNotFound), source_path(request_for(tmp_path / "none.mp4"), ctx):
        pass
