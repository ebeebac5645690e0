"""What a job made: manifest, clips by range, thumbnails, and all clips in one streamed archive."""

import mimetypes
from collections.abc import Iterator
from itertools import chain
from pathlib import PurePosixPath
from typing import Literal

from flask import Response, request

from topclip.errors import ArtifactMissing
from topclip.model.job import JobStatus
from topclip.model.manifest import Manifest, ManifestClip
from web.archive import Member, zip_blocks
from web.made import disposition_of, document, key_of, manifest_of, not_there, stem_of
from web.openapi import CLIPS, Api, answers, file_answer
from web.ranges import asked_range, unsatisfiable
from web.schemas import ClipPath, ClipQuery, FilePath, JobPath, read_query
from web.services import services
from web.status import read
from web.status_cache import Reading

blueprint = Api("clips", __name__, abp_tags=[CLIPS])

CLIP = file_answer("video/mp4", "The clip, or the part asked for.")
MISSING = (404, 409, 410, 503)
TEXT_TYPES = {".srt": "application/x-subrip; charset=utf-8", ".vtt": "text/vtt; charset=utf-8"}
ELSEWHERE = {"description": "The file lies where `Location` says, for an hour."}


@blueprint.get(
    "/api/jobs/<job_id>/manifest",
    answers=answers({200: Manifest}, 404, 409, 410, 503),
)
def manifest(path: JobPath) -> Response:
    """Read the manifest: what was made, from what, and the checks that it passed."""
    reading = read(path.job_id)
    return document(reading.status.manifest_key, reading, "manifest")


@blueprint.get(
    "/api/jobs/<job_id>/clips/<int:n>",
    query=ClipQuery,
    answers=answers({200: CLIP, 206: CLIP, 307: ELSEWHERE}, 404, 409, 410, 416, 503),
)
def clip(path: ClipPath) -> Response:
    """Read a clip, or the part of it that `Range` names."""
    is_download = read_query(ClipQuery, request.args).download
    reading = read(path.job_id)
    made, status = _made_clip(reading, path.n), reading.status
    return _file(key_of(status, made.file), made.sha256, _file_name(status, path.n, made.file), is_download=is_download)


@blueprint.get(
    "/api/jobs/<job_id>/clips/<int:n>/thumbnail",
    answers=answers({200: file_answer("image/jpeg", "The thumbnail."), 307: ELSEWHERE}, 404, 409, 410, 503),
)
def thumbnail(path: ClipPath) -> Response:
    """Read a clip's thumbnail."""
    reading = read(path.job_id)
    made, status = _made_clip(reading, path.n), reading.status
    name = _file_name(status, path.n, made.thumbnail)
    return _file(key_of(status, made.thumbnail), _etag(made, made.thumbnail), name, is_download=False)


@blueprint.get(
    "/api/jobs/<job_id>/clips/<int:n>/captions.srt",
    answers=answers({200: file_answer("application/x-subrip", "The captions, in the clip's own time.")}, *MISSING),
)
def captions_srt(path: ClipPath) -> Response:
    """Read a clip's captions as SRT."""
    return _captions(path, "srt")


@blueprint.get(
    "/api/jobs/<job_id>/clips/<int:n>/captions.vtt",
    answers=answers({200: file_answer("text/vtt", "The captions, in the clip's own time.")}, *MISSING),
)
def captions_vtt(path: ClipPath) -> Response:
    """Read a clip's captions as WebVTT."""
    return _captions(path, "vtt")


def _captions(path: ClipPath, kind: Literal["srt", "vtt"]) -> Response:
    reading = read(path.job_id)
    made, status = _made_clip(reading, path.n), reading.status
    if made.captions is None:
        raise ArtifactMissing(f"clip {path.n} has no captions", {"hint": "none were wanted, or the source has no text"})
    file = made.captions.srt if kind == "srt" else made.captions.vtt
    # A page shows a track of its own origin only, so that it never lies elsewhere.
    return _file(
        key_of(status, file), _etag(made, file), _file_name(status, path.n, file), is_download=False, is_here=True
    )


def _etag(made: ManifestClip, file: str) -> str:
    """What names the content of a clip's file."""
    return made.sha256 if file == made.file else f"{made.sha256}-{PurePosixPath(file).name.partition('.')[2]}"


@blueprint.get(
    "/api/jobs/<job_id>/clips/<file>",
    answers=answers({200: CLIP, 206: CLIP, 307: ELSEWHERE}, 404, 409, 410, 416, 503),
)
def file(path: FilePath) -> Response:
    """Read a clip, thumbnail or captions by the name that the manifest gives it: its links work relative to the manifest."""
    reading = read(path.job_id)
    status = reading.status
    for made in manifest_of(reading).clips:
        name = f"clips/{path.file}"
        if name in made.files:
            return _file(key_of(status, name), _etag(made, name), path.file, is_download=False)
    raise ArtifactMissing(f"the job has no file {path.file}")


@blueprint.get(
    "/api/jobs/<job_id>/clips.zip",
    answers=answers(
        {200: file_answer("application/zip", "Manifest, plan, clips, thumbnails, captions.")}, 404, 409, 410, 503
    ),
)
def archive(path: JobPath) -> Response:
    """Read all that was made in one archive, under the manifest's names, made while it is sent."""
    reading = read(path.job_id)
    status = reading.status
    made = manifest_of(reading)
    names = [made.plan, *(name for clip in made.clips for name in clip.files)]
    members = [("manifest.json", status.manifest_key or ""), *((name, key_of(status, name)) for name in names)]
    store = services().store
    for _, key in members:
        store.size(key)  # what is not there is told before the archive begins
    blocks = zip_blocks((Member(name, store.read(key)) for name, key in members), status.created_at)
    response = Response(_begun(blocks), content_type="application/zip")
    response.headers["Content-Disposition"] = disposition_of(f"{stem_of(status)}-clips.zip", is_download=True)
    return response


def _made_clip(reading: Reading, n: int) -> ManifestClip:
    """A clip of the manifest.

    Raises: NotReady while it may still come, ArtifactMissing where it never will, QueueUnavailable if only Redis can say.
    """
    status = reading.status
    if status.manifest_key is None:
        planned = {c.n for c in status.clips} or set(range(1, int(status.options.get("count", 50)) + 1))
        if n in planned:
            raise not_there(reading, f"clip {n}")
        raise ArtifactMissing(f"the job has no clip {n}")
    found = manifest_of(reading)
    for made in found.clips:
        if made.n == n:
            return made
    failed = next((f for f in found.failed if f.n == n), None)
    if failed and not status.state.is_terminal:  # the manifest of the attempt before; this one may make it
        raise not_there(reading, f"clip {n}")
    raise ArtifactMissing(f"clip {n} could not be made: {failed.message}" if failed else f"the job has no clip {n}")


def _file(key: str, etag: str, name: str, *, is_download: bool, is_here: bool = False) -> Response:
    """A file of the store, whole or in part, or, unless it has to be here, the way to where the client fetches it.

    Raises: ArtifactMissing.
    """
    store = services().store
    size = store.size(key)
    media_type = (
        TEXT_TYPES.get(PurePosixPath(name).suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    )
    disposition = disposition_of(name, is_download=is_download)
    if request.if_none_match.contains(etag):
        response = Response(status=304)
    elif request.method == "GET" and not is_here and (url := store.download_url(key, disposition, media_type)):
        response = Response(status=307, headers={"Location": url})
    else:
        try:
            part = asked_range(size, etag)
        except LookupError:
            return unsatisfiable(size)
        response = _part(key, size, part)
    response.content_type = media_type
    response.set_etag(etag)
    response.headers["Accept-Ranges"] = "bytes"
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers["Content-Disposition"] = disposition
    return response


def _part(key: str, size: int, part: tuple[int, int] | None) -> Response:
    start, end = part or (0, size)
    blocks: Iterator[bytes] = iter(()) if request.method == "HEAD" else services().store.read(key, start, end)
    response = Response(_begun(blocks), 206 if part else 200)
    response.content_length = end - start
    if part:
        response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return response


def _begun(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The same, with the first block read: what fails at once is an answer of its own, what fails later cuts the connection."""
    return chain([next(blocks, b"")], blocks)


def _file_name(status: JobStatus, n: int, file: str) -> str:
    return f"{stem_of(status)}-clip-{n}.{file.rpartition('.')[2]}"
