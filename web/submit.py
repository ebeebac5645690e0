"""POST /api/jobs: take a source and options, answer 202 once the job is in Redis; a refusal leaves nothing behind."""

import contextlib
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from flask import request
from pydantic import BaseModel
from werkzeug.exceptions import UnsupportedMediaType
from werkzeug.http import parse_options_header

from topclip.errors import InvalidRequest, QueueUnavailable, RequestError, TopClipError
from topclip.model.job import JobStatus, SubmissionKey
from topclip.model.request import AttachedRef, ClipOptions, ClipRequest, SourceRef, Upload, UrlSource
from topclip.outbound.text import is_url
from topclip.storage.base import audience_key, job_folder, no_room, over_budget, subtitles_key, upload_key
from web import doors
from web.intake import (
    ATTACHED,
    MAX_ATTACHED_BYTES,
    Form,
    Terms,
    check_callback,
    find_in_library,
    read_form,
    read_text,
    staged,
    suffix_of,
    too_large,
    too_long,
)
from web.openapi import JOBS, Api, answers
from web.schemas import Accepted, PathSubmission, SubmitHeaders, UploadSubmission, read_submission, status_url
from web.services import services
from workers.client import is_undecided

blueprint = Api("submit", __name__, abp_tags=[JOBS])

FORM_BYTES = (1 << 20) + len(ATTACHED) * MAX_ATTACHED_BYTES
"""What a form may be longer than its video."""
KEY_HEADER = "Idempotency-Key"
MAX_KEY_LENGTH = 255

KEYS = {"subtitles": subtitles_key, "audience": audience_key}
Publish = Callable[[str], dict[str, AttachedRef]]
"""Puts what came with a source under a job's id; the references by their fields of the request."""

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
    """Refuse what would leave less room in the store than the settings keep free, or pass its budget. Raises: StorageFull."""
    free, settings = services().store.free_bytes(), services().settings
    if free is not None and free - n_bytes < settings.min_free_mb << 20:
        raise no_room(field)
    if settings.store_budget_bytes:
        with contextlib.suppress(QueueUnavailable):  # which whoever writes the job says
            use = services().client.store_use()
            if use and not use.has_room(n_bytes, settings.store_budget_bytes):
                services().client.ask_for_room()
                raise over_budget(field)


def _take_path(digest: str) -> JobStatus:
    submission = read_submission(read_text(request.stream))
    _check_options(submission.options)
    if is_url(submission.source):
        return _take_url(submission, digest)
    source = find_in_library(submission.source, services().settings.media_root)
    attached, stands_for = _attached_paths(submission)
    services().sniffer.refuse_unfit(Path(source.path), "source")
    key = _key(digest, source.path, submission.options, stands_for)
    return _post(submission.options, key, lambda _: source, lambda _: attached)


def _attached_paths(submission: PathSubmission) -> tuple[dict[str, AttachedRef], dict[str, str]]:
    """The files that a body names beside its source, by field, and their paths.

    Raises: InvalidRequest, SourceNotFound, BadSubtitles, BadAudience.
    """
    found: dict[str, AttachedRef] = {}
    paths: dict[str, str] = {}
    for field in ATTACHED:
        if (name := getattr(submission, field)) is None:
            continue
        ref = find_in_library(name, services().settings.media_root, field)
        if Path(ref.path).stat().st_size > MAX_ATTACHED_BYTES:
            raise too_long(field)
        services().sniffer.refuse_unreadable(Path(ref.path), ref.name, field)
        found[field], paths[field] = ref, ref.path
    return found, paths


def _take_url(submission: PathSubmission, digest: str) -> JobStatus:
    """Take what can be told of a URL at once; a worker fetches it and sees the rest."""
    target = services().outbound.check(submission.source, "source")

    def source(job_id: str) -> SourceRef:
        return UrlSource(url=str(target.url), key=upload_key(job_id, suffix_of(target.name)), name=target.name)

    attached, stands_for = _attached_paths(submission)
    key = _key(digest, str(target.url), submission.options, stands_for)
    return _post(submission.options, key, source, lambda _: attached)


def _take_upload(boundary: str, digest: str) -> JobStatus:
    if not boundary:
        raise RequestError("the multipart body names no boundary")
    store = services().store
    max_bytes = services().settings.max_upload_mb << 20
    terms = Terms(max_bytes, lambda n: refuse_low_disk(n, "file"), is_hashed=bool(digest))
    with staged(store.staging()) as path:
        form = read_form(request.stream, boundary, path, terms, _check_options)
        options = form.options or ClipOptions()
        services().sniffer.refuse_unfit(path, "file")

        def publish(job_id: str) -> SourceRef:
            key = upload_key(job_id, suffix_of(form.name))
            size = path.stat().st_size
            store.put_file(key, path)
            if services().settings.store_budget_bytes:
                services().client.store_grew(size)
            return Upload(key=key, name=form.name or "upload")

        _refuse_attached(form)
        stands_for = {name: hashlib.sha256(one.content).hexdigest() for name, one in form.attached.items()}
        return _post(options, _key(digest, form.sha256, options, stands_for), publish, _publisher(form))


def _refuse_attached(form: Form) -> None:
    """Look at what came with a form's source. Raises: BadSubtitles, BadAudience."""
    for field, attached in form.attached.items():
        with staged(services().store.staging()) as path:
            path.write_bytes(attached.content)
            services().sniffer.refuse_unreadable(path, attached.name or field, field)


def _publisher(form: Form) -> Publish:
    """What publishes all that came with a form's source."""

    def publish(job_id: str) -> dict[str, AttachedRef]:
        found: dict[str, AttachedRef] = {}
        for field, attached in form.attached.items():
            key = KEYS[field](job_id, suffix_of(attached.name))
            services().store.put_bytes(key, attached.content)
            found[field] = Upload(key=key, name=attached.name or field)
        return found

    return publish


def _check_options(options: ClipOptions) -> None:
    check_callback(options, services().settings, services().outbound)


def _key(digest: str, source: str, options: ClipOptions, attached: dict[str, str]) -> SubmissionKey | None:
    """The client's key and what it stands for. source, attached: path, or hash of the content; names do not count."""
    stands_for = [source, options.to_dict(), *([attached] if attached else [])]
    return SubmissionKey(digest=digest, body=_hash(stands_for)) if digest else None


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _post(
    options: ClipOptions,
    key: SubmissionKey | None,
    publish: Callable[[str], SourceRef],
    publish_attached: Publish,
) -> JobStatus:
    """Publish a source and what came with it under a new job's id and post it; the status of the job that its key stands for.

    Raises: QueueUnavailable, with nothing left behind but what the key may still stand for.
    """
    job_id = str(uuid4())
    try:
        request_ = ClipRequest(source=publish(job_id), options=options, **publish_attached(job_id))
        status = services().client.submit(job_id, request_, owner=doors.owner(), key=key)
    except TopClipError as err:
        if not is_undecided(err):
            services().store.delete(job_folder(job_id))
        raise
    if status.id != job_id:
        services().store.delete(job_folder(job_id))
    services().cache.remember(status)
    return status
