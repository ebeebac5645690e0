"""What the fault tests do to processes and ask of them."""

from collections.abc import Callable
from pathlib import Path

import psutil
from pytest_celery import CeleryTestSetup
from redis.exceptions import RedisError

from tests.nodes import RedisContainer, WorkerContainer
from tests.waiting import until
from topclip.model.job import JobState, JobStatus, Stage
from topclip.storage.base import ArtifactStore
from workers.client import JobClient

P = "topclip:"
CLIP = {"mode": "ranges", "ranges": [[1.0, 21.0]], "aspect": "1:1", "fit": "pad"}
"""A job of one clip, of another shape, so that ffmpeg has all of it to encode."""


def container(setup: CeleryTestSetup, n: int = 0) -> WorkerContainer:
    """The n-th worker."""
    node: WorkerContainer = setup.worker_cluster[n].container
    return node


def containers(setup: CeleryTestSetup) -> list[WorkerContainer]:
    """All workers."""
    return [node.container for node in setup.worker_cluster]


def in_stage(client: JobClient, job_id: str, stage: Stage) -> None:
    """Wait until the job is in a stage."""
    until(lambda: client.read(job_id).stage == stage, 30, lambda: str(client.read(job_id)))


def nothing_unacknowledged(redis: RedisContainer) -> bool:
    """Whether no delivery is under way."""
    return not any(redis.client.exists(P + key) for key in ("unacked", "unacked_index", "unacked_lease"))


def redis_up(node: RedisContainer) -> bool:
    """Whether Redis answers."""
    try:
        return bool(node.client.ping())
    except RedisError:
        return False


def ffmpegs(setup: CeleryTestSetup) -> list[psutil.Process]:
    """The ffmpeg processes below the workers."""
    found = []
    for node in containers(setup):
        if node.status == "running":
            found += [p for p in node.children() if is_ffmpeg(p)]
    return found


def frozen_ffmpeg(setup: CeleryTestSetup, but: psutil.Process | None = None) -> psutil.Process:
    """The ffmpeg that begins next, stopped: a task that lives and takes as long as a test wants. but: one that is stopped."""
    process = until(lambda: [p for p in ffmpegs(setup) if p != but], 60, step_s=0.005)[0]
    process.suspend()
    return process


def received(setup: CeleryTestSetup, task: str) -> int:
    """How often workers were given a task."""
    lines = "".join(node.logs() for node in containers(setup)).splitlines()
    return sum(f"Task {task}[" in line and line.endswith("received") for line in lines)


def staged(data_dir: Path) -> list[Path]:
    """Files that are being made."""
    return list((data_dir / "store" / ".staging").glob("*"))


def is_ffmpeg(process: psutil.Process) -> bool:
    """Whether it makes something; others only say their version."""
    try:
        return "ffmpeg" in process.name() and "-progress" in process.cmdline()
    except psutil.NoSuchProcess:
        return False


def alive(process: psutil.Process) -> bool:
    """Whether a process still runs; zombies do not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def has_clips(store: ArtifactStore, job_id: str, n: int = 1) -> bool:
    """Whether so many clips were published, and no more."""
    return len([key for key in store.list(f"jobs/{job_id}/clips") if key.endswith(".mp4")]) == n


def survives_its_worker(setup: CeleryTestSetup, job_id: str, finished: Callable[..., JobStatus]) -> None:
    """Kill the only worker while it renders, start it again, and see the job end by the lease, not by a new attempt."""
    frozen_ffmpeg(setup)
    container(setup).kill()
    container(setup).restart()
    status = finished(job_id)
    assert (status.state, status.attempts) == (JobState.SUCCEEDED, 1), status.error
