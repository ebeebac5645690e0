"""A clip that the job has made under another number is taken over: a plan that is made again numbers clips anew."""

import hashlib
import os
import shutil
from pathlib import Path
from typing import NamedTuple

from topclip.errors import ArtifactDamaged, ArtifactMissing
from topclip.model.clip import ClipCaptions, RenderedClip
from topclip.pipeline.context import StageContext
from topclip.pipeline.kept import kept
from topclip.storage.base import clip_key, clips_folder


class ClipKeys(NamedTuple):
    """Where a clip lies, its thumbnail, and what is known of it, which is published last."""

    clip: str
    thumbnail: str
    known: str


def clip_keys(job_id: str, n: int, digest: str) -> ClipKeys:
    """The keys of clip n whose content has that digest."""
    return ClipKeys(*(clip_key(job_id, n, digest, suffix) for suffix in (".mp4", ".jpg", ".json")))


def made_before(ctx: StageContext, n: int, digest: str) -> RenderedClip | None:
    """Clip n as an earlier run made it, under this number or another. Raises: JobStopped, StorageError."""
    keys = clip_keys(ctx.job_id, n, digest)
    if made := _whole(ctx, keys.known):
        return made
    for known in ctx.store.list(clips_folder(ctx.job_id)):
        if known.endswith(f"-{digest}.json") and (made := _whole(ctx, known)):
            try:
                return _taken_over(ctx, made, n, keys)
            except (ArtifactMissing, ArtifactDamaged):  # of its files: it is made again
                continue
    return None


def _whole(ctx: StageContext, known: str) -> RenderedClip | None:
    """A clip that was made, if it lies there as it was; else what is damaged of it goes, and what was known of it."""
    made = kept(known, RenderedClip.model_validate_json, ctx.store)
    if made is None:
        return None
    found = hashlib.sha256()
    try:
        for block in ctx.store.read(made.key):
            found.update(block)
            ctx.report(0.0, 1.0)
    except (ArtifactDamaged, ArtifactMissing):
        pass
    is_whole = found.hexdigest() == made.sha256
    if is_whole and _has(ctx, made.thumbnail_key):
        return made
    for key in (made.thumbnail_key, known) if is_whole else (made.key, made.thumbnail_key, known):
        ctx.store.delete(key)
    return None


def _has(ctx: StageContext, key: str) -> bool:
    try:
        return ctx.store.size(key) > 0
    except ArtifactMissing:
        return False


def _taken_over(ctx: StageContext, made: RenderedClip, n: int, keys: ClipKeys) -> RenderedClip:
    for old, new in ((made.thumbnail_key, keys.thumbnail), (made.key, keys.clip)):
        if not ctx.store.exists(new):
            with ctx.store.local_path(old, lambda: ctx.report(0.0, 1.0)) as path:
                ctx.store.put_file(new, _copy(path, ctx.store.staging() / f"{ctx.job_id}-{n}-{os.urandom(6).hex()}"))
    captions = made.captions and _taken_words(ctx, made.captions, keys)
    clip = made.model_copy(update={"n": n, "key": keys.clip, "thumbnail_key": keys.thumbnail, "captions": captions})
    ctx.store.put_bytes(keys.known, clip.model_dump_json().encode())
    return clip


def _taken_words(ctx: StageContext, old: ClipCaptions, keys: ClipKeys) -> ClipCaptions:
    new = {kind: f"{keys.clip.removesuffix('.mp4')}.{kind}" for kind in ("srt", "vtt")}
    for kind, key in new.items():
        ctx.store.put_bytes(key, ctx.store.get_bytes(getattr(old, kind)))
    return old.model_copy(update=new)


def _copy(path: Path, to: Path) -> Path:
    """A second name for a file where the disk allows it, else a copy."""
    try:
        os.link(path, to)
    except OSError:
        shutil.copyfile(path, to)
    return to
