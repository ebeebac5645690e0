"""What a clip takes along where a plan that is made again numbers it anew, and what a change leaves as it was."""

import hashlib

import pytest

from topclip.model.clip import ClipCaptions, RenderedClip
from topclip.model.request import OF_RENDERING
from topclip.pipeline.context import StageContext
from topclip.pipeline.reuse import clip_keys, made_before


def test_files_of_words_follow_the_number(ctx: StageContext) -> None:
    old, new = (clip_keys(ctx.job_id, n, "0123456789abcdef") for n in (1, 2))
    words = {kind: old.clip.replace(".mp4", f".{kind}") for kind in ("srt", "vtt")}
    made = RenderedClip.model_construct(
        n=1, start_s=0.0, end_s=1.0, key=old.clip, thumbnail_key=old.thumbnail, frames=25, width=2, height=2,
        duration_s=1.0, size_bytes=len(old.clip), sha256=hashlib.sha256(old.clip.encode()).hexdigest(), checks=(),
        captions=ClipCaptions(**words, cues=1, burned=False, origin="file"),
    )  # fmt: skip
    for key in (old.clip, old.thumbnail, *words.values()):
        ctx.store.put_bytes(key, key.encode())
    ctx.store.put_bytes(old.known, made.model_dump_json().encode())
    taken = made_before(ctx, 2, "0123456789abcdef")
    assert taken is not None
    assert taken.captions is not None
    assert taken.captions.srt == new.clip.replace(".mp4", ".srt")
    assert ctx.store.get_bytes(taken.captions.srt) == words["srt"].encode()
    assert ctx.store.get_bytes(taken.captions.vtt) == words["vtt"].encode()


@pytest.mark.parametrize("name", ["captions", "caption_style", "aspect", "fit"])
def test_what_changes_no_choice_keeps_a_recut(name: str) -> None:
    assert name in OF_RENDERING
