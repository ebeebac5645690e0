"""GET /api/jobs/<id>/events: the job's changes as server-sent events, until it is finished."""

import json
from collections.abc import Callable, Iterator
from time import monotonic

from flask import Response, request

from topclip.errors import JobExpired, QueueUnavailable, UnknownJob
from topclip.model.base import JsonDict
from topclip.model.job import JobId
from web import caller
from web.openapi import JOBS, Api, answers
from web.schemas import JobPath, status_document
from web.services import Services, services
from web.status import known_shape
from web.status_cache import Version, version_of

blueprint = Api("events", __name__, abp_tags=[JOBS])

PING_S = 15.0
LOOK_S = 1.0
"""Progress and the place in the queue may move without an event; nobody sees them older than this."""
RETRY_MS = 2000
VOLATILE = ("as_of", "source", "eta_s")
STREAM = {"description": "Events named `status`.", "content": {"text/event-stream": {"schema": {"type": "string"}}}}


@blueprint.get(
    "/api/jobs/<job_id>/events",
    answers=answers({200: STREAM, 204: None}, 404, 410, 503),
)
def stream(path: JobPath) -> Response:
    """Follow a job by server-sent events: `event: status`, `id: <epoch>-<revision>`, `data:` the status document."""
    parts, job, seen = services(), known_shape(path.job_id), _last_event_id()
    status = parts.cache.get(job).status
    if status.state.is_terminal and seen == version_of(status):
        return Response(status=204)  # tells EventSource not to come back
    parts.seats.take()
    events = _events(parts, job, seen, caller.welcome(parts.keys))
    response = Response(events, content_type="text/event-stream; charset=utf-8")
    response.call_on_close(parts.seats.leave)
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _last_event_id() -> Version | None:
    """What the client has seen, if it says so in our form."""
    epoch, _, revision = request.headers.get("Last-Event-ID", "").partition("-")
    return (int(epoch), int(revision)) if epoch.isdecimal() and revision.isdecimal() else None


def _events(parts: Services, job_id: JobId, seen: Version | None, is_welcome: Callable[[], bool]) -> Iterator[str]:
    """The stream's text: a status whenever it differs from the last, a comment when nothing happens for long."""
    yield f"retry: {RETRY_MS}\n\n"
    feed = _Feed(parts, job_id, seen)
    spoke_s = monotonic()
    with parts.followers.follow(job_id) as follower:
        while not feed.is_over and not follower.is_over and is_welcome():
            if text := feed.news():
                yield text
                spoke_s = monotonic()
            elif monotonic() - spoke_s >= PING_S:
                yield ": ping\n\n"
                spoke_s = monotonic()
            if not feed.is_over:
                follower.wait(LOOK_S)


class _Feed:
    """What one client was told of one job. Statuses never go back to an older version."""

    def __init__(self, parts: Services, job_id: JobId, seen: Version | None) -> None:
        self._parts = parts
        self._job_id = job_id
        self._seen = seen
        self._told: JsonDict | None = None
        self.is_over = False

    def news(self) -> str | None:
        """The event to send now, if there is one."""
        try:
            reading = self._parts.cache.get(self._job_id)
        except QueueUnavailable:
            return None
        except (UnknownJob, JobExpired) as err:
            self.is_over = True
            return f"event: gone\ndata: {json.dumps({'code': err.code, 'detail': err.message})}\n\n"
        self.is_over = reading.status.state.is_terminal and not reading.stale
        version = version_of(reading.status)
        document = status_document(reading)
        if not self._is_news(version, document):
            return None
        return f"event: status\nid: {version[0]}-{version[1]}\ndata: {json.dumps(document)}\n\n"

    def _is_news(self, version: Version, document: JsonDict) -> bool:
        lasting = {k: v for k, v in document.items() if k not in VOLATILE}
        if self._told is None and self._seen is not None and version <= self._seen and not document["stale"]:
            self._told = lasting
            return False
        is_news = lasting != self._told
        self._told = lasting
        return is_news
