"""Whose a job is: one check before every request whose path names a job, so that no view can forget it.

To whoever does not own it a job does not exist: 404 as for an unknown one, and 503 as for an unknown one while only Redis
could say.
"""

from flask import Flask, request

from topclip.errors import QueueUnavailable
from web import caller
from web.services import services
from web.status import known_shape
from workers.client import unknown


def register(app: Flask) -> None:
    """Have every request checked."""
    app.before_request(refuse_others)


def refuse_others() -> None:
    """Let a job's owner pass, and admins, and all where no key is needed. Raises: UnknownJob, QueueUnavailable, StorageError.

    A job that nobody knows passes: the view answers then.
    """
    job_id, viewer = (request.view_args or {}).get("job_id"), caller.viewer()
    if job_id is None or viewer is None:
        return
    job, parts = known_shape(job_id), services()
    owner = parts.cache.owner(job)
    try:
        owner = parts.client.owner(job) if owner is None else owner
    except QueueUnavailable as err:
        raise _nothing_known() from err
    if owner in (None, viewer):
        return
    raise unknown(job) if parts.watch.is_up else _nothing_known()


def _nothing_known() -> QueueUnavailable:
    return QueueUnavailable("Redis does not answer, and this server knows nothing of the job yet")
