"""From what Redis holds of a job to its status document. Pure.

One table maps Celery's state under the job's id and the record's state to the eight states of a job (docs/architecture.md);
the scripts keep both in step, so the record's word is taken here.
"""

import json
from datetime import UTC, datetime
from typing import Any, Final

from topclip.errors import TopClipError, all_errors
from topclip.model.base import JsonDict
from topclip.model.job import ClipStatus, Download, JobError, JobState, JobStatus, Stage
from topclip.outbound.text import shown

SHARE: Final = {Stage.PROBE: (0.0, 0.02), Stage.ANALYSE: (0.02, 0.45), Stage.SELECT: (0.45, 0.47)} | {
    Stage.REFRAME: (0.47, 0.52),
    Stage.RENDER: (0.52, 0.98),
    Stage.FINALISE: (0.98, 1.0),
}
"""Share of the whole that each stage takes, on two cores with clips of a tenth of the source; a guess made once."""
BEFORE: Final = {Stage.FINALISE: (Stage.RENDER,), Stage.SELECT: (Stage.ANALYSE,)}
"""Stages of one task: until it hands on, what the job is doing is told by the stage of many before it."""
STOPPED: Final = {JobState.FAILED: "FAILED", JobState.CANCELLED: "CANCELLED"}
"""What becomes of the clips that a job did not get to."""
ETA_FROM = 0.05
"""No estimate before this much is done: it would only be noise."""


def status_of(
    job_id: str, record: dict[str, str], meta: JsonDict | None, parts: list[JsonDict | None], ahead: int
) -> JobStatus:
    """The status of a job.

    record: its hash. meta: its Celery result. parts: the results of the tasks that `meta` names, None where there is none yet.
    ahead: jobs before it in the queue, negative where it does not wait.
    """
    request = json.loads(record["request"])
    state = JobState(record["state"])
    stage = Stage(record["stage"]) if record.get("stage") else None
    result = (meta or {}).get("result") or {}
    is_made = state in (JobState.SUCCEEDED, JobState.PARTIAL)
    doing = json.loads(record["last"])["result"] if state in STOPPED and record.get("last") else result
    download = _download(record, stage)
    progress = 1.0 if is_made else _progress(stage, doing, parts, download)
    started_at = _time(record.get("started_at"))
    return JobStatus(
        id=job_id,
        state=state,
        stage=stage,
        progress=round(progress, 4),
        clips=_clips(state, doing, parts),
        error=_error(result, stage) if state is JobState.FAILED else None,
        name=record["name"],
        options=_shown(request["options"]),
        download=download,
        queue_position=ahead if ahead >= 0 else None,
        eta_s=_eta_s(state, progress, started_at),
        attempts=int(record.get("attempts") or 1),
        created_at=_known_time(record["created_at"]),
        started_at=started_at,
        finished_at=_time(record.get("finished_at")),
        expires_at=_known_time(record["expires_at"]),
        epoch=int(record["epoch"]),
        revision=int(record["revision"]),
        owner=record.get("owner", ""),
        plan_key=doing.get("plan"),
        manifest_key=result.get("manifest") or record.get("made"),
    )


def read_status(job_id: str, reply: Any) -> JobStatus:
    """The status that the script `read` answered, where it knows the job."""
    flat, meta, parts, ahead = reply
    record = dict(zip(flat[::2], flat[1::2], strict=True))
    return status_of(job_id, record, _json(meta), [_json(part) for part in parts], int(ahead))


def _json(text: str) -> JsonDict | None:
    found: JsonDict | None = json.loads(text) if text else None
    return found


def _shown(options: JsonDict) -> JsonDict:
    """Options as a status shows them: the callback's query may hold a key."""
    url = options.get("callback_url")
    return {**options, "callback_url": shown(url)} if url else {k: v for k, v in options.items() if k != "callback_url"}


def _download(record: dict[str, str], stage: Stage | None) -> Download | None:
    said = record.get("download") if stage is Stage.PROBE else None
    return Download.model_validate_json(said) if said else None


def _progress(stage: Stage | None, doing: JsonDict, parts: list[JsonDict | None], download: Download | None) -> float:
    if stage is None:
        return 0.0
    if download and download.total_bytes:
        return SHARE[stage][0] + (SHARE[stage][1] - SHARE[stage][0]) * download.done_bytes / download.total_bytes
    sizes = doing.get("sizes_s") or []
    if not sizes or doing.get("stage") not in (stage, *BEFORE.get(stage, ())):
        return SHARE[stage][0]
    low, high = SHARE[Stage(doing["stage"])]
    done = sum(size * _share(part) for size, part in zip(sizes, parts, strict=False))
    return float(max(SHARE[stage][0], low + (high - low) * done / sum(sizes)))


def _share(part: JsonDict | None) -> float:
    """How much of a part is done, 0-1."""
    if part is None:
        return 0.0
    if part["status"] == "PROGRESS":
        progress = part["result"]
        return min(1.0, progress["done_s"] / progress["total_s"]) if progress["total_s"] else 0.0
    return 1.0 if part["status"] == "SUCCESS" else 0.0


def _clips(state: JobState, doing: JsonDict, parts: list[JsonDict | None]) -> tuple[ClipStatus, ...]:
    clips = doing.get("clips") or []
    if state in (JobState.SUCCEEDED, JobState.PARTIAL):
        return tuple(_ended_clip(clip) for clip in clips)
    padded = [*parts, *[None] * (len(clips) - len(parts))]
    found = tuple(_live_clip(clip, part) for clip, part in zip(clips, padded, strict=False))
    if state not in STOPPED:
        return found
    return tuple(
        c if c.state in ("SUCCEEDED", "FAILED") else c.model_copy(update={"state": STOPPED[state]}) for c in found
    )


def _ended_clip(clip: JsonDict) -> ClipStatus:
    error = clip.get("error")
    place = {key: clip[key] for key in ("n", "start_s", "end_s")}
    return ClipStatus(**place, state="FAILED" if error else "SUCCEEDED", progress=0.0 if error else 1.0, error=error)


def _live_clip(clip: JsonDict, part: JsonDict | None) -> ClipStatus:
    if part is None:
        return ClipStatus(**clip, state="QUEUED", progress=0.0)
    if part["status"] == "SUCCESS":
        value = part["result"]
        failed = value.get("outcome") == "failed"
        error = {key: value.get(key) for key in ("code", "message", "hint")} if failed else None
        return _ended_clip({**clip, "error": error})
    return ClipStatus(**clip, state="RUNNING", progress=_share(part))


def _error(result: Any, stage: Stage | None) -> JobError:
    """What Celery kept of the exception that failed the job."""
    name = result.get("exc_type", "")
    args = result.get("exc_message") or []
    args = args if isinstance(args, list) else [args]
    kind: type[TopClipError] = next((e for e in all_errors() if e.__name__ == name), TopClipError)
    detail = args[1] if len(args) > 1 and isinstance(args[1], dict) else {}
    return JobError(
        code=kind.code,
        stage=stage,
        message=str(args[0]) if args else name,
        hint=detail.get("hint"),
        retryable=kind.retryable,
    )


def _eta_s(state: JobState, progress: float, started_at: datetime | None) -> float | None:
    if state is not JobState.RUNNING or progress < ETA_FROM or started_at is None:
        return None
    elapsed_s = (datetime.now(UTC) - started_at).total_seconds()
    return round(max(0.0, elapsed_s * (1 - progress) / progress), 1)


def _time(text: str | None) -> datetime | None:
    return datetime.fromtimestamp(float(text), UTC) if text else None


def _known_time(text: str) -> datetime:
    return datetime.fromtimestamp(float(text), UTC)
