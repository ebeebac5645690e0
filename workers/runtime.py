"""What a worker process needs for its tasks, built once in each process when first used."""

import contextlib
import os
from functools import lru_cache
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from topclip.config import Settings
from topclip.errors import JobSuperseded
from topclip.media.binary import find_ffmpeg
from topclip.media.limits import cap_memory, memory_limit
from topclip.model.request import ClipRequest
from topclip.model.source import SourceInfo
from topclip.outbound.http import Outbound
from topclip.pipeline.context import Report, StageContext, clip_threads
from topclip.pipeline.fetch import FetchLimits
from topclip.pipeline.kept import must_be_kept
from topclip.storage.base import ArtifactStore, info_key
from topclip.storage.factory import store_for
from workers import figures, keys
from workers.callbacks import Courier
from workers.links import KEEPER, redis_client, redis_now
from workers.scripts import Scripts


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process."""
    return Settings.from_env()


@lru_cache(maxsize=1)
def redis() -> Redis:
    """The connection on which tasks ask whether to go on: short waits, since an answer may also come a second later."""
    return redis_client(settings(), KEEPER)


@lru_cache(maxsize=1)
def scripts() -> Scripts:
    """The scripts on that connection."""
    return Scripts(redis(), settings().key_prefix)


@lru_cache(maxsize=1)
def store() -> ArtifactStore:
    """The artifact store, which the worker's main process has made, if it was new."""
    return store_for(settings(), is_made=False)


@lru_cache(maxsize=1)
def outbound() -> Outbound:
    """The way to servers that a client named."""
    return Outbound(settings().private_networks)


@lru_cache(maxsize=1)
def courier() -> Courier:
    """Who tells a job's end."""
    return Courier(scripts(), outbound(), settings().webhook_secret)


def fetch_limits() -> FetchLimits:
    """What fetching a source may take."""
    return FetchLimits(settings().max_upload_mb << 20, min_free_bytes=settings().min_free_mb << 20)


def concurrency() -> int:
    """Tasks at once in this worker."""
    return settings().concurrency or os.cpu_count() or 1


def render_threads(place: int, of: int) -> int:
    """Threads for one of several clips that were asked for together."""
    return clip_threads(place, of, cores=os.cpu_count() or 1, slots=concurrency())


def request_of(job_id: str) -> ClipRequest:
    """What the job's client asked for. Raises: JobSuperseded if the job is no more."""
    text = redis().hget(f"{settings().key_prefix}job:{job_id}", "request")
    if not isinstance(text, str):
        raise JobSuperseded(f"job {job_id} is no more")
    return ClipRequest.model_validate_json(text)


def info_of(job_id: str) -> SourceInfo:
    """What probe found. Raises: ArtifactMissing where it cannot be read any more, and is found anew by a retry."""
    return must_be_kept(info_key(job_id), SourceInfo.model_validate_json, store())


def keep_analysis(folder: str) -> None:
    """Keep a folder below `analysis/`, by its name, for as long as a job that starts now is kept."""
    until = redis_now(redis()) + settings().retention_s
    redis().zadd(settings().key_prefix + keys.ANALYSES, {folder: until}, gt=True)


def count(name: str, label: str, n: int = 1) -> None:
    """Count something for `/metrics`, unless Redis is away: a figure holds no task up."""
    with contextlib.suppress(RedisError):
        figures.add(redis(), settings().key_prefix, {figures.field_of(name, label): n})


def limit_process(**_: Any) -> None:
    """Limit the memory of a process that runs tasks, when it starts: it decodes what strangers send."""
    cap_memory(memory_limit(settings().task_memory_mb))


def context(job_id: str, report: Report) -> StageContext:
    """The surroundings of one run of a stage. ffmpeg gets the cores that the other tasks of this worker leave."""
    return StageContext(
        job_id=job_id,
        store=store(),
        ffmpeg=find_ffmpeg(settings().ffmpeg),
        max_duration_s=settings().max_duration_s,
        max_pixels=settings().max_pixels,
        memory_bytes=memory_limit(settings().task_memory_mb),
        threads=max(1, (os.cpu_count() or 1) // concurrency()),
        fonts=settings().fonts,
        whisper_model=settings().whisper_model,
        whisper_download=settings().whisper_download,
        report=report,
    )
