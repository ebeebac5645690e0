"""What a job made: plan, manifest, clips by range, thumbnails, and all clips in one streamed archive."""

import mimetypes
import re
from collections.abc import Iterator
from threading import Lock
from urllib.parse import quote

from cachetools import LRUCache, cached
from flask import Response, request
from werkzeug.http import dump_options_header

from topclip.errors import ArtifactMissing, NotReady
from topclip.model.clip import Plan
from topclip.model.job import JobStatus
from topclip.model.manifest import Manifest, ManifestClip
from topclip.storage.base import job_folder
from web.archive import Member, zip_blocks
from web.openapi import CLIPS, Api, answers, file_answer
from web.ranges import asked_range, unsatisfiable
from web.schemas import ClipPath, ClipQuery, FilePath, JobPath, read_query
from web.services import services
from web.status import read

blueprint = Api("clips", __name__, abp_tags=[CLIPS])

CLIP = file_answer("video/mp4", "The clip, or the part asked for.")


@blueprint.get(
    "/api/jobs/<job_id>/plan",
    answers=answers({200: Plan}, 404, 409, 410, 503),
)
def plan(path: JobPath) -> Response:
    """Read the plan: the highlights and why, and what nearly was one."""
    status = read(path.job_id).status
    return _document(status.plan_key, status, "plan")


@blueprint.get(
    "/api/jobs/<job_id>/manifest",
    answers=answers({200: Manifest}, 404, 409, 410, 503),
)
def manifest(path: JobPath) -> Response:
    """Read the manifest: what was made, from what, and the checks that it passed."""
    status = read(path.job_id).status
    return _document(status.manifest_key, status, "manifest")


@blueprint.get(
    "/api/jobs/<job_id>/clips/<int:n>",
    query=ClipQuery,
    answers=answers({200: CLIP, 206: CLIP}, 404, 409, 410, 416, 503),
)
def clip(path: ClipPath) -> Response:
    """Read a clip, or the part of it that `Range` names."""
    is_download = read_query(ClipQuery, request.args).download
    status = read(path.job_id).status
    made = _made_clip(status, path.n)
    return _file(_key(status, made.file), made.sha256, _file_name(status, path.n, made.file), is_download=is_download)


@blueprint.get(
    "/api/jobs/<job_id>/clips/<int:n>/thumbnail",
    answers=answers({200: file_answer("image/jpeg", "The thumbnail.")}, 404, 409, 410, 503),
)
def thumbnail(path: ClipPath) -> Response:
    """Read a clip's thumbnail."""
    status = read(path.job_id).status
    made = _made_clip(status, path.n)
    name = _file_name(status, path.n, made.thumbnail)
    return _file(_key(status, made.thumbnail), f"{made.sha256}-thumbnail", name, is_download=False)


@blueprint.get(
    "/api/jobs/<job_id>/clips/<file>",
    answers=answers({200: CLIP, 206: CLIP}, 404, 409, 410, 416, 503),
)
def file(path: FilePath) -> Response:
    """Read a clip or thumbnail by the name that the manifest gives it: its links work relative to the manifest."""
    status = read(path.job_id).status
    for made in _manifest(status).clips:
        if made.file == f"clips/{path.file}":
            return _file(_key(status, made.file), made.sha256, path.file, is_download=False)
        if made.thumbnail == f"clips/{path.file}":
            return _file(_key(status, made.thumbnail), f"{made.sha256}-thumbnail", path.file, is_download=False)
    raise ArtifactMissing(f"the job has no file {path.file}")


@blueprint.get(
    "/api/jobs/<job_id>/clips.zip",
    answers=answers({200: file_answer("application/zip", "All clips and the manifest.")}, 404, 409, 410, 503),
)
def archive(path: JobPath) -> Response:
    """Read all clips in one archive, made while it is sent."""
    status = read(path.job_id).status
    made = _manifest(status)
    store = services().store
    clips = [Member(_file_name(status, c.n, c.file), store.read(_key(status, c.file))) for c in made.clips]
    text = made.model_dump_json(indent=2).encode()
    blocks = zip_blocks([*clips, Member("manifest.json", iter([text]))], status.created_at)
    response = Response(blocks, content_type="application/zip")
    _name(response, f"{_stem(status)}-clips.zip", is_download=True)
    return response


def _document(key: str | None, status: JobStatus, what: str) -> Response:
    """A JSON artifact, byte for byte as it was made; its key names its content."""
    if key is None:
        raise _not_there(status, what)
    response = Response(services().store.get_bytes(key), content_type="application/json")
    response.set_etag(key.rpartition("/")[2].removesuffix(".json"))
    response.headers["Cache-Control"] = "no-cache"
    response.make_conditional(request)
    return response


def _not_there(status: JobStatus, what: str) -> NotReady | ArtifactMissing:
    """Not yet, or never."""
    if status.state.is_terminal:
        return ArtifactMissing(f"the job is {status.state} and has no {what}")
    return NotReady(f"the job has no {what} yet", {"hint": "follow the job's status until its link is there"})


def _manifest(status: JobStatus) -> Manifest:
    if status.manifest_key is None:
        raise _not_there(status, "clips")
    return _read_manifest(status.manifest_key)


@cached(LRUCache(256), lock=Lock())
def _read_manifest(key: str) -> Manifest:
    """A manifest never changes under its key."""
    return Manifest.model_validate_json(services().store.get_bytes(key))


def _made_clip(status: JobStatus, n: int) -> ManifestClip:
    """A clip of the manifest. Raises: NotReady while it may still come, ArtifactMissing where it never will."""
    if status.manifest_key is None:
        planned = {c.n for c in status.clips} or set(range(1, int(status.options.get("count", 50)) + 1))
        if n in planned:
            raise _not_there(status, f"clip {n}")
        raise ArtifactMissing(f"the job has no clip {n}")
    found = _manifest(status)
    for made in found.clips:
        if made.n == n:
            return made
    failed = next((f for f in found.failed if f.n == n), None)
    raise ArtifactMissing(f"clip {n} could not be made: {failed.message}" if failed else f"the job has no clip {n}")


def _key(status: JobStatus, file: str) -> str:
    """Store key of a file that the manifest names relative to itself."""
    folder = (status.manifest_key or "").rpartition("/")[0] or job_folder(status.id)
    return f"{folder}/{file}"


def _file(key: str, etag: str, name: str, *, is_download: bool) -> Response:
    """A file of the store, whole or in part. Raises: ArtifactMissing."""
    store = services().store
    size = store.size(key)
    media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    if request.if_none_match.contains(etag):
        response = Response(status=304)
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
    _name(response, name, is_download=is_download)
    return response


def _part(key: str, size: int, part: tuple[int, int] | None) -> Response:
    start, end = part or (0, size)
    blocks: Iterator[bytes] = iter(()) if request.method == "HEAD" else services().store.read(key, start, end)
    response = Response(blocks, 206 if part else 200)
    response.content_length = end - start
    if part:
        response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return response


def _stem(status: JobStatus) -> str:
    """The source's name without suffix, fit for any file system."""
    stem = re.sub(r"\.[A-Za-z0-9]{1,8}$", "", status.name)
    return re.sub(r'[\x00-\x1f<>:"/\\|?*]+', "_", stem).strip(" .")[:80] or "clips"


def _file_name(status: JobStatus, n: int, file: str) -> str:
    return f"{_stem(status)}-clip-{n}.{file.rpartition('.')[2]}"


def _name(response: Response, name: str, *, is_download: bool) -> None:
    plain = name.encode("ascii", "ignore").decode() or "clip"
    options = {"filename": plain}
    if plain != name:
        options["filename*"] = f"UTF-8''{quote(name, safe='')}"
    kind = "attachment" if is_download else "inline"
    response.headers["Content-Disposition"] = dump_options_header(kind, options)
