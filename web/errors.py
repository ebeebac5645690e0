"""Error code to HTTP status, and the one shape of an error: RFC 9457 problem+json with a stable `code`."""

import json
import logging
from typing import Any, cast

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException
from werkzeug.http import HTTP_STATUS_CODES

from topclip.errors import JobExpired, StorageUnavailable, TopClipError
from topclip.model.job import JobState

log = logging.getLogger(__name__)

PROBLEM_JSON = "application/problem+json"
RETRY_AFTER_S = 2
ROOM_AFTER_S = 60
"""By then what is old may have gone from a store that is full."""

STATUS = {
    "BAD_REQUEST": 400,
    "SOURCE_NOT_FOUND": 404,
    "UNKNOWN_JOB": 404,
    "ARTIFACT_MISSING": 404,
    "JOB_CONFLICT": 409,
    "NOT_READY": 409,
    "JOB_EXPIRED": 410,
    "SOURCE_TOO_LARGE": 413,
    "UNSUPPORTED_MEDIA": 415,
    "PROBE_FAILED": 415,
    "INVALID_REQUEST": 422,
    "URL_REFUSED": 422,
    "BAD_SUBTITLES": 422,
    "BAD_AUDIENCE": 422,
    "NO_TRANSCRIPT": 422,
    "NO_TRANSCRIBER": 422,
    "MEDIA": 422,
    "DECODE_FAILED": 422,
    "MEDIA_LIMIT": 422,
    "NO_HIGHLIGHTS": 422,
    "STORAGE_UNAVAILABLE": 503,
    "QUEUE_UNAVAILABLE": 503,
    "QUEUE_FULL": 429,
    "RATE_LIMITED": 429,
    "SERVER_BUSY": 503,
    "URL_UNREACHABLE": 502,
    "SOURCE_CHANGED": 502,
    "STORAGE_FULL": 507,
    "NOT_REMOVED": 503,
}
"""HTTP status by the code of a TopClipError; what is not here is the server's own fault, 500."""

TOLD = ("field", "errors", "hint", "state", "expires_at")
"""What of an error's detail a client is told; the rest, such as a command line, stays in the log."""

STORE_AWAY = "the store cannot be reached now"
"""All that a client is told of it: the log has the server, the bucket, the folder."""


def problem(status: int, code: str, detail: str, more: dict[str, Any] | None = None) -> Response:
    """A problem+json answer. `type` leads to the code's row on the documentation page."""
    body = {
        "type": f"/api/docs#{code}",
        "title": HTTP_STATUS_CODES.get(status, "Error"),
        "status": status,
        "detail": detail,
        "code": code,
        **(more or {}),
    }
    return Response(json.dumps(body), status, content_type=PROBLEM_JSON)


def from_error(err: TopClipError) -> Response:
    """The answer to one of our own errors."""
    status = STATUS.get(err.code, 500)
    if status == 500:
        log.error("%s %s: %s", request.method, request.path, err.message, exc_info=err)
    if isinstance(err, StorageUnavailable):
        log.warning("%s %s: %s%s", request.method, request.path, err, f"; {err.hint}" if err.hint else "")
        err = StorageUnavailable(STORE_AWAY)
    told = {key: err.detail[key] for key in TOLD if err.detail.get(key) is not None}
    if err.code == JobExpired.code:
        told.setdefault("state", JobState.EXPIRED)
    response = problem(status, err.code, err.message, told)
    if status == 507:
        response.headers["Retry-After"] = str(ROOM_AFTER_S)
    if err.retryable:
        response.headers["Retry-After"] = str(err.detail.get("retry_after_s", RETRY_AFTER_S))
    return response


def from_http(err: HTTPException) -> Response:
    """The answer to an error of Flask's own, such as no such path; its headers (`Allow`) are kept."""
    status = err.code or 500
    if err.response is not None or status < 400:
        return cast("Response", Response.force_type(err.get_response()))
    code = HTTP_STATUS_CODES.get(status, "Error").upper().replace(" ", "_").replace("'", "")
    response = problem(status, code, err.description or "")
    for name, value in err.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response


def from_bug(err: Exception) -> Response:
    """The answer to an error that nobody foresaw: the log has all of it, the client learns nothing of our insides."""
    log.error("%s %s failed", request.method, request.path, exc_info=err)
    return problem(500, "INTERNAL", "The server made a mistake; its log says which.")


def register(app: Flask) -> None:
    """Have every error answered in the one shape."""
    app.register_error_handler(TopClipError, from_error)
    app.register_error_handler(HTTPException, from_http)
    app.register_error_handler(Exception, from_bug)
