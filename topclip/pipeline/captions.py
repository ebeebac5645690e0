"""Captions of one clip: what stands where, the files beside it, and whether all of it is there."""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from topclip.captions.cues import clip_cues
from topclip.captions.files import read_file, to_srt, to_vtt
from topclip.captions.fonts import described
from topclip.captions.layout import Block
from topclip.captions.script import STRETCH, Script, make_script
from topclip.errors import BadSubtitles, CheckFailed
from topclip.media.binary import require_libass
from topclip.media.overlay import Bench, Drawing, overlay_filter, seen_share
from topclip.model.clip import Check, ClipCaptions, ClipSpec, FailedClip, RenderedClip, RenderResult
from topclip.model.geometry import clip_geometry
from topclip.model.source import SourceInfo
from topclip.model.transcript import Cue, Origin
from topclip.pipeline.check import in_words
from topclip.pipeline.context import StageContext
from topclip.pipeline.transcript import load_transcript

SAMPLES: Final = 3
LEAST_SEEN: Final = 0.8
"""Of the ink; drafts lose some at the edges of letters."""


@dataclass(frozen=True)
class ClipText:
    """The words of one clip. overlay: filters that draw them, None: they are not drawn. folder: where those read from."""

    cues: tuple[Cue, ...]
    origin: Origin
    warnings: tuple[str, ...] = ()
    overlay: str | None = None
    blocks: tuple[Block, ...] = ()
    folder: Path | None = None


@contextlib.contextmanager
def captions_of(info: SourceInfo, spec: ClipSpec, ctx: StageContext) -> Iterator[ClipText | None]:
    """The words of a clip, and what ffmpeg needs to draw them, in a folder that is gone afterwards. None: none are wanted.

    Raises: ConfigError if ffmpeg cannot draw, ArtifactMissing, StorageError.
    """
    if spec.captions is None:
        yield None
        return
    transcript = load_transcript(ctx, spec.captions.transcript)
    cues = clip_cues(transcript, spec.start_s, spec.end_s)
    if spec.captions.style is None or not cues:
        yield ClipText(
            cues, transcript.origin, () if cues else ("nothing is said in this clip: its captions are empty",)
        )
        return
    require_libass(ctx.ffmpeg)
    canvas = clip_geometry(info.video, spec).canvas
    script = make_script(cues, canvas.width, canvas.height, spec.captions.style, ctx.fonts)
    folder = ctx.store.staging() / f"{ctx.job_id}-{spec.n}-{os.urandom(6).hex()}.captions"
    try:
        overlay = _written(script, folder) if script.blocks else None
        yield ClipText(cues, transcript.origin, _warnings(script), overlay, script.blocks, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _written(script: Script, folder: Path) -> str:
    """Write what libass reads; the filters that draw it."""
    fonts = folder / "fonts"
    fonts.mkdir(parents=True)
    for n, font in enumerate(script.fonts.fonts):
        target = fonts / f"{n}{font.suffix}"
        if font.path is None:
            target.write_bytes(font.content)
        else:
            target.symlink_to(font.path)
    path = folder / "captions.ass"
    path.write_text(script.text, encoding="utf-8")
    return overlay_filter(path, fonts, STRETCH)


def _warnings(script: Script) -> tuple[str, ...]:
    missing = script.fonts.missing
    if not missing:
        return ()
    what = f"no font has {described(missing)}: left out of the pictures, not of the files"
    return (f"{what}; install one on the workers, or put it into the folder TOPCLIP_FONTS",)


def check_captions(text: ClipText, path: Path | None, spec: ClipSpec, ctx: StageContext) -> Check:
    """Whether the files read back as they should, within the clip, and what was to be drawn can be seen in it.

    path: of the clip, where words are drawn into it.
    """
    length_ms = round((spec.end_s - spec.start_s) * 1000)
    n_cues = min(_n_read(to_srt(text.cues), length_ms), _n_read(to_vtt(text.cues), length_ms))
    found: dict[str, object] = {"cues": n_cues}
    wanted: dict[str, object] = {"cues": len(text.cues)}
    is_seen = True
    if path and text.overlay and text.folder:
        longest = sorted(text.blocks, key=lambda block: block.start_s - block.end_s)[:SAMPLES]
        drawing = Drawing(text.overlay, tuple(sorted((block.start_s, block.end_s) for block in longest)))
        length_s = spec.end_s - spec.start_s
        bench = Bench(ctx.ffmpeg, text.folder, ctx.memory_bytes, lambda: ctx.report(length_s, length_s))
        share = seen_share(path, drawing, bench)
        found["seen"], wanted["seen"] = None if share is None else round(share, 3), LEAST_SEEN
        is_seen = share is None or share >= LEAST_SEEN
    return Check(name="captions", ok=n_cues == len(text.cues) and is_seen, found=found, wanted=wanted)


def _n_read(content: str, length_ms: int) -> int:
    """Cues of a file of ours that lie within the clip."""
    try:
        cues = read_file(content.encode(), "captions") or []
    except BadSubtitles:  # a file without any cue
        return 0
    return sum(1 for cue in cues if 0 <= cue.start_ms < cue.end_ms <= length_ms)


def publish_captions(text: ClipText, stem: str, ctx: StageContext) -> ClipCaptions:
    """Put the files beside the clip. stem: their key without its suffix."""
    srt, vtt = f"{stem}.srt", f"{stem}.vtt"
    ctx.store.put_bytes(srt, to_srt(text.cues).encode())
    ctx.store.put_bytes(vtt, to_vtt(text.cues).encode())
    is_burned = text.overlay is not None
    return ClipCaptions(srt=srt, vtt=vtt, cues=len(text.cues), burned=is_burned, origin=text.origin)


def with_words(clip: RenderedClip, info: SourceInfo, spec: ClipSpec, ctx: StageContext) -> RenderResult:
    """A clip with files of its words beside it, which are named by the clip and the transcript: players look there for them.

    Raises: ArtifactMissing, StorageError.
    """
    assert spec.captions is not None
    with captions_of(info, spec, ctx) as text:
        assert text is not None
        check = check_captions(text, None, spec, ctx)
        if not check.ok:
            message = f"the files of its captions are not as they should be: {in_words(check)}"
            return FailedClip(n=spec.n, start_s=spec.start_s, end_s=spec.end_s, code=CheckFailed.code, message=message)
        words = hashlib.sha256(spec.captions.transcript.encode()).hexdigest()[:8]
        captions = publish_captions(text, f"{clip.key.removesuffix('.mp4')}.{words}", ctx)
    more = {"captions": captions, "checks": (*clip.checks, check), "warnings": (*clip.warnings, *text.warnings)}
    return clip.model_copy(update=more)
