"""The job list, cancel, retry and delete."""

from flask import Response, request

from topclip.errors import QueueUnavailable
from topclip.model.base import JsonDict
from topclip.model.job import JobState, JobStatus
from web import caller
from web.openapi import JOBS, Api, answers
from web.schemas import JobListing, JobPath, ListQuery, StatusDocument, read_query, status_document
from web.services import services
from web.status import answer, known_shape
from web.status_cache import Clock, Reading
from web.submit import refuse_low_disk

blueprint = Api("jobs", __name__, abp_tags=[JOBS])


@blueprint.get(
    "/api/jobs",
    query=ListQuery,
    answers=answers({200: JobListing}, 422, 503),
)
def listing() -> JsonDict:
    """List jobs, newest first; `next_cursor` leads to the next page and is null on the last."""
    query = read_query(ListQuery, request.args)
    try:
        page = services().client.list(limit=query.limit, cursor=query.cursor, state=query.state, owner=caller.viewer())
    except QueueUnavailable:
        return _last_known(query)
    now = Clock().now()
    for status in page.jobs:
        services().cache.remember(status)
    documents = [status_document(Reading(status, "redis", stale=False, as_of=now)) for status in page.jobs]
    return {"jobs": documents, "next_cursor": page.next_cursor, "total": page.total, "stale": False}


def _last_known(query: ListQuery) -> JsonDict:
    """What this process knows while Redis is away. Raises: QueueUnavailable if that is nothing."""
    viewer = caller.viewer()
    known = [r for r in services().cache.known() if query.state in (None, r.status.state)]
    known = [r for r in known if viewer in (None, r.status.owner)]
    if not known:
        raise QueueUnavailable("Redis does not answer, and this server knows of no job yet")
    documents = [status_document(reading) | {"stale": True} for reading in known[: query.limit]]
    return {"jobs": documents, "next_cursor": None, "total": len(known), "stale": True}


@blueprint.post(
    "/api/jobs/<job_id>/cancel",
    answers=answers({200: StatusDocument, 202: StatusDocument}, 404, 409, 410, 503),
)
def cancel(path: JobPath) -> Response:
    """Cancel a job: 200 if it was still queued and is cancelled, 202 if its running tasks are being stopped."""
    status = services().client.cancel(known_shape(path.job_id))
    services().cache.remember(status)
    reading = Reading(status, "redis", stale=False, as_of=Clock().now())
    return answer(reading, 200 if status.state is JobState.CANCELLED else 202)


@blueprint.post(
    "/api/jobs/<job_id>/retry",
    answers=answers({202: StatusDocument}, 404, 409, 410, 429, 503, 507),
)
def retry(path: JobPath) -> Response:
    """Start a job again that failed, was cancelled or lacks clips: only what is missing is made. Its expiry stays."""
    job_id = known_shape(path.job_id)
    refuse_low_disk(0)
    return begun_again(services().client.retry(job_id))


def begun_again(status: JobStatus) -> Response:
    """202 for a job that was started again, and its followers told."""
    services().cache.remember(status)
    services().followers.wake(status.id)
    return answer(Reading(status, "redis", stale=False, as_of=Clock().now()), 202)


@blueprint.delete(
    "/api/jobs/<job_id>",
    answers=answers({204: None}, 404, 409, 410, 503),
)
def delete(path: JobPath) -> Response:
    """Delete a finished job with its clips and all that it made."""
    services().client.delete(known_shape(path.job_id))
    services().cache.forget(path.job_id)
    services().followers.wake(path.job_id)
    return Response(status=204)
