"""POST /api/jobs: take a source and options, answer 202 once the job is in Redis; a refusal leaves nothing behind."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from flask import request
from pydantic import BaseModel
from werkzeug.exceptions import UnsupportedMediaType
from werkzeug.http import parse_options_header

from topclip.errors import InvalidRequest, RequestError, TopClipError
from topclip.model.job import JobStatus, SubmissionKey
from topclip.model.request import ClipOptions, ClipRequest, MediaPath, SourceRef, SubtitlesRef, Upload, UrlSource
from topclip.outbound.url import is_url
from topclip.storage.base import job_folder, no_room, subtitles_key, upload_key
from web import doors
from web.intake import (
    MAX_SUBTITLES_BYTES,
    Form,
    Terms,
    check_callback,
    find_in_library,
    read_form,
    read_text,
    staged,
    suffix_of,
    too_large,
    too_long_subtitles,
)
from web.openapi import JOBS, Api, answers
from web.schemas import Accepted, PathSubmission, SubmitHeaders, UploadSubmission, read_submission, status_url
from web.services import services
from workers.client import is_undecided

blueprint = Api("submit", __name__, abp_tags=[JOBS])

FORM_BYTES = (1 << 20) + MAX_SUBTITLES_BYTES
"""What a form may be longer than its video."""
KEY_HEADER = "Idempotency-Key"
MAX_KEY_LENGTH = 255

MEDIA_TYPES: dict[str, type[BaseModel]] = {
    "multipart/form-data": UploadSubmission,
    "application/json": PathSubmission,
}


@blueprint.post(
    "/api/jobs",
    body=MEDIA_TYPES,
    headers=SubmitHeaders,
    answers=answers({202: Accepted}, 400, 404, 413, 415, 422, 429, 503, 507),
)
def submit() -> tuple[dict[str, Any], int, dict[str, str]]:
    """Submit a job: upload a video, or name one by an http(s) URL or in the server's media folder.

    All that can be told before the body is read is told before: a client is not to send gigabytes for a refusal.
    """
    kind, parameters = parse_options_header(request.content_type)
    if kind not in MEDIA_TYPES:
        raise UnsupportedMediaType("send multipart/form-data with a part `file`, or application/json with a `source`")
    digest = _key_digest()
    if kind == "multipart/form-data":
        _refuse_oversize()
    if services().client.has_room(owner=doors.owner(), digest=digest):
        refuse_low_disk(request.content_length or 0, "file" if kind == "multipart/form-data" else "source")
    status = _take_path(digest) if kind == "application/json" else _take_upload(parameters.get("boundary", ""), digest)
    url = status_url(status.id)
    return {"id": status.id, "status_url": url}, 202, {"Location": url}


def _key_digest() -> str:
    """What stands for the client's key and its owner; empty without one. Raises: InvalidRequest."""
    key = request.headers.get(KEY_HEADER)
    if key is None:
        return ""
    if not 0 < len(key) <= MAX_KEY_LENGTH:
        hint = "a new random UUID for each new submission is best"
        raise InvalidRequest(f"the key has 1 to {MAX_KEY_LENGTH} characters", {"field": KEY_HEADER, "hint": hint})
    return _hash([doors.owner(), key])


def _refuse_oversize() -> None:
    """Go by the length that the client announces, where it does."""
    max_bytes = services().settings.max_upload_mb << 20
    if (request.content_length or 0) > max_bytes + FORM_BYTES:
        raise too_large(max_bytes)


def refuse_low_disk(n_bytes: int, field: str | None = None) -> None:
    """Refuse what would leave less room in the store than the settings keep free. Raises: StorageFull."""
    free = services().store.free_bytes()
    if free is not None and free - n_bytes < services().settings.min_free_mb << 20:
        raise no_room(field)


def _take_path(digest: str) -> JobStatus:
    submission = read_submission(read_text(request.stream))
    _check_options(submission.options)
    if is_url(submission.source):
        return _take_url(submission, digest)
    source = find_in_library(submission.source, services().settings.media_root)
    text = _subtitles_path(submission)
    services().sniffer.refuse_unfit(Path(source.path), "source")
    key = _key(digest, source.path, submission.options, text.path if text else "")
    return _post(submission.options, key, lambda _: source, lambda _: text)


def _subtitles_path(submission: PathSubmission) -> MediaPath | None:
    """The subtitle file that a body names. Raises: InvalidRequest, SourceNotFound, BadSubtitles."""
    if submission.subtitles is None:
        return None
    found = find_in_library(submission.subtitles, services().settings.media_root, "subtitles")
    if Path(found.path).stat().st_size > MAX_SUBTITLES_BYTES:
        raise too_long_subtitles()
    services().sniffer.refuse_bad_subtitles(Path(found.path), found.name)
    return found


def _take_url(submission: PathSubmission, digest: str) -> JobStatus:
    """Take what can be told of a URL at once; a worker fetches it and sees the rest."""
    target = services().outbound.check(submission.source, "source")

    def source(job_id: str) -> SourceRef:
        return UrlSource(url=str(target.url), key=upload_key(job_id, suffix_of(target.name)), name=target.name)

    text = _subtitles_path(submission)
    key = _key(digest, str(target.url), submission.options, text.path if text else "")
    return _post(submission.options, key, source, lambda _: text)


def _take_upload(boundary: str, digest: str) -> JobStatus:
    if not boundary:
        raise RequestError("the multipart body names no boundary")
    store = services().store
    max_bytes = services().settings.max_upload_mb << 20
    terms = Terms(max_bytes, lambda n: refuse_low_disk(n, "file"), is_hashed=bool(digest))
    with ExitStack() as stack:
        path = stack.enter_context(staged(store.staging()))
        form = read_form(request.stream, boundary, path, terms, _check_options)
        options = form.options or ClipOptions()
        services().sniffer.refuse_unfit(path, "file")

        def publish(job_id: str) -> SourceRef:
            key = upload_key(job_id, suffix_of(form.name))
            store.put_file(key, path)
            return Upload(key=key, name=form.name or "upload")

        subtitles = stack.enter_context(_staged_subtitles(form))
        return _post(options, _key(digest, form.sha256, options, _digest(form.subtitles)), publish, subtitles)


def _digest(content: bytes | None) -> str:
    return "" if content is None else hashlib.sha256(content).hexdigest()


@contextmanager
def _staged_subtitles(form: Form) -> Iterator[Callable[[str], SubtitlesRef | None]]:
    """Look at the subtitles of a form; what publishes them under a job's id. Raises: BadSubtitles."""
    if form.subtitles is None:
        yield lambda _: None
        return
    content, name = form.subtitles, form.subtitles_name or "subtitles"
    with staged(services().store.staging()) as path:
        path.write_bytes(content)
        services().sniffer.refuse_bad_subtitles(path, name)

    def publish(job_id: str) -> SubtitlesRef:
        key = subtitles_key(job_id, suffix_of(name))
        services().store.put_bytes(key, content)
        return Upload(key=key, name=name)

    yield publish


def _check_options(options: ClipOptions) -> None:
    check_callback(options, services().settings, services().outbound)


def _key(digest: str, source: str, options: ClipOptions, subtitles: str) -> SubmissionKey | None:
    """The client's key and what it stands for. source, subtitles: path, or hash of the content; names do not count."""
    stands_for = [source, options.to_dict(), *([subtitles] if subtitles else [])]
    return SubmissionKey(digest=digest, body=_hash(stands_for)) if digest else None


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _post(
    options: ClipOptions,
    key: SubmissionKey | None,
    publish: Callable[[str], SourceRef],
    publish_subtitles: Callable[[str], SubtitlesRef | None],
) -> JobStatus:
    """Publish source and subtitles under a new job's id and post it; the status of the job that its key stands for already.

    Raises: QueueUnavailable, with nothing left behind but what the key may still stand for.
    """
    job_id = str(uuid4())
    try:
        request_ = ClipRequest(source=publish(job_id), options=options, subtitles=publish_subtitles(job_id))
        status = services().client.submit(job_id, request_, owner=doors.owner(), key=key)
    except TopClipError as err:
        if not is_undecided(err):
            services().store.delete(job_folder(job_id))
        raise
    if status.id != job_id:
        services().store.delete(job_folder(job_id))
    services().cache.remember(status)
    return status
