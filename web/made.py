"""What a job made, for the views that serve it: its documents in the store, and the names that its files go by."""

import re
from threading import Lock
from typing import TypeVar
from urllib.parse import quote

from cachetools import LRUCache, cached
from flask import Response, request
from pydantic import ValidationError
from werkzeug.http import dump_options_header

from topclip.errors import ArtifactMissing, NotReady, QueueUnavailable, TopClipError
from topclip.model.base import Model
from topclip.model.clip import Plan
from topclip.model.job import JobStatus
from topclip.model.manifest import Manifest
from topclip.model.source import SourceInfo
from topclip.storage.base import info_key, job_folder
from web.services import services
from web.status_cache import Reading

M = TypeVar("M", bound=Model)


def document(key: str | None, reading: Reading, what: str, media_type: str = "application/json") -> Response:
    """An artifact of text, byte for byte as it was made; its key names its content.

    Raises: NotReady while it may still come, ArtifactMissing where it never will, QueueUnavailable if only Redis can say.
    """
    if key is None:
        raise not_there(reading, what)
    response = Response(services().store.get_bytes(key), content_type=media_type)
    response.set_etag(key.rpartition("/")[2].rpartition(".")[0])
    response.headers["Cache-Control"] = "no-cache"
    response.make_conditional(request)
    return response


def not_there(reading: Reading, what: str) -> TopClipError:
    """Not yet, or never; while Redis is away, a job that went on when last heard of may have it by now."""
    state = reading.status.state
    if state.is_terminal:
        return ArtifactMissing(f"the job is {state} and has no {what}")
    if reading.stale:
        return QueueUnavailable(f"Redis does not answer; the job had no {what} when it last did")
    return NotReady(f"the job has no {what} yet", {"hint": "follow the job's status until its link is there"})


def manifest_of(reading: Reading) -> Manifest:
    """The job's manifest; while it is made again, that of the attempt before. Raises: what `document` does."""
    if (key := reading.status.manifest_key) is None:
        raise not_there(reading, "clips")
    return _read_manifest(key)


def source_of(job_id: str) -> SourceInfo:
    """What was found of the job's source.

    Raises: ArtifactMissing where it was never looked at, or cannot be read any more; StorageError.
    """
    return _read(info_key(job_id), SourceInfo, "what was found of the job's source")


def _read(key: str, model: type[M], what: str) -> M:
    """Raises: ArtifactMissing where there is none, or it cannot be read any more; StorageError."""
    content = services().store.get_bytes(key)
    try:
        return model.model_validate_json(content)
    except ValidationError as err:
        raise ArtifactMissing(
            f"{what} is damaged", {"hint": "replan the job with other options, or submit it again"}
        ) from err


def plan_key_of(reading: Reading) -> str | None:
    """Key of the job's newest plan; until there is another, of the one that its manifest rests on."""
    status = reading.status
    return status.plan_key or (key_of(status, manifest_of(reading).plan) if status.manifest_key else None)


def plan_of(reading: Reading) -> Plan:
    """The job's newest plan. Raises: what `document` does."""
    if (key := plan_key_of(reading)) is None:
        raise not_there(reading, "plan")
    return _read_plan(key)


@cached(LRUCache(256), lock=Lock())
def _read_manifest(key: str) -> Manifest:
    """A manifest never changes under its key."""
    return _read(key, Manifest, "the job's manifest")


@cached(LRUCache(64), lock=Lock())
def _read_plan(key: str) -> Plan:
    """Nor does a plan."""
    return _read(key, Plan, "the job's plan")


def key_of(status: JobStatus, file: str) -> str:
    """Store key of a file that the manifest names relative to itself."""
    folder = (status.manifest_key or "").rpartition("/")[0] or job_folder(status.id)
    return f"{folder}/{file}"


def stem_of(status: JobStatus) -> str:
    """The source's name without suffix, fit for any file system."""
    stem = re.sub(r"\.[A-Za-z0-9]{1,8}$", "", status.name)
    return re.sub(r'[\x00-\x1f<>:"/\\|?*]+', "_", stem).strip(" .")[:80] or "clips"


def disposition_of(name: str, *, is_download: bool) -> str:
    """Content-Disposition: how a browser is to take a file, and under which name."""
    plain = name.encode("ascii", "ignore").decode() or "clip"
    options = {"filename": plain}
    if plain != name:
        options["filename*"] = f"UTF-8''{quote(name, safe='')}"
    kind = "attachment" if is_download else "inline"
    return dump_options_header(kind, options)
