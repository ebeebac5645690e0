"""The plan of a job: as it is, drawn, and as other programs read it."""

from urllib.parse import quote

from flask import Response

from topclip.errors import ArtifactMissing
from topclip.exports import KINDS, cut_list
from topclip.model.clip import Plan
from topclip.storage.base import drawing_key, plan_key
from web.made import disposition_of, document, key_of, manifest_of, plan_key_of, plan_of, source_of, stem_of
from web.openapi import CLIPS, Api, answers, file_answer
from web.schemas import ExportPath, JobPath, PlanPath
from web.status import read

blueprint = Api("plans", __name__, abp_tags=[CLIPS])

EXPORT = {"description": "; ".join(f"`{name}`: {kind.description}" for name, kind in KINDS.items())} | {
    "content": {kind.media_type.partition(";")[0]: {"schema": {"type": "string"}} for kind in KINDS.values()}
}
SVG = "image/svg+xml"
OWN_STYLE = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
"""A drawing brings its own style and needs nothing else."""


@blueprint.get(
    "/api/jobs/<job_id>/plan",
    answers=answers({200: Plan}, 404, 409, 410, 503),
)
def plan(path: JobPath) -> Response:
    """Read the plan: the highlights and why, and what nearly was one."""
    reading = read(path.job_id)
    return document(plan_key_of(reading), reading, "plan")


@blueprint.get(
    "/api/jobs/<job_id>/plan-<digest>.json",
    answers=answers({200: Plan}, 404, 409, 410, 503),
)
def plan_file(path: PlanPath) -> Response:
    """Read the plan by the name that the manifest gives it."""
    reading = read(path.job_id)
    newest, key = plan_key_of(reading), plan_key(reading.status.id, path.digest)
    known = {newest}
    if reading.status.manifest_key:  # while the job is made again, it may rest on an older one
        known.add(key_of(reading.status, manifest_of(reading).plan))
    if newest and key not in known:
        raise ArtifactMissing(f"the job has no plan {path.digest}")
    return document(newest and key, reading, "plan")


@blueprint.get(
    "/api/jobs/<job_id>/export.<kind>",
    answers=answers({200: EXPORT}, 404, 409, 410, 503),
)
def export(path: ExportPath) -> Response:
    """Read the plan as another program reads it: `edl`, `fcpxml`, `csv`, `chapters` (YouTube's) or `ffmetadata`."""
    reading = read(path.job_id)
    if (kind := KINDS.get(path.kind)) is None:
        raise ArtifactMissing(f"no export {path.kind}", {"hint": f"there are {', '.join(KINDS)}"})
    status = reading.status
    made = plan_of(reading)
    info = source_of(status.id)
    text = kind.write(cut_list(made, info, quote(info.name)))
    response = Response(text.encode(), content_type=kind.media_type)
    response.headers["Content-Disposition"] = disposition_of(f"{stem_of(status)}.{path.kind}", is_download=True)
    response.headers["Cache-Control"] = "no-cache"
    return response


@blueprint.get(
    "/api/jobs/<job_id>/plan.svg",
    answers=answers(
        {200: file_answer(SVG, "Signals, shots, highlights and near-misses over time.")}, 404, 409, 410, 503
    ),
)
def drawing(path: JobPath) -> Response:
    """See the plan: what was measured, what was chosen of it, and what nearly was."""
    reading = read(path.job_id)
    key = plan_key_of(reading)
    response = document(key and drawing_key(key), reading, "plan", SVG)
    response.headers["Content-Security-Policy"] = OWN_STYLE
    return response
