"""create_app: the wiring of one web process, and nothing else."""

import logging
import time
from typing import cast

from flask import Flask, Response, g, request
from flask_openapi3 import OpenAPI

from topclip.config import Settings
from topclip.errors import StorageError
from topclip.model.job import JobEvent
from topclip.outbound.http import Outbound
from topclip.storage.base import ArtifactStore
from web import callbacks, changes, clips, doors, errors, events, health, jobs, owners, page, plans, status, submit
from web.caller import owner
from web.drain import drain_after_refusal
from web.follow import Followers, Seats
from web.gauges import Gauges
from web.keys import KeyRing
from web.metrics import Metrics
from web.openapi import INFO, register_api, schemas_of
from web.rates import Rates
from web.refresher import Refresher
from web.schemas import PathSubmission, Problem, Recut, ReplanOptions, UploadSubmission
from web.services import EXTENSION, Services, services
from web.sniff import Sniffer
from web.status_cache import StatusCache
from web.streams import Streams
from web.vitals import Vitals
from workers import patience
from workers.client import JobClient

log = logging.getLogger(__name__)

VIEWS = (submit, status, jobs, changes, events, callbacks, plans, clips, health)

ABANDONED_S = 3600.0
"""An upload that nothing was written to for so long belongs to nobody any more."""
METHODS = ("GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH")


def create_app(settings: Settings, client: JobClient, store: ArtifactStore) -> OpenAPI:
    """The web application. Its watch is not started: `start` does that in the process that serves.

    Raises: ConfigError if it would stand open to others.
    """
    ring = KeyRing(settings, store)
    doors.check_exposure(ring, [settings.host])
    app = OpenAPI(__name__, info=INFO, doc_ui=False, validation_error_model=Problem)
    app.json.sort_keys = False
    app.extensions[EXTENSION] = _services(settings, client, store, ring)
    _bound(app)
    doors.register(app, settings, ring)
    Rates(settings).register(app)
    owners.register(app)
    errors.register(app)
    _measure(app)
    app.after_request(drain_after_refusal)
    for view in VIEWS:
        register_api(app, view.blueprint)
    app.register_blueprint(page.blueprint)
    app.components_schemas.update(schemas_of(PathSubmission, UploadSubmission, ReplanOptions, Recut, Problem))
    return app


def start(app: Flask) -> None:
    """Begin to hear of changes; to be called once, in the process that serves."""
    parts = services_of(app)
    try:
        parts.store.sweep(ABANDONED_S)
    except StorageError as err:
        log.warning("staging is not swept: %s", err)
    parts.sniffer.start()
    parts.refresher.start()
    parts.keys.start()
    parts.streams.start()
    parts.watch.start()


def stop(app: Flask) -> None:
    """Send those home who wait, and hear no more."""
    parts = services_of(app)
    parts.followers.close()
    parts.streams.stop()
    parts.sniffer.stop()
    parts.watch.stop()
    parts.refresher.stop()
    parts.keys.stop()


def services_of(app: Flask) -> Services:
    """The parts of an application, outside a request."""
    return cast("Services", app.extensions[EXTENSION])


def _services(settings: Settings, client: JobClient, store: ArtifactStore, ring: KeyRing) -> Services:
    def on_event(event: JobEvent) -> None:
        cache.on_event(event)
        refresher.wake()
        followers.wake(event.id)

    def on_gap() -> None:
        client.name_store()
        cache.on_gap()
        refresher.wake()
        followers.wake_all()

    watch = client.watch(on_event, on_gap)
    cache = StatusCache(client.read, lambda: watch.is_up)
    streams = Streams(cache)
    followers = Followers(streams.wake, streams.wake_all)
    refresher = Refresher(cache, lambda: watch.is_up)
    vitals = Vitals(settings, client, store, watch)
    return Services(
        settings=settings,
        keys=ring,
        client=client,
        store=store,
        watch=watch,
        cache=cache,
        refresher=refresher,
        followers=followers,
        seats=Seats(settings.max_streams),
        poll_seats=Seats(max(1, settings.web_threads * 3 // 4)),  # each holds a thread: short answers always find one
        streams=streams,
        sniffer=Sniffer(settings),
        outbound=Outbound(settings.private_networks),
        vitals=vitals,
        metrics=Metrics(Gauges(vitals, settings.min_free_mb << 20)),
    )


def _bound(app: Flask) -> None:
    """Bound the time that each request waits for Redis, all its questions together."""

    @app.before_request
    def begin() -> None:
        patience.begin()

    @app.teardown_request
    def end(_: BaseException | None) -> None:
        patience.end()


def _measure(app: Flask) -> None:
    """Count requests and take their time, by route: a path would make a series of each job."""

    @app.before_request
    def begin() -> None:
        g.begun_s = time.perf_counter()

    @app.after_request
    def end(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule else "none"
        metrics = services().metrics
        method = request.method if request.method in METHODS else "other"  # anybody can invent one
        metrics.requests.labels(method, route, response.status_code).inc()
        if "begun_s" in g:
            metrics.seconds.labels(route).observe(time.perf_counter() - g.begun_s)
        if method not in doors.SAFE_METHODS:
            _log_change(response)
        return response


def _log_change(response: Response) -> None:
    """Write down who changed what; reads would fill the log."""
    job = (request.view_args or {}).get("job_id") or response.headers.get("Location", "").rpartition("/")[2]
    text = "%s %s by %s: %d"
    log.info(text, request.method, request.path, owner() or "anybody", response.status_code, extra={"job": job})
