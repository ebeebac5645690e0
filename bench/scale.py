"""From one worker to a fleet: `python -m bench scale [workers] [commands] [fleet]`, each part by itself or all.

- workers: a batch of equal jobs on one worker of one process and one core, against two such workers on two cores.
- commands: what jobs of ever more chunks ask of Redis, in commands and bytes, for a job and for each of its tasks.
- fleet: see `bench/scale_fleet.py`.
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

from bench import cut, record, scale_fleet
from bench.redis_cost import Reading, Spent
from tests.nodes import ROOT, RedisContainer, WorkerContainer
from tests.waiting import until
from topclip.config import Settings
from topclip.media.binary import find_ffmpeg
from topclip.model.job import JobState
from topclip.model.request import ClipOptions, ClipRequest, MediaPath
from topclip.storage.factory import store_for
from workers.client import JobClient

FOOTAGE = ROOT / "demo/footage.mp4"
GOAL = 1.9
DRAFT = {"mode": "ranges", "ranges": [[2, 8], [10, 16]], "quality": "draft"}
SMALL = {"size": "64x36", "rate": "5"}
LENGTHS_S = {4: 80, 16: 320, 64: 1280, 256: 15_360}
"""Seconds of a source by the number of chunks that it is cut into (topclip/pipeline/chunk.py)."""
IDLE_S = 20.0


def main(argv: list[str]) -> None:
    """Run the parts that are named, or all, and record them beside those that were not run."""
    parts = {"workers": measure_workers, "commands": measure_commands, "fleet": measure_fleet}
    parser = argparse.ArgumentParser(prog="scale", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(parts)}; all if none is named")
    parser.add_argument("--jobs", type=int, default=6, help="jobs of a batch of `workers`")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of batches")
    parser.add_argument("--workers", type=int, default=1000, help="simulated workers of the fleet")
    parser.add_argument("--tasks", type=int, default=100_000, help="tasks that wait for the fleet")
    parser.add_argument("--chunks", type=int, default=256, help="chunks of the largest job of `commands`")
    args = parser.parse_args(argv)
    if unknown := set(args.parts) - set(parts):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    known = record.RESULTS / "scale.json"
    figures = json.loads(known.read_text())["figures"] if known.exists() else {}
    for name in args.parts or parts:
        command = f'make bench ARGS="scale {" ".join([name, *_more(name, args)])}"'
        load = round(os.getloadavg()[0], 1)
        found = parts[name](args)
        calm = {"load before": load, "machine was calm": load <= cut.CALM_LOAD}
        figures[name] = {"command": command, "at": time.strftime("%Y-%m-%d", time.gmtime()), **calm, **found}
        record.write("scale", 'make bench ARGS="scale workers commands fleet"', figures)


def _more(name: str, args: argparse.Namespace) -> list[str]:
    of_part = {"workers": ("jobs", "rounds"), "fleet": ("workers", "tasks"), "commands": ("chunks",)}
    return [f"--{option} {getattr(args, option)}" for option in of_part.get(name, ())]


def measure_fleet(args: argparse.Namespace) -> dict[str, Any]:
    """The simulated fleet."""
    return scale_fleet.run(args.workers, args.tasks)


def measure_workers(args: argparse.Namespace) -> dict[str, Any]:
    """Throughput of two workers on two cores to that of one on one, in pairs."""
    one, two = record.pairs(lambda: batch_s([0], args.jobs), lambda: batch_s([0, 1], args.jobs), args.rounds)
    return {
        "goal": GOAL,
        "jobs": args.jobs,
        "one worker on one core, seconds": record.spread(one),
        "two workers on two cores, seconds": record.spread(two),
        "throughput of two to one": record.spread([a / b for a, b in zip(one, two, strict=True)]),
    }


class PinnedWorker(WorkerContainer):
    """A worker that has one core, as if its machine had no more."""

    def __init__(self, folder: Path, core: int, settings: Settings) -> None:
        super().__init__(folder, f"core{core}", settings.to_env(), concurrency=1)
        os.sched_setaffinity(self.process.pid, {core})  # before it forks: its interpreter is still starting


def batch_s(cores: Sequence[int], n_jobs: int) -> float:
    """Seconds from when jobs are submitted to workers that wait, one on each core, until all have ended."""
    with tempfile.TemporaryDirectory(prefix="bench-scale-") as name, ExitStack() as stack:
        folder = Path(name)
        redis, settings, client = _start(folder, stack)
        for worker in [PinnedWorker(folder, core, settings) for core in cores]:
            stack.callback(worker.teardown)
            assert worker.ready()
        sources = [_unlike(FOOTAGE, folder / f"{n}.mp4") for n in range(n_jobs)]
        began = time.perf_counter()
        for source in sources:
            _submit(client, source, DRAFT)
        live = [f"{settings.key_prefix}state:{state}" for state in (JobState.QUEUED, JobState.RUNNING)]
        until(lambda: not redis.client.exists(*live), 300, lambda: str(client.list()))
        seconds = time.perf_counter() - began
        assert all(job.state == JobState.SUCCEEDED for job in client.list().jobs), client.list()
        return seconds


def _unlike(source: Path, to: Path) -> Path:
    """A copy whose bytes are another's, so that its analysis is not shared: one more box that players pass over."""
    shutil.copyfile(source, to)
    with to.open("ab") as file:
        file.write((24).to_bytes(4, "big") + b"free" + os.urandom(16))
    return to


def measure_commands(args: argparse.Namespace) -> dict[str, Any]:
    """Jobs of ever more chunks, one after the other."""
    with tempfile.TemporaryDirectory(prefix="bench-scale-") as name, ExitStack() as stack:
        folder = Path(name)
        redis, settings, client = _start(folder, stack)
        worker = WorkerContainer(folder, "bench", settings.to_env(), concurrency=2)
        stack.callback(worker.teardown)
        assert worker.ready()
        before = Reading.now(redis.client)
        time.sleep(IDLE_S)
        idle = Reading.now(redis.client).since(before)
        rate = {what: round(getattr(idle, what) / idle.seconds, 1) for what in ("calls", "scripts", "bytes_in")}
        figures: dict[str, Any] = {
            "an idle worker of two processes, a second": rate,
        }
        _run_job(client, redis, settings, _small(folder, LENGTHS_S[4] + 1), 4)  # scripts are sent, processes are warm
        for n, length_s in LENGTHS_S.items():
            if n <= args.chunks:
                source, memory, before = _small(folder, length_s), _memory(redis), Reading.now(redis.client)
                n_clips = _run_job(client, redis, settings, source, n)
                spent = Reading.now(redis.client).since(before).less(idle)
                n_tasks = n + n_clips + 3  # probe, select and finalise
                found = _of_job(spent, n_tasks, _memory(redis) - memory)
                figures[f"{n} chunks, {n_clips} clips"] = {"tasks": n_tasks, **found}
        figures["connections with a worker of two processes, a client and this bench"] = redis.client.info("clients")[
            "connected_clients"
        ]
    return figures


def _of_job(spent: Spent, n_tasks: int, kept: int) -> dict[str, Any]:
    """What was spent on a job, and on each of its tasks."""
    found = {what: getattr(spent, what) for what in ("calls", "scripts", "bytes_in", "bytes_out")}
    found |= {"us of Redis": spent.cpu_s * 1e6, "bytes kept": kept}
    return {
        "seconds": round(spent.seconds, 1),
        "a job": {what: round(value) for what, value in found.items()},
        "a task": {what: round(value / n_tasks, 1) for what, value in found.items()},
    }


def _memory(redis: RedisContainer) -> int:
    """Bytes that Redis holds for what it keeps."""
    return int(redis.client.info("memory")["used_memory_dataset"])


def _run_job(client: JobClient, redis: RedisContainer, settings: Settings, source: Path, n_chunks: int) -> int:
    """One job to its end; the number of its clips, a quarter of that of its chunks and 50 at most."""
    ranges = [[n * 10, n * 10 + 2] for n in range(min(50, max(1, n_chunks // 4)))]
    job = _submit(client, source, {"mode": "ranges", "ranges": ranges, "quality": "draft"})
    done = f"{settings.key_prefix}state:{JobState.SUCCEEDED}"
    until(lambda: redis.client.zscore(done, job), 240, lambda: str(client.read(job)), step_s=0.5)
    return len(ranges)


def _small(folder: Path, length_s: int) -> Path:
    """A source of very small pictures, and a tone that comes and goes."""
    path = folder / f"small-{length_s}.mp4"
    picture = f"testsrc2=size={SMALL['size']}:rate={SMALL['rate']}:duration={length_s}"
    sound = f"sine=frequency=440:sample_rate=8000:duration={length_s}"
    inputs = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound]
    codecs = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-c:a", "aac", "-b:a", "16k"]
    subprocess.run([find_ffmpeg(""), "-v", "error", "-nostdin", "-y", *inputs, *codecs, str(path)], check=True)
    return path


def _start(folder: Path, stack: ExitStack) -> tuple[RedisContainer, Settings, JobClient]:
    redis = RedisContainer(folder)
    stack.callback(redis.teardown)
    assert redis.ready()
    settings = Settings(redis_url=redis.url, data_dir=folder, log_level="WARNING")
    return redis, settings, JobClient(settings, store_for(settings))


def _submit(client: JobClient, source: Path, options: dict[str, Any]) -> str:
    job = str(uuid4())
    request = ClipRequest(source=MediaPath(path=str(source), name=source.name), options=ClipOptions(**options))
    client.submit(job, request)
    return job
