"""GET /api/jobs/<id>/events: the job's changes as server-sent events, until it is finished.

Under our gunicorn worker the connection is handed to `web.streams` once the head is sent, and the request's thread is free.
Another server (Flask's own, a test's) has a thread for each stream.
"""

from collections.abc import Callable, Iterator
from time import monotonic

from flask import Response, request

from topclip.model.job import JobId
from web import caller
from web.feed import Feed, look
from web.openapi import JOBS, Api, answers
from web.schemas import JobPath
from web.services import Services, services
from web.status import known_shape
from web.status_cache import Version, version_of
from web.streams import LOOK_S, PING, PING_S, Follow, HandedOver, is_open_to, take_over

blueprint = Api("events", __name__, abp_tags=[JOBS])

RETRY_MS = 2000
HEAD = f"retry: {RETRY_MS}\n\n"
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
    seat, is_welcome = parts.seats.take(), caller.welcome(parts.keys)
    follow = Follow(job, Feed(seen), seat, is_welcome)
    body = _handed_over(parts, follow) if is_open_to(request) else _events(parts, job, seen, is_welcome)
    response = Response(body, content_type="text/event-stream; charset=utf-8")
    response.call_on_close(seat.leave_unless_kept)
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _last_event_id() -> Version | None:
    """What the client has seen, if it says so in our form."""
    epoch, _, revision = request.headers.get("Last-Event-ID", "").partition("-")
    return (int(epoch), int(revision)) if epoch.isdecimal() and revision.isdecimal() else None


def _handed_over(parts: Services, follow: Follow) -> Iterator[str]:
    """The head, by the request's thread; all else by the thread of all streams."""
    connection, is_chunked = request.environ["gunicorn.socket"], request.environ["SERVER_PROTOCOL"] != "HTTP/1.0"

    def text() -> Iterator[str]:
        yield HEAD
        parts.streams.add(take_over(connection), follow, is_chunked=is_chunked)
        raise HandedOver

    return text()


def _events(parts: Services, job_id: JobId, seen: Version | None, is_welcome: Callable[[], bool]) -> Iterator[str]:
    """The stream's text: a status whenever it differs from the last, a comment when nothing happens for long."""
    yield HEAD
    feed = Feed(seen)
    spoke_s = monotonic()
    with parts.followers.follow(job_id) as follower:
        while not follower.is_over and is_welcome():
            news = look(parts.cache, job_id)
            if news and feed.takes(news):
                yield news.text
                spoke_s = monotonic()
            elif monotonic() - spoke_s >= PING_S:
                yield PING
                spoke_s = monotonic()
            if news and news.is_last:
                return
            follower.wait(LOOK_S)
