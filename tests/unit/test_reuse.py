"""A clip that was made under another number is taken over: same content, no encoder, and whole files under its own names."""

import hashlib
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.media import Media
from tests.unit.conftest import request_for
from tests.unit.test_render import prepared
from topclip.errors import ArtifactDamaged, ConfigError
from topclip.model.clip import RenderedClip
from topclip.model.request import Captions, Fit, MediaPath
from topclip.pipeline.context import StageContext
from topclip.pipeline.render import render_clip
from topclip.run_local import run
from topclip.storage.base import Tick, job_folder, no_tick


def test_a_clip_takes_over_what_another_number_made(media: Media, ctx: StageContext) -> None:
    request = request_for(media("short.mp4"), ranges=[[0, 1]], mode="ranges", aspect="1:1", quality="draft")
    info, (spec,) = prepared(request, ctx)
    first = render_clip(request, info, spec, ctx)
    assert isinstance(first, RenderedClip)
    without = replace(ctx, ffmpeg="/nonexistent")
    again = render_clip(request, info, spec.model_copy(update={"n": 7}), without)
    assert isinstance(again, RenderedClip)
    assert (again.n, again.sha256) == (7, first.sha256)
    assert again.key == first.key.replace("/1-", "/7-")
    assert ctx.store.get_bytes(again.key) == ctx.store.get_bytes(first.key)
    assert ctx.store.get_bytes(again.thumbnail_key) == ctx.store.get_bytes(first.thumbnail_key)
    assert again.model_copy(update={"n": 1, "key": first.key, "thumbnail_key": first.thumbnail_key}) == first
    assert ctx.store.staged() == []
    ctx.store.delete(first.key)
    assert ctx.store.get_bytes(again.key)  # one does not hang on the other
    assert render_clip(request, info, spec.model_copy(update={"n": 7}), without) == again


def test_what_another_number_has_lost_is_made_again(media: Media, ctx: StageContext) -> None:
    request = request_for(media("short.mp4"), ranges=[[0, 1]], mode="ranges", aspect="1:1", quality="draft")
    info, (spec,) = prepared(request, ctx)
    first = render_clip(request, info, spec, ctx)
    assert isinstance(first, RenderedClip)
    ctx.store.delete(first.key)
    other = spec.model_copy(update={"n": 2})
    with pytest.raises(ConfigError, match="cannot start ffmpeg"):
        render_clip(request, info, other, replace(ctx, ffmpeg="/nonexistent"))
    assert isinstance(render_clip(request, info, other, ctx), RenderedClip)


@pytest.mark.parametrize("n", [1, 2], ids=["same number", "another"])
@pytest.mark.parametrize("suffix", [".json", ".mp4", ".jpg"])
@pytest.mark.parametrize("is_shorter", [True, False])
def test_what_was_damaged_is_made_again(media: Media, ctx: StageContext, suffix: str, n: int, is_shorter: bool) -> None:
    """Damage that plays, such as a bit in a picture, too: a new sum of it would say that it is right."""
    request = request_for(media("short.mp4"), ranges=[[0, 1]], mode="ranges", aspect="1:1", quality="draft")
    info, (spec,) = prepared(request, ctx)
    first = render_clip(request, info, spec, ctx)
    assert isinstance(first, RenderedClip)
    with ctx.store.local_path(first.key.replace(".mp4", suffix)) as path:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content[: 20 if suffix == ".mp4" else 0] if is_shorter else content)
    again = render_clip(request, info, spec.model_copy(update={"n": n}), ctx)
    assert isinstance(again, RenderedClip)
    assert hashlib.sha256(ctx.store.get_bytes(again.key)).hexdigest() == again.sha256
    assert (again.sha256, again.size_bytes) == (first.sha256, first.size_bytes)
    assert ctx.store.get_bytes(again.thumbnail_key).endswith(b"\xff\xd9")


def test_words_beside_a_clip_and_what_does_not_show_in_it_make_no_new_clip(
    media: Media, ctx: StageContext, tmp_path: Path
) -> None:
    """With words or without, or with another fit that its shape has no use for: one mp4, no encoder, files as they were."""
    told = tmp_path / "told.srt"
    told.write_text("1\n00:00:00,100 --> 00:00:00,900\nsaid here\n")
    request = request_for(media("short.mp4"), ranges=[[0, 1]], mode="ranges", captions="off", quality="draft")
    request = request.model_copy(update={"subtitles": MediaPath(path=str(told), name=told.name)})
    (bare,) = run(request, ctx).manifest.clips
    assert bare.captions is None
    without = replace(ctx, ffmpeg="/nonexistent")
    for changes in (
        {"captions": Captions.SIDE},
        {"captions": Captions.SIDE, "fit": Fit.PAD},
        {"captions": Captions.OFF},
    ):
        options = request.options.model_copy(update=changes)
        (clip,) = run(request.model_copy(update={"options": options}), without).manifest.clips
        assert (clip.file, clip.thumbnail, clip.sha256) == (bare.file, bare.thumbnail, bare.sha256)
        assert (clip.captions is None) == (changes["captions"] is Captions.OFF)
        if clip.captions is not None:
            assert b"said here" in ctx.store.get_bytes(f"{job_folder(ctx.job_id)}/{clip.captions.srt}")
            assert clip.captions.vtt.startswith(clip.file.removesuffix("mp4"))
            assert [(check.name, check.ok) for check in clip.checks][-1] == ("captions", True)


def test_a_plan_and_a_manifest_that_were_damaged_are_published_anew(media: Media, ctx: StageContext) -> None:
    request = request_for(media("short.mp4"), ranges=[[0, 1]], mode="ranges", aspect="1:1", quality="draft")
    first = run(request, ctx)
    keys = (first.manifest_key, *(key for key in ctx.store.list(job_folder(ctx.job_id)) if "/plan" in key))
    assert len(keys) >= 3  # the plan, and its drawing
    whole = {key: ctx.store.get_bytes(key) for key in keys}
    for name in keys:
        with ctx.store.local_path(name) as path:
            path.write_bytes(whole[name][:20])
    assert run(request, ctx) == first
    assert {key: ctx.store.get_bytes(key) for key in keys} == whole


def test_a_clip_that_its_store_finds_damaged_is_made_again(
    media: Media, ctx: StageContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a bucket does, which keeps a sum of each object."""
    request = request_for(media("short.mp4"), ranges=[[0, 1]], mode="ranges", aspect="1:1", quality="draft")
    info, (spec,) = prepared(request, ctx)
    first = render_clip(request, info, spec, ctx)
    assert isinstance(first, RenderedClip)
    ctx.store.delete(first.key.replace(".mp4", ".json"))
    whole = ctx.store.local_path

    def local_path(key: str, tick: Tick = no_tick) -> AbstractContextManager[Path]:
        if key == first.key:
            raise ArtifactDamaged(f"{key} is damaged")
        return whole(key, tick)

    monkeypatch.setattr(ctx.store, "local_path", local_path)
    assert isinstance(render_clip(request, info, spec, ctx), RenderedClip)
