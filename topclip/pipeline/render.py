"""Stage render: one clip, made, checked and published. A clip that cannot be made is a value, not an exception."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from topclip.analysers.loudness import integrated_lufs
from topclip.errors import ArtifactDamaged, CheckFailed, MediaError, MediaLimit
from topclip.media.decode import Faults, Picture, Span, decode_span
from topclip.media.encode import MAX_GAIN_DB, Attempt, Level, clip_allowance, clip_args, first_level
from topclip.media.ffmpeg import run_ffmpeg
from topclip.media.look import DAMAGED_HINT, Found, look
from topclip.media.proof import decoder_messages, in_one_line
from topclip.media.prospect import Prospect
from topclip.media.repainted import painted
from topclip.media.seek import can_seek, seek_lead_s
from topclip.media.splice import Obstacle
from topclip.media.undecoded import undecoded_s
from topclip.model.clip import Check, ClipSpec, FailedClip, RenderedClip, RenderResult
from topclip.model.request import Aspect, ClipRequest
from topclip.model.source import SourceInfo
from topclip.pipeline.captions import ClipText, captions_of, check_captions, publish_captions, with_words
from topclip.pipeline.check import SOUND_CHECKS, check_clip, in_words, silent_share, warnings_of
from topclip.pipeline.context import StageContext
from topclip.pipeline.resound import Tried, held_level, next_level, resound
from topclip.pipeline.reuse import ClipKeys, clip_keys, made_before
from topclip.pipeline.smart import find_prospect, make_smart, prove_smart
from topclip.pipeline.source import source_path

DAMAGE_CHECKS = frozenset({"decodes", "frames", "duration", "black", "frozen"})
"""Those that a damaged source may fail."""
UNEXPECTED_HINT = "retry the job; if it fails again, choose another range, and tell us: no source should end so"
RENDER_VERSION = "15"
REPAINTED = "the source's colours become others in this range: all of it is shown in those that it begins with"
LEAST_KEPT = 0.9
"""Of the planned frames: where more are lost to damage, it is no clip of that range."""
SAFE_LEAD_S = 300.0
SOUND_REPAIRS = 5
"""What the limiter holds back of a gain is found out by trying; that takes two tries mostly, and the sound alone is made."""
LEAST_UNHEARD_S = 0.5
"""Silence for want of sound that decodes is told of from here on."""


class _Job(NamedTuple):
    """What every step of one clip needs."""

    source: Path
    info: SourceInfo
    spec: ClipSpec
    ctx: StageContext
    captions: ClipText | None = None
    is_repainted: bool = False

    def tick(self) -> None:
        """Ask whether the job still runs, where ffmpeg does not: all is rendered, only checks go on."""
        length_s = self.spec.end_s - self.spec.start_s
        self.ctx.report(length_s, length_s)


class _Made(NamedTuple):
    """A file and what was found in it. copied: frames that are the source's own. note: why there are none."""

    path: Path
    found: Found
    checks: tuple[Check, ...]
    copied: int = 0
    note: str | None = None

    @property
    def failed(self) -> set[str]:
        """Names of the checks that it did not pass."""
        return {check.name for check in self.checks if not check.ok}


def render_clip(request: ClipRequest, info: SourceInfo, spec: ClipSpec, ctx: StageContext) -> RenderResult:
    """Make one clip; one that cannot be made comes back as FailedClip.

    Publishes the clip, its thumbnail, then its RenderedClip, each only if it is not there yet; beside it the words that are not
    drawn into it, which are no part of it: with them or without, it is made once.
    Raises: JobStopped, StorageError, SourceNotFound.
    """
    if spec.captions is None or spec.captions.style is not None:
        return _render(request, info, spec, ctx)
    made = _render(request, info, spec.model_copy(update={"captions": None}), ctx)
    return with_words(made, info, spec, ctx) if isinstance(made, RenderedClip) else made


def _render(request: ClipRequest, info: SourceInfo, spec: ClipSpec, ctx: StageContext) -> RenderResult:
    digest = spec_digest(info, spec)
    if made := made_before(ctx, spec.n, digest):
        return made
    keys = clip_keys(ctx.job_id, spec.n, digest)
    try:
        with source_path(request, ctx, info) as path, captions_of(info, spec, ctx) as captions:
            clip = _publish(_painted(_Job(path, info, spec, ctx, captions)), keys)
    except MediaError as err:
        return FailedClip(
            n=spec.n, start_s=spec.start_s, end_s=spec.end_s, code=err.code, message=err.message, hint=err.hint
        )
    ctx.store.put_bytes(keys.known, clip.model_dump_json().encode())
    return clip


def spec_digest(info: SourceInfo, spec: ClipSpec) -> str:
    """Names a clip by all that determines it; its number does not, nor how other shapes are fitted where it is the source's."""
    leaves_out = {"n", "fit"} if spec.aspect is Aspect.SOURCE else {"n"}
    rests_on = [info.sha256, info.video.to_dict(), spec.model_dump(mode="json", exclude=leaves_out), RENDER_VERSION]
    return hashlib.sha256(json.dumps(rests_on, sort_keys=True).encode()).hexdigest()[:16]


def encode_file(source: Path, info: SourceInfo, spec: ClipSpec, ctx: StageContext, path: Path) -> int:
    """Encode a clip as a plain file outside the store; its number of frames. Raises: MediaError, JobStopped."""
    return _encode(_painted(_Job(source, info, spec, ctx)), path).found.pictures.n_frames


def _painted(job: _Job) -> _Job:
    """The job, whose source has the colours that it has where the clip begins."""
    info, changes = painted(job.source, job.info, job.spec, job.ctx.max_pixels, job.tick)
    return job._replace(info=info, is_repainted=changes)


def _publish(job: _Job, keys: ClipKeys) -> RenderedClip:
    """The clip as it lies in the store, its thumbnail beside it.

    A clip that an earlier run left without its RenderedClip is looked at again, and made anew if it is not sound.
    """
    store, clip = job.ctx.store, keys.clip
    if store.exists(clip):
        try:
            with store.local_path(clip, job.tick) as path:
                left = _left_behind(job, path)
                if left is not None:
                    return _describe(job, left, keys)
        except ArtifactDamaged:
            pass
        store.delete(clip)
    with _scratch(job, ".mp4") as path:
        made = _make(job, path)
        rendered = _describe(job, made, keys)
        if not store.put_file(clip, path, job.tick):  # another run was quicker: what counts is what lies there
            return _publish(job, keys)
    return rendered


def _left_behind(job: _Job, path: Path) -> _Made | None:
    """What an earlier run made, if it is sound."""
    try:
        made = _looked_at(job, path, Level(MAX_GAIN_DB))
    except CheckFailed:
        return None
    if made.failed:
        return None
    try:
        prospect = _prospect(job)
        prove_smart(prospect, path, job.tick, job.ctx.max_pixels)
    except Obstacle as why:
        return made._replace(note=_note(job, why))
    return made._replace(copied=len(prospect.splice.copied))


@contextmanager
def _scratch(job: _Job, suffix: str) -> Iterator[Path]:
    """A name in the store's staging folder, free of any file afterwards."""
    path = job.ctx.store.staging() / f"{job.ctx.job_id}-{job.spec.n}-{os.urandom(6).hex()}{suffix}"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _make(job: _Job, path: Path) -> _Made:
    """The clip, of the frames that decode: damage that analysis passed over may cost some. Raises: EncodeError, CheckFailed."""
    try:
        return _make_of(job, path)
    except CheckFailed:
        counted = _recounted(job)
        if not LEAST_KEPT * job.spec.frames <= counted.spec.frames < job.spec.frames:
            raise
        return _make_of(counted, path)


def _recounted(job: _Job) -> _Job:
    spec, silent = job.spec, job.info.model_copy(update={"audio": None})
    span = Span(spec.first_pts, spec.end_pts)
    items = decode_span(job.source, silent, span, Faults(tick=job.tick), max_pixels=job.ctx.max_pixels)
    n_frames = sum(isinstance(item, Picture) and item.is_owned for item in items)
    return job._replace(spec=spec.model_copy(update={"frames": n_frames}))


def _make_of(job: _Job, path: Path) -> _Made:
    """Copy what can be copied, or else encode all. Raises: EncodeError, CheckFailed."""
    try:
        return _splice(job, path)
    except Obstacle as why:
        return _encode(job, path)._replace(note=_note(job, why))


def _note(job: _Job, why: Obstacle) -> str | None:
    """What is said of a clip that was encoded wholly; nothing where another shape was wanted."""
    return str(why) if job.spec.aspect is Aspect.SOURCE else None


def _prospect(job: _Job) -> Prospect:
    """What of the clip can be copied. Raises: Obstacle."""
    if job.spec.aspect is not Aspect.SOURCE:
        raise Obstacle("another shape is wanted")
    if job.captions and job.captions.overlay:
        raise Obstacle("captions are drawn into the pictures")
    if job.spec.held_pts is not None:
        raise Obstacle("the range begins within the time of a picture")
    return find_prospect(job.source, job.info, Span(job.spec.start_pts, job.spec.end_pts), job.ctx)


def _splice(job: _Job, path: Path) -> _Made:
    """Copy and check, and give it other sound where that asks for it.

    Raises: Obstacle if encoding may do better; CheckFailed if it would not.
    """
    prospect, level = _prospect(job), first_level(job.spec)
    made = _try_splice(job, path, prospect, level)
    try:
        made = _with_better_sound(job, Attempt(level, prospect.leads.range_s), made)
    except MediaError as err:
        raise Obstacle(err.message) from err
    _refuse_failed(made)
    return made


def _try_splice(job: _Job, path: Path, prospect: Prospect, level: Level) -> _Made:
    make_smart(prospect, job.spec, level, path, job.ctx)
    try:
        with decoder_messages() as said:
            found = look(path, job.tick)
    except MediaError as err:
        raise Obstacle(err.message) from err
    if said:
        raise Obstacle(f"a decoder complains of the joined clip: {in_one_line(said)}")
    made = _Made(path, found, _checks(job, path, found, level), len(prospect.splice.copied))
    if made.failed - SOUND_CHECKS:
        raise Obstacle("; ".join(in_words(check) for check in made.checks if not check.ok))
    return made


def _encode(job: _Job, path: Path) -> _Made:
    """Render and check; once more if it failed, with what helps where anything would. Raises: EncodeError, CheckFailed."""
    attempt = Attempt(first_level(job.spec), _seek_lead_s(job))
    safe = replace(attempt, seek_lead_s=_safe_lead_s(job), is_steady=True)
    made: _Made | None
    try:
        made = _try(job, path, attempt)
    except MediaLimit:
        raise  # it would take as much again
    except MediaError:
        made = None
    if made is None or made.failed - SOUND_CHECKS:  # also with the same: it may have been the machine's doing
        attempt, made = safe, _try(job, path, safe)
    made = _with_better_sound(job, attempt, made)
    _refuse_failed(made)
    return made


def _with_better_sound(job: _Job, attempt: Attempt, made: _Made) -> _Made:
    """The clip with other sound, if that is off; by the coder's other way where its peaks stay."""
    lengths = {"sound_length", "ends_together"}
    if lengths & made.failed and not made.failed - SOUND_CHECKS - lengths - {"silent"}:  # what is too much is silence
        attempt = replace(attempt, is_even=True)
        made = _with_sound(job, attempt, made, attempt.level)
    made = _by_trying(job, attempt, attempt.level, made)
    if "true_peak" in made.failed and not made.failed - SOUND_CHECKS:
        level = replace(attempt.level, search="fast")
        made = _by_trying(job, attempt, level, _with_sound(job, attempt, made, level))
    return made


def _by_trying(job: _Job, attempt: Attempt, level: Level, made: _Made) -> _Made:
    """The clip after as many tries as it needs and may have; if its peaks leave no room, as loud as they allow."""
    tried = list[Tried]()
    while made.failed and (following := _next_level(job, level, made, tried)) is not None:
        level, made = following, _with_sound(job, attempt, made, following)
    if made.failed and not made.failed - SOUND_CHECKS and tried and (held := held_level(tried, job.spec.loudness)):
        made = _with_sound(job, attempt, made, held)
        made = made._replace(checks=_checks(job, made.path, made.found, Level(MAX_GAIN_DB)))
    return made


def _with_sound(job: _Job, attempt: Attempt, made: _Made, level: Level) -> _Made:
    """The clip with its sound at this level."""
    now = replace(attempt, level=level)
    with _scratch(job, ".mp4") as again:
        sound = resound(made.path, again, source=job.source, info=job.info, spec=job.spec, attempt=now, ctx=job.ctx)
        again.replace(made.path)
    found = replace(made.found, sound=sound)
    return made._replace(found=found, checks=_checks(job, made.path, found, level))


def _next_level(job: _Job, level: Level, made: _Made, tried: list[Tried]) -> Level | None:
    """The level to try next; None if nothing else can be tried. tried: grows by what came of the last one."""
    sound = made.found.sound
    loudness = None if sound is None else integrated_lufs(sound.momentary_lufs)
    if made.failed - SOUND_CHECKS or sound is None or loudness is None:
        return None
    tried.append(Tried(level, loudness, sound.true_peak_db))
    if len(tried) > SOUND_REPAIRS:
        return None
    following = next_level(tried, job.spec.loudness)
    return None if following == level else following


def _refuse_failed(made: _Made) -> None:
    if made.failed:
        what = "; ".join(in_words(check) for check in made.checks if not check.ok)
        hint = DAMAGED_HINT if made.failed & DAMAGE_CHECKS else UNEXPECTED_HINT
        raise CheckFailed(f"the rendered clip is not as it should be: {what}", {"hint": hint})


def _try(job: _Job, path: Path, attempt: Attempt) -> _Made:
    spec, ctx = job.spec, job.ctx
    length_s = spec.end_s - spec.start_s
    args = clip_args(
        job.source, job.info, spec, attempt, out=path, threads=ctx.threads, max_pixels=ctx.max_pixels,
        overlay=job.captions.overlay if job.captions else None,
    )  # fmt: skip
    allowance = clip_allowance(job.info, spec, attempt, ctx.memory_bytes)
    run_ffmpeg(ctx.ffmpeg, args, lambda done_s: ctx.report(min(done_s, length_s), length_s), allowance=allowance)
    return _looked_at(job, path, attempt.level)


def _looked_at(job: _Job, path: Path, level: Level) -> _Made:
    found = look(path, job.tick, threads=job.ctx.threads)
    return _Made(path, found, _checks(job, path, found, level))


def _seek_lead_s(job: _Job) -> float | None:
    return seek_lead_s(job.source, job.info, job.spec.first_pts, job.ctx.max_pixels)


def _safe_lead_s(job: _Job) -> float | None:
    """A run-up that helps where any would: all that came before, or minutes of it."""
    must_count = not can_seek(job.info) or job.info.video.dts_lag is not None
    return None if must_count or job.spec.start_s <= SAFE_LEAD_S else SAFE_LEAD_S


def _checks(job: _Job, path: Path, found: Found, level: Level) -> tuple[Check, ...]:
    checks = check_clip(found, job.info, job.spec, at_limit=level.gain_db >= MAX_GAIN_DB)
    return checks if job.captions is None else (*checks, check_captions(job.captions, path, job.spec, job.ctx))


def _describe(job: _Job, made: _Made, keys: ClipKeys) -> RenderedClip:
    """The clip's facts; publishes its thumbnail."""
    assert made.found.pictures.poster is not None
    job.ctx.store.put_bytes(keys.thumbnail, made.found.pictures.poster)
    pictures = made.found.pictures
    return RenderedClip(
        n=job.spec.n,
        start_s=job.spec.start_s,
        end_s=job.spec.end_s,
        key=keys.clip,
        thumbnail_key=keys.thumbnail,
        frames=pictures.n_frames,
        width=made.found.size.width,
        height=made.found.size.height,
        duration_s=round(pictures.end_s - pictures.start_s, 6),
        size_bytes=made.path.stat().st_size,
        sha256=_sha256(made.path),
        checks=made.checks,
        method="smart" if made.copied else "encode",
        copied=made.copied,
        note=made.note,
        captions=publish_captions(job.captions, keys.clip.removesuffix(".mp4"), job.ctx) if job.captions else None,
        warnings=(
            *job.spec.warnings,
            *(job.captions.warnings if job.captions else ()),
            *warnings_of(made.checks),
            *_unheard(job, made),
            *((REPAINTED,) if job.is_repainted else ()),
        ),
    )


def _unheard(job: _Job, made: _Made) -> tuple[str, ...]:
    """What is said of a clip that is silent where its source's sound does not decode."""
    spec, sound = job.spec, made.found.sound
    if sound is None or silent_share(sound) * (spec.end_s - spec.start_s) < LEAST_UNHEARD_S:
        return ()
    lost_s = undecoded_s(job.source, job.info, (spec.start_s, spec.end_s), job.ctx.max_pixels, job.tick)
    if lost_s < LEAST_UNHEARD_S:
        return ()
    return (f"{lost_s:.1f} s of the source's sound cannot be decoded here: the clip is silent there",)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
