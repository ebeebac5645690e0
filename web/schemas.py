"""JSON to requests and statuses to JSON: every fault of a request is found at once and named by its field."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator

from topclip.errors import InvalidRequest, RequestError
from topclip.exports import KINDS
from topclip.model.base import JsonDict
from topclip.model.framing import MOST_KEYFRAMES, Keyframe
from topclip.model.job import JobState, JobStatus
from topclip.model.request import ClipOptions
from web.status_cache import Reading

FIELDS = (*ClipOptions.model_fields, "start_s", "end_s")
"""What a fault between fields may be about."""
M = TypeVar("M", bound=BaseModel)


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class JobPath(_Schema):
    """A job in a path."""

    job_id: str = Field(description="Id that the submit answered.")


class ClipPath(JobPath):
    """A clip in a path."""

    n: int = Field(description="Number of the clip, from 1.")


class FilePath(JobPath):
    """A file of a job in a path."""

    file: str = Field(description="Name as in the manifest, without its folder.")


class PlanPath(JobPath):
    """A plan in a path."""

    digest: str = Field(description="What the manifest's `plan` has between `plan-` and `.json`.")


class ExportPath(JobPath):
    """An export of a job in a path."""

    kind: str = Field(description="Name of the format.")


class StatusQuery(_Schema):
    """Parameters of the status."""

    wait: float = Field(0.0, ge=0, description="Seconds to wait for a change, 60 at most; 0 answers at once.")


class ListQuery(_Schema):
    """Parameters of the job list."""

    limit: int = Field(50, ge=1, le=200, description="Jobs on a page at most.")
    cursor: str | None = Field(None, max_length=200, description="`next_cursor` of the page before.")
    state: JobState | None = Field(None, description="Only jobs in this state.")


class ClipQuery(_Schema):
    """Parameters of a clip."""

    download: bool = Field(False, description="Answer as an attachment, so that a browser saves it.")


class PathSubmission(_Schema):
    """A job on a file of the server's media folder, or of another server."""

    source: str = Field(
        min_length=1,
        max_length=4096,
        description="An http(s) URL, or a path in the media folder, absolute or below it.",
    )
    options: ClipOptions = ClipOptions()
    subtitles: str | None = Field(
        None, min_length=1, max_length=4096, description="A subtitle file (SRT, WebVTT, ASS) in the media folder."
    )
    audience: str | None = Field(
        None, min_length=1, max_length=4096, description="A file of an audience curve (CSV, JSON) in the media folder."
    )


class UploadSubmission(_Schema):
    """A job on an uploaded file."""

    file: bytes = Field(json_schema_extra={"type": "string", "format": "binary"}, description="The video.")
    options: ClipOptions = Field(ClipOptions(), description="JSON text.")
    subtitles: bytes | None = Field(
        None,
        json_schema_extra={"type": "string", "format": "binary"},
        description="What is said and when: SRT, WebVTT or ASS in UTF-8.",
    )
    audience: bytes | None = Field(
        None,
        json_schema_extra={"type": "string", "format": "binary"},
        description="What an audience did: CSV or JSON of pairs, seconds from the start and a value such as messages a minute.",
    )


ReplanOptions = create_model(
    "ReplanOptions",
    __base__=_Schema,
    __doc__="The options that change; what is not named stays, null is the default again.",
    **{
        name: (field.annotation | None if field.annotation else Any, Field(None, description=field.description))  # type: ignore[call-overload]
        for name, field in ClipOptions.model_fields.items()
    },
)


class AskedFraming(_Schema):
    """Where a clip is cut out of the picture, as the plan has it."""

    keyframes: tuple[Keyframe, ...] = Field(
        min_length=1,
        max_length=MOST_KEYFRAMES,
        description="In order of time, within the clip; the cut-out lies within the picture.",
    )


class Recut(_Schema):
    """Another range or framing for a clip, or both; what is not named stays.

    start_s and end_s both null: the range that was chosen. framing null: its subject is looked for.
    """

    start_s: float | None = Field(None, ge=0, description="First moment of the clip, seconds.")
    end_s: float | None = Field(None, gt=0, description="First moment after the clip, seconds.")

    framing: AskedFraming | None = Field(None, description="Of clips that are cut out of the picture.")

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.has_range and not self.is_back and "framing" not in self.model_fields_set:
            raise ValueError("start_s, end_s or framing is needed")
        return self

    @property
    def has_range(self) -> bool:
        """Whether the clip is to have another range."""
        return self.start_s is not None or self.end_s is not None

    @property
    def is_back(self) -> bool:
        """Whether the clip is to have again the range that was chosen."""
        return {"start_s", "end_s"} <= self.model_fields_set and not self.has_range


class SubmitHeaders(_Schema):
    """Headers of a submit."""

    idempotency_key: str | None = Field(
        None,
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="A submission that is sent again with the same key and body is answered with the same job.",
    )


class Accepted(_Schema):
    """A job was taken."""

    id: str
    status_url: str = Field(description="Path of the job's status.")


class StatusDocument(JobStatus):
    """A job's status, and where this answer came from."""

    source: str = Field(description="`redis` if it was just read, `cache` if this server knew it.")
    stale: bool = Field(description="True if Redis has not answered for more than a second: the last known status.")
    as_of: datetime = Field(description="When Redis gave this status.")
    links: dict[str, Any] = Field(description="Paths of what belongs to the job; only what exists already.")


class JobListing(_Schema):
    """A page of jobs, newest first."""

    jobs: tuple[StatusDocument, ...]
    next_cursor: str | None
    total: int
    stale: bool = Field(description="True if Redis is away and only what this server knows is listed.")


class Problem(BaseModel):
    """RFC 9457 problem+json."""

    type: str
    title: str
    status: int
    detail: str = Field(description="What is wrong, for people.")
    code: str = Field(description="What is wrong, for programs; stable.")
    field: str | None = Field(None, description="The option or part at fault.")
    errors: list[dict[str, str]] | None = Field(None, description="All faults: `{field, message}` each.")
    hint: str | None = Field(None, description="What to do about it.")


def read_options(text: bytes | str) -> ClipOptions:
    """Options from JSON text. Raises: RequestError if it is no JSON, InvalidRequest naming every wrong option."""
    return read_json(ClipOptions, text, what="options")


def read_submission(text: bytes) -> PathSubmission:
    """The JSON body of a submit. Raises: RequestError, InvalidRequest."""
    return read_json(PathSubmission, text, what="body")


def read_json(model: type[M], text: bytes | str, *, what: str) -> M:
    """Strictly: no text for a number, no number for a truth value. Raises: RequestError, InvalidRequest."""
    return read_values(model, read_object(text, what=what))


def read_object(text: bytes | str, *, what: str) -> JsonDict:
    """A JSON object. Raises: RequestError, InvalidRequest."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_object)
    except (ValueError, RecursionError) as err:
        raise RequestError(f"{what} is not JSON: {err}", {"field": what}) from err
    if not isinstance(value, dict):
        raise InvalidRequest(f"{what} is a JSON object", {"field": what})
    return value


def read_values(model: type[M], values: JsonDict) -> M:
    """A model of JSON values, strictly. Raises: InvalidRequest."""
    try:
        return model.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as err:
        raise invalid(err) from err


def _object(pairs: list[tuple[str, Any]]) -> JsonDict:
    """A JSON object; of a key that comes twice nobody knows which is meant. Raises: InvalidRequest naming it."""
    found: JsonDict = {}
    for key, value in pairs:
        if key in found:
            raise InvalidRequest(f"{key} is given more than once", {"field": key})
        found[key] = value
    return found


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def read_query(model: type[M], args: Mapping[str, str]) -> M:
    """The query of a request. Raises: InvalidRequest."""
    try:
        return model.model_validate(dict(args))
    except ValidationError as err:
        raise invalid(err) from err


def invalid(err: ValidationError) -> InvalidRequest:
    """All faults of a request in one error that names the first one's field."""
    faults = [{"field": _field(e["loc"], e["msg"]), "message": _message(e)} for e in err.errors()]
    text = "; ".join(f"{f['field']}: {f['message']}" for f in faults)
    return InvalidRequest(text, {"field": faults[0]["field"], "errors": faults})


def _field(loc: tuple[int | str, ...], message: str) -> str:
    """Dotted name of a field. A fault between fields has no place of its own: the first field that it names is it."""
    parts = [str(part) for part in loc]
    if parts[:1] == ["options"] and len(parts) > 1:
        parts = parts[1:]
    if parts and parts != ["options"]:
        return ".".join(parts)
    words = re.findall(r"\w+", message)
    return next((word for word in words if word in FIELDS), "options")


def _message(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "no such option"
    return str(error["msg"]).removeprefix("Value error, ")


def status_document(reading: Reading) -> JsonDict:
    """The status document of a reading."""
    status = reading.status
    return {
        **status.to_dict(),
        "source": reading.source,
        "stale": reading.stale,
        "as_of": rfc3339(reading.as_of),
        "links": links(status),
    }


def rfc3339(time: datetime) -> str:
    """A time in UTC to the millisecond, such as 2026-01-31T12:00:00.000Z."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def status_url(job_id: str) -> str:
    """Path of a job's status."""
    return f"/api/job-status/{job_id}"


def job_url(job_id: str) -> str:
    """Path below which all else of a job is."""
    return f"/api/jobs/{job_id}"


def links(status: JobStatus) -> JsonDict:
    """Paths of what belongs to a job and exists."""
    base = job_url(status.id)
    found: JsonDict = {"self": status_url(status.id), "events": f"{base}/events"}
    if status.options.get("callback_url"):
        found["callbacks"] = f"{base}/callbacks"
    if not status.state.is_terminal:
        found["cancel"] = f"{base}/cancel"
    if status.state.can_retry:
        found["retry"] = f"{base}/retry"
    if status.state.is_terminal and status.state is not JobState.EXPIRED:
        found["replan"] = f"{base}/replan"
    if status.plan_key or status.manifest_key:
        found["plan"] = f"{base}/plan"
        found["plan_svg"] = f"{base}/plan.svg"
        found["exports"] = {kind: f"{base}/export.{kind}" for kind in KINDS}
    if status.manifest_key:
        found["manifest"] = f"{base}/manifest"
        found["clips_zip"] = f"{base}/clips.zip"
        found["clips"] = {str(c.n): f"{base}/clips/{c.n}" for c in status.clips if c.state == "SUCCEEDED"}
    return found


def etag(reading: Reading) -> str:
    """What names a status: the job's version, its place in the queue, the answer's staleness; no clock."""
    status = reading.status
    place = "" if status.queue_position is None else f"-q{status.queue_position}"
    return f"{status.id[:8]}-{status.epoch}-{status.revision}{place}{'-stale' if reading.stale else ''}"
