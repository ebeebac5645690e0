"""GET /api/job-status/<id>: the status, from the cache or from Redis, with an ETag; `?wait=` holds until it changes."""

import json
from time import monotonic

from flask import Response, request
from pydantic import TypeAdapter, ValidationError
from werkzeug.exceptions import Unauthorized

from topclip.errors import UnknownJob
from topclip.model.job import JobId
from web import caller
from web.openapi import JOBS, Api, answers
from web.schemas import JobPath, StatusDocument, StatusQuery, etag, read_query, status_document
from web.services import services
from web.status_cache import Reading
from workers import patience

blueprint = Api("status", __name__, abp_tags=[JOBS])

MAX_WAIT_S = 60.0
_job_ids = TypeAdapter(JobId)


@blueprint.get(
    "/api/job-status/<job_id>",
    query=StatusQuery,
    answers=answers({200: StatusDocument, 304: None}, 404, 410, 422, 503),
)
def show(path: JobPath) -> Response:
    """Read a job's status; with `wait`, hold the answer until it differs from `If-None-Match` or the time is up."""
    wait_s = read_query(StatusQuery, request.args).wait if request.args else 0.0
    reading = read(path.job_id)
    if wait_s > 0 and _is_worth_waiting(reading):
        with services().poll_seats.seat(), services().seats.seat():
            reading = _wait(path.job_id, reading, min(wait_s, MAX_WAIT_S))
    services().metrics.statuses.labels(reading.source).inc()
    return answer(reading)


def read(job_id: str) -> Reading:
    """The status of a job whose id came from a client. Raises: UnknownJob, JobExpired, QueueUnavailable."""
    return services().cache.get(known_shape(job_id))


def known_shape(job_id: str) -> JobId:
    """The id, if it is one. Raises: UnknownJob: what is no id was never given out, Redis need not be asked."""
    try:
        return _job_ids.validate_python(job_id)
    except ValidationError as err:
        raise UnknownJob(f"no job {job_id}") from err


def answer(reading: Reading, status: int = 200) -> Response:
    """A status as an answer, 304 where the client has it already."""
    if (body := reading.views.get("json")) is None:
        body = reading.views["json"] = json.dumps(status_document(reading)).encode()
    headers = {"ETag": f'"{etag(reading)}"', "Cache-Control": "no-cache"}
    if reading.stale:
        headers["Retry-After"] = "1"
    response = Response(body, status, headers, content_type="application/json")
    if status == 200 and "If-None-Match" in request.headers:
        response.make_conditional(request)
    return response


def _is_worth_waiting(reading: Reading) -> bool:
    """Nothing more comes of a finished job, and with Redis away nobody is kept waiting."""
    is_known = not request.if_none_match or request.if_none_match.contains(etag(reading))
    return is_known and not reading.stale and not reading.status.state.is_terminal


def _wait(job_id: str, reading: Reading, wait_s: float) -> Reading:
    """Wait until the status differs from `reading` or the time is up."""
    tag, end = etag(reading), monotonic() + wait_s
    is_welcome = caller.welcome(services().keys)
    with services().followers.follow(job_id) as follower:
        reading = services().cache.get(job_id)
        while etag(reading) == tag and not follower.is_over and (left_s := end - monotonic()) > 0:
            follower.wait(min(left_s, 1.0))
            if not is_welcome():
                raise Unauthorized("the API key was revoked")
            patience.begin()  # each look is one of its own
            reading = services().cache.get(job_id)
    return reading
