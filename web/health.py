"""/health for people, /health/live and /health/ready for orchestrators, /metrics for Prometheus."""

from typing import Any

from flask import Response
from prometheus_client import CONTENT_TYPE_LATEST

from web import caller
from web.openapi import OPERATION, Api, answers
from web.services import services

blueprint = Api("health", __name__, abp_tags=[OPERATION])

DOCUMENT = {
    "description": "`status`, `redis`, `jobs` by state, `queue_depth`, `workers`, `store`.",
    "content": {"application/json": {"schema": {"type": "object"}}},
}
METRICS = {"description": "Metrics.", "content": {"text/plain": {"schema": {"type": "string"}}}}


@blueprint.get("/health", answers=answers({200: DOCUMENT}))
def full() -> tuple[dict[str, Any], int, dict[str, str]]:
    """Look at the whole service: always 200, how it is stands in the body; without a key where one is needed, `status`."""
    document = services().vitals.look().document
    if caller.is_stranger():
        document = {"status": document["status"]}
    return document, 200, {"Cache-Control": "no-store"}


@blueprint.get("/health/live", answers=answers({200: DOCUMENT}))
def live() -> dict[str, str]:
    """Tell whether this process answers."""
    return {"status": "ok"}


@blueprint.get("/health/ready", answers=answers({200: DOCUMENT, 503: DOCUMENT}))
def ready() -> tuple[dict[str, Any], int, dict[str, str]]:
    """Tell whether jobs can be taken: 503 while Redis or the store is away, or Redis refuses to write."""
    vital = services().vitals.look()
    parts = {name: vital.document[name]["status"] for name in ("redis", "store")}
    if vital.is_ready:
        return {"status": "ok", **parts}, 200, {}
    return {"status": "down", **parts}, 503, {"Retry-After": "2"}


@blueprint.get("/metrics", answers=answers({200: METRICS}))
def metrics() -> Response:
    """Read the metrics in Prometheus's text format."""
    return Response(services().metrics.exposition(), content_type=CONTENT_TYPE_LATEST)
