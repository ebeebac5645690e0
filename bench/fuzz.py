"""Damaged files by the thousand, each through the whole flow: it ends in clips or in an error that says what is wrong.

Most go through the flow in one process, in children that are replaced when one dies or hangs, with the limits of a worker's
processes; a share goes through real workers over Redis. A case that ends otherwise is written down with its seed and number,
and `--case N` runs it again.
"""

import argparse
import collections
import contextlib
import json
import multiprocessing
import multiprocessing.connection
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from uuid import uuid4

import psutil

from bench import record
from bench.mutations import make_sources, mutated
from tests.nodes import RedisContainer, WorkerContainer
from tests.waiting import until
from topclip import run_local
from topclip.config import Settings
from topclip.errors import TopClipError
from topclip.media.binary import find_ffmpeg
from topclip.media.limits import cap_memory, memory_limit
from topclip.model.job import JobStatus
from topclip.model.request import ClipOptions, ClipRequest, MediaPath
from topclip.pipeline.context import StageContext
from topclip.storage.factory import store_for
from topclip.storage.local import LocalStore
from workers.client import JobClient

OPTIONS = {"count": 1, "min_length": 1, "max_length": 2, "quality": "draft"}
MEMORY_MB = 2048
HANG_S = 60.0
"""A sound case takes half a second."""
BAD = ("INTERNAL", "LEFT", "HANG", "DIED")
"""How no case may end. A child that dies is one that the worker counts and replaces, but none should."""


@dataclass(frozen=True)
class Outcome:
    """How a case ended. code: OK, an error's code, or what of BAD it was. what: the mutation. told: message or traceback."""

    n: int
    code: str
    what: str
    told: str
    seconds: float

    @property
    def is_bad(self) -> bool:
        """Whether it ended as none may."""
        return self.code.startswith(BAD)


def main(argv: list[str]) -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--n", type=int, default=1000, help="cases")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=200, help="so many of them through real workers too")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="children at once")
    parser.add_argument("--case", type=int, help="run this one alone, here, and keep its file")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = make_sources(folder)
        if args.case is not None:
            sys.exit(_replay(folder, sources, args.seed, args.case))
        measure(folder, sources, args)


def measure(folder: Path, sources: dict[str, bytes], args: argparse.Namespace) -> None:
    """Run all cases and write down how they ended."""
    started = time.monotonic()
    outcomes = list(run_cases(folder, sources, args.seed, range(args.n), args.jobs))
    seconds = time.monotonic() - started
    through = run_through_workers(folder, sources, args.seed, range(min(args.n, args.workers)))
    bad = [asdict(o) for o in outcomes if o.is_bad]
    figures = {
        "seed": args.seed,
        "cases": args.n,
        "seconds": round(seconds, 1),
        "slowest case, seconds": max(o.seconds for o in outcomes),
        "by outcome": dict(collections.Counter(o.code for o in outcomes).most_common()),
        "bad": bad,
        "through workers": through,
    }
    record.write("fuzz", f'make bench ARGS="fuzz --n {args.n} --seed {args.seed} --workers {args.workers}"', figures)
    if bad or through["bad"]:
        sys.exit(1)


def run_cases(folder: Path, sources: dict[str, bytes], seed: int, numbers: range, jobs: int) -> Iterator[Outcome]:
    """The outcomes of cases, in order."""
    children: SimpleQueue[_Child] = SimpleQueue()
    for i in range(jobs):
        children.put(_Child(folder / f"child{i}"))

    def one(n: int) -> Outcome:
        child = children.get()
        try:
            what, content = mutated(sources, seed, n)
            return child.run(n, what, content)
        finally:
            children.put(child)

    with ThreadPoolExecutor(jobs) as pool:
        for outcome in pool.map(one, numbers):
            if outcome.is_bad:
                print(f"case {outcome.n} {outcome.code} {outcome.what}\n{outcome.told}", file=sys.stderr, flush=True)
            yield outcome
    for _ in range(jobs):
        children.get().end()


class _Child:
    """A process that runs cases, and is replaced when one ends it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._start()

    def _start(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(theirs, self._folder), daemon=True)
        self._process.start()
        theirs.close()

    def run(self, n: int, what: str, content: bytes) -> Outcome:
        self._folder.mkdir(exist_ok=True)
        source = self._folder / f"case-{what.partition(':')[0]}"
        source.write_bytes(content)
        started = time.monotonic()
        code, told = self._ask(source)
        source.unlink()
        if code.startswith(("HANG", "DIED")):
            self.end()
            self._start()
        return Outcome(n, code, what, told, round(time.monotonic() - started, 2))

    def _ask(self, source: Path) -> tuple[str, str]:
        try:
            self._pipe.send(source)
            if not self._pipe.poll(HANG_S):
                return "HANG", ""
            code, told = self._pipe.recv()
            return str(code), str(told)
        except (EOFError, OSError):
            self._process.join()
            return f"DIED {signal.Signals(-(self._process.exitcode or 0)).name}", ""

    def end(self) -> None:
        """Kill it with all below it."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in psutil.Process(self._process.pid).children(recursive=True):
                process.kill()
        self._process.kill()
        self._process.join()
        shutil.rmtree(self._folder, ignore_errors=True)


def _serve(pipe: "multiprocessing.connection.Connection", folder: Path) -> None:
    cap_memory(MEMORY_MB << 20)
    with contextlib.suppress(EOFError):
        while True:
            pipe.send(run_case(pipe.recv(), folder / "store"))


def run_case(source: Path, store: Path) -> tuple[str, str]:
    """A file through the flow: the code of its end and what was said. Nothing but artifacts may be left in the store."""
    settings = Settings()
    ctx = StageContext(
        job_id=str(uuid4()),
        store=LocalStore(store),
        ffmpeg=find_ffmpeg(""),
        max_duration_s=settings.max_duration_s,
        max_pixels=settings.max_pixels,
        memory_bytes=MEMORY_MB << 20,
    )
    try:
        result = run_local.run(_request(source), ctx)
        code, told = ("PARTIAL" if result.manifest.failed else "OK"), ""
    except TopClipError as err:
        code, told = err.code, err.message
    except Exception:  # noqa: BLE001 - that is what is looked for
        code, told = "INTERNAL", traceback.format_exc()
    left = ctx.store.staged() + [p.name() for p in psutil.Process().children()]
    shutil.rmtree(store)
    return ("LEFT", f"{code}: {left}") if left else (code, told)


def run_through_workers(
    folder: Path, sources: dict[str, bytes], seed: int, numbers: range, seconds: float = 900
) -> dict[str, object]:
    """Cases as jobs on a worker of two processes: by outcome, and what must not be."""
    (folder / "redis").mkdir()
    (folder / "media").mkdir()
    redis = RedisContainer(folder / "redis")
    assert redis.ready()
    settings = Settings(redis_url=redis.url, data_dir=folder / "data", task_memory_mb=MEMORY_MB, lease_s=30)
    worker = WorkerContainer(folder, "fuzz", settings.to_env(), concurrency=2)
    client = JobClient(settings, store_for(settings))
    try:
        assert worker.ready()
        jobs = dict(_submitted(folder / "media", sources, seed, numbers, client))
        until(lambda: all(client.read(job).state.is_terminal for job in jobs), seconds, worker.logs, step_s=1.0)
        until(lambda: not redis.client.exists("topclip:unacked"), 30)
        return _verdict({n: client.read(job) for job, n in jobs.items()}, worker, store_for(settings).staged())
    finally:
        client.close()
        worker.teardown()
        redis.teardown()


def _submitted(
    folder: Path, sources: dict[str, bytes], seed: int, numbers: range, client: JobClient
) -> Iterator[tuple[str, int]]:
    """Each case as a job: its id and number. Empty files are none: the web refuses them."""
    for n in numbers:
        what, content = mutated(sources, seed, n)
        if content:
            source, job_id = folder / f"{n}-{what.partition(':')[0]}", str(uuid4())
            source.write_bytes(content)
            client.submit(job_id, _request(source))
            yield job_id, n


def _verdict(statuses: dict[int, JobStatus], worker: WorkerContainer, left: list[str]) -> dict[str, object]:
    codes = {n: s.error.code if s.error else str(s.state) for n, s in statuses.items()}
    bad = [f"case {n}: {statuses[n].error}" for n, code in codes.items() if code in ("INTERNAL", "KILLED")]
    if worker.status != "running":
        bad.append("the worker died")
    return {
        "cases": len(codes),
        "by outcome": dict(collections.Counter(codes.values()).most_common()),
        "processes lost": worker.logs().count("WorkerLostError"),
        "bad": bad + [f"left in staging: {name}" for name in left],
    }


def _request(source: Path) -> ClipRequest:
    return ClipRequest(
        source=MediaPath(path=str(source), name=source.name), options=ClipOptions.model_validate(OPTIONS)
    )


def _replay(folder: Path, sources: dict[str, bytes], seed: int, n: int) -> int:
    what, content = mutated(sources, seed, n)
    kept = Path(f"fuzz-{seed}-{n}-{what.partition(':')[0]}")
    kept.write_bytes(content)
    cap_memory(memory_limit(MEMORY_MB))
    code, told = run_case(kept, folder / "store")
    print(json.dumps({"case": n, "what": what, "code": code, "file": str(kept)}))
    print(told)
    return int(code in BAD)
