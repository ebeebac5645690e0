"""POST /api/jobs: take a source and options, answer 202 once the job is in Redis; a refusal leaves nothing behind."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

from flask import request
from pydantic import BaseModel
from werkzeug.exceptions import UnsupportedMediaType
from werkzeug.http import parse_options_header

from topclip.errors import RequestError, StorageFull, TopClipError
from topclip.model.job import JobStatus
from topclip.model.request import ClipOptions, ClipRequest, SourceRef, Upload, UrlSource
from topclip.outbound.url import is_url
from topclip.storage.base import job_folder, upload_key
from web import doors
from web.intake import MAX_TEXT_BYTES, check_callback, find_in_library, read_form, staged, suffix_of, too_large
from web.openapi import JOBS, Api, answers
from web.schemas import Accepted, PathSubmission, UploadSubmission, read_submission, status_url
from web.services import services

blueprint = Api("submit", __name__, abp_tags=[JOBS])

HEAD_ROOM_BYTES = 64 << 20
"""Room that must be left on the disk beside an upload; also what a form may be longer than its file."""

MEDIA_TYPES: dict[str, type[BaseModel]] = {
    "multipart/form-data": UploadSubmission,
    "application/json": PathSubmission,
}


@blueprint.post(
    "/api/jobs",
    body=MEDIA_TYPES,
    answers=answers({202: Accepted}, 400, 404, 413, 415, 422, 429, 503, 507),
)
def submit() -> tuple[dict[str, Any], int, dict[str, str]]:
    """Submit a job: upload a video, or name one by an http(s) URL or in the server's media folder."""
    kind, parameters = parse_options_header(request.content_type)
    if kind not in MEDIA_TYPES:
        raise UnsupportedMediaType("send multipart/form-data with a part `file`, or application/json with a `source`")
    _refuse_without_redis()
    status = _take_path() if kind == "application/json" else _take_upload(parameters.get("boundary", ""))
    url = status_url(status.id)
    return {"id": status.id, "status_url": url}, 202, {"Location": url}


def _refuse_without_redis() -> None:
    """Tell the client before it sends gigabytes. The watch may be just starting: then Redis is asked."""
    if not services().watch.is_up:
        services().client.health()


def _take_path() -> JobStatus:
    text = request.stream.read(MAX_TEXT_BYTES + 1)
    if len(text) > MAX_TEXT_BYTES:
        raise RequestError("the body is too long")
    submission = read_submission(text)
    _check_options(submission.options)
    if is_url(submission.source):
        return _take_url(submission)
    source = find_in_library(submission, services().settings.media_root)
    services().sniffer.refuse_unfit(Path(source.path), "source")
    return _post(submission.options, lambda _: source)


def _take_url(submission: PathSubmission) -> JobStatus:
    """Take what can be told of a URL at once; a worker fetches it and sees the rest."""
    target = services().outbound.check(submission.source, "source")

    def source(job_id: str) -> SourceRef:
        return UrlSource(url=str(target.url), key=upload_key(job_id, suffix_of(target.name)), name=target.name)

    return _post(submission.options, source)


def _take_upload(boundary: str) -> JobStatus:
    if not boundary:
        raise RequestError("the multipart body names no boundary")
    store = services().store
    max_bytes = services().settings.max_upload_mb << 20
    _refuse_oversize(max_bytes)
    with ExitStack() as stack:
        path = stack.enter_context(staged(store.staging()))
        form = read_form(request.stream, boundary, path, max_bytes, _check_options)
        services().sniffer.refuse_unfit(path, "file")

        def publish(job_id: str) -> SourceRef:
            key = upload_key(job_id, suffix_of(form.name))
            store.put_file(key, path)
            return Upload(key=key, name=form.name or "upload")

        return _post(form.options or ClipOptions(), publish)


def _check_options(options: ClipOptions) -> None:
    check_callback(options, services().settings, services().outbound)


def _refuse_oversize(max_bytes: int) -> None:
    """Go by the length that the client announces, where it does."""
    length = request.content_length or 0
    if length > max_bytes + HEAD_ROOM_BYTES // 64:
        raise too_large(max_bytes)
    free = services().store.free_bytes()
    if free is not None and free < length + HEAD_ROOM_BYTES:
        raise StorageFull("no room left for the upload", {"field": "file", "hint": "try again later"})


def _post(options: ClipOptions, publish: Callable[[str], SourceRef]) -> JobStatus:
    """Publish the source under a new job's id and post the job. Raises: QueueUnavailable, with nothing left behind."""
    job_id = str(uuid4())
    try:
        request_ = ClipRequest(source=publish(job_id), options=options)
        status = services().client.submit(job_id, request_, owner=doors.owner())
    except TopClipError:
        services().store.delete(job_folder(job_id))
        raise
    services().cache.remember(status)
    return status
