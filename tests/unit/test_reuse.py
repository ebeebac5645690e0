"""A clip that was made under another number is taken over: same content, no encoder, and whole files under its own names."""

from dataclasses import replace

import pytest

from tests.media import Media
from tests.unit.conftest import request_for
from tests.unit.test_render import prepared
from topclip.errors import ConfigError
from topclip.model.clip import RenderedClip
from topclip.pipeline.context import StageContext
from topclip.pipeline.render import render_clip


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
