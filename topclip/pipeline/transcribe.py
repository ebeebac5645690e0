"""What is said in a source, before it is analysed: from a subtitle file, a track of the source, or the transcriber."""

import hashlib
import json
from collections.abc import Callable
from typing import NamedTuple

from topclip.captions.words import build_cues
from topclip.errors import BadSubtitles, NoTranscript
from topclip.media.binary import require_libass
from topclip.media.subtitles import embedded_cues
from topclip.media.transcriber import TranscriberModel, recognise
from topclip.model.request import Captions, ClipRequest
from topclip.model.source import SourceInfo
from topclip.model.transcript import Cue, Origin, Transcript, TranscriptRef
from topclip.pipeline.attached import attached_content
from topclip.pipeline.context import StageContext
from topclip.pipeline.kept import kept
from topclip.pipeline.source import source_path
from topclip.pipeline.subtitles import read_subtitles
from topclip.storage.base import transcript_key, transcript_ref_key

TRANSCRIPT_VERSION = "2"
HINT = "send a subtitle file (SRT or WebVTT) with the job, or ask for captions=off, or for transcribe=true where there is one"


class _Text(NamedTuple):
    """A source of text: what determines what is read from it, and how."""

    origin: Origin
    rests_on: list[object]
    read: Callable[[], tuple[Cue, ...]]


def transcribe(request: ClipRequest, info: SourceInfo, ctx: StageContext) -> TranscriptRef:
    """Find out what is said; the transcript is kept by content, where it lies under the job's key.

    Raises: BadSubtitles, NoTranscript where captions were asked for and there is no text, NoTranscriber, SourceNotFound,
    ConfigError where captions are to be drawn and ffmpeg cannot, MediaError, StorageError, JobStopped.
    """
    ref_key = transcript_ref_key(ctx.job_id)
    known = kept(ref_key, TranscriptRef.model_validate_json, ctx.store)
    if known is not None:
        if known.key is None or ctx.store.exists(known.key):
            return known
        ctx.store.delete(ref_key)  # what it names is gone; another release or model may name it otherwise
    if request.options.captions is Captions.BURN:
        require_libass(ctx.ffmpeg)
    ref = _given(request, info, ctx) or _embedded(request, info, ctx) or _recognised(request, info, ctx)
    if ref is None:
        if request.options.captions in (Captions.SIDE, Captions.BURN):
            what = "nothing is said in the source" if request.options.transcribe else "there is no text for captions"
            raise NoTranscript(what, {"field": "captions", "hint": HINT})
        return TranscriptRef(key=None)  # kept nowhere: with other options there may be one
    ctx.store.put_bytes(ref_key, ref.model_dump_json().encode())
    return ref


def _given(request: ClipRequest, info: SourceInfo, ctx: StageContext) -> TranscriptRef | None:
    if request.subtitles is None:
        return None
    name, content = request.subtitles.name, attached_content(request.subtitles, "subtitles", ctx)

    def read() -> tuple[Cue, ...]:
        own_ms = round(info.lead_s * 1000)  # the file counts as players do
        cues = build_cues([cue.moved(-own_ms) for cue in read_subtitles(content, name)], info.duration_s)
        if not cues:
            hint = "is it the file for another video?"
            what = f"{name}: no cue with words lies within the source's {info.duration_s:.1f} s"
            raise BadSubtitles(what, {"field": "subtitles", "hint": hint})
        return cues

    return _kept(_Text("subtitles", [hashlib.sha256(content).hexdigest(), info.lead_s], read), info, ctx)


def _embedded(request: ClipRequest, info: SourceInfo, ctx: StageContext) -> TranscriptRef | None:
    """A pass over the packets: nothing is decoded but the text."""

    def read() -> tuple[Cue, ...]:
        with source_path(request, ctx, info) as path:
            _, cues = embedded_cues(path, info, ctx.max_pixels, lambda: ctx.report(0.0, 1.0))
        return build_cues(cues, info.duration_s)

    return _kept(_Text("embedded", [info.video.start_pts, info.duration_s], read), info, ctx)


def _recognised(request: ClipRequest, info: SourceInfo, ctx: StageContext) -> TranscriptRef | None:
    if not request.options.transcribe or info.audio is None:
        return None
    model = TranscriberModel(ctx.whisper_model, may_download=ctx.whisper_download)

    def read() -> tuple[Cue, ...]:
        with source_path(request, ctx, info) as path:
            return recognise(path, info, model, ctx.threads, ctx.report)

    return _kept(_Text("transcriber", [model.name], read), info, ctx)


def _kept(text: _Text, info: SourceInfo, ctx: StageContext) -> TranscriptRef | None:
    """Where the transcript lies, which is read unless it was before; None if there are no words in it."""
    rests_on = json.dumps([text.origin, *text.rests_on, TRANSCRIPT_VERSION])
    key = transcript_key(info.sha256, hashlib.sha256(rests_on.encode()).hexdigest()[:16])
    transcript = kept(key, Transcript.model_validate_json, ctx.store)
    if transcript is None:
        transcript = Transcript(origin=text.origin, cues=text.read())
        ctx.store.put_bytes(key, transcript.model_dump_json().encode())
    return TranscriptRef(key=key, origin=text.origin) if transcript.cues else None
