"""A thousand simulated workers and a hundred thousand queued tasks on one Redis, and who reads statuses meanwhile.

The workers (`bench/fleet_node.py`) are our consumer, keeper, reconciler and tasks; only the stages sleep. First there is
nothing to do, for ever more workers; then jobs are submitted by the job client until all their parts wait; then the parts take
long enough that every worker has one, again with ever more workers; at last they take no time. Redis' own processor time is
measured, since on a small machine the simulators' Python is what ends first; `pace` says how many of the keepers' rounds they
managed.
"""

import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from bench import redis_cost
from bench.fleet_stages import CONTROL_WORKERS, N_CHUNKS
from bench.redis_cost import Reading, Spent
from tests.nodes import ROOT, RedisContainer, WebContainer
from tests.waiting import until
from topclip.config import Settings
from topclip.model.request import ClipOptions, ClipRequest, MediaPath
from topclip.storage.factory import store_for
from workers.client import JobClient

N_NODES = 4
SETTLE_S, WINDOW_S, SAMPLE_S = 4.0, 10.0, 2.0
HEARD_WITHIN_S, SETTLED_WITHIN_S, FILLED_WITHIN_S = 90.0, 40.0, 400.0
LONG_S = 20.0
"""How long a part takes where all workers are to have one."""
READ_EVERY_S = 0.02
KEEPER_EVERY_S = 1.0


class NodeProcess:
    """One process of simulated workers."""

    def __init__(self, folder: Path, name: str, n_workers: int, settings: Settings) -> None:
        env = {**os.environ, **settings.to_env(), "TOPCLIP_LOG_LEVEL": "WARNING"}
        self._log = (folder / f"{name}.log").open("w")
        argv = [sys.executable, "-m", "bench.fleet_node", name, str(n_workers)]
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, env=env, cwd=ROOT, text=True
        )

    def tell(self, awake: int, task_s: float) -> dict[str, int]:
        """How many are to work, and how long parts take from now on; what was done so far."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"awake": awake, "task_s": task_s}) + "\n")
        self._process.stdin.flush()
        found: dict[str, int] = json.loads(self._process.stdout.readline())
        return found

    def teardown(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._log.close()


class Fleet:
    """All simulated workers, their Redis, and a web server."""

    def __init__(self, folder: Path, n_workers: int, stack: ExitStack) -> None:
        self.redis = RedisContainer(folder, more=["--slowlog-max-len", "1"])
        stack.callback(self.redis.teardown)
        assert self.redis.ready()
        self.settings = Settings(redis_url=self.redis.url, data_dir=folder, media_root=folder, log_level="WARNING")
        self.n_workers = n_workers
        self.prefix, self._task_s = self.settings.key_prefix, 0.0
        self.web = WebContainer(folder, self.settings)
        stack.callback(self.web.teardown)
        self._nodes = []
        for i in range(N_NODES):
            self._nodes.append(NodeProcess(folder, f"node{i}", n_workers // N_NODES, self.settings))
            stack.callback(self._nodes[-1].teardown)
        self.tell(0, 0.0)
        until(lambda: self.heard() == N_NODES * CONTROL_WORKERS, 60, "no worker")
        until(self._is_ready, 30, self.web.logs)

    def tell(self, awake: int, task_s: float | None = None) -> dict[str, int]:
        """How many workers are to work, and how long parts take; what was done so far, by all."""
        self._task_s = self._task_s if task_s is None else task_s
        self.awake = awake
        found = [node.tell(-(-awake // N_NODES), self._task_s) for node in self._nodes]
        return {name: sum(one[name] for one in found) for name in found[0]}

    def heard(self) -> int:
        """Workers that Redis has heard of in the last seconds."""
        return int(self.redis.client.zcard(self.prefix + "workers"))

    def _is_ready(self) -> bool:
        try:
            return self.web.get("/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    def await_heard(self, n: int) -> None:
        """Wait until Redis hears of so many, or for a while: two cores may be too few to act a thousand, which `pace` tells."""
        with contextlib.suppress(AssertionError):
            until(lambda: self.heard() >= n, HEARD_WITHIN_S, step_s=0.5)

    def settle(self, n_busy: int) -> None:
        """Wait until so many workers have something to do, or for a while."""
        with contextlib.suppress(AssertionError):
            until(
                lambda: self.redis.client.hlen(self.prefix + "unacked") >= 0.95 * n_busy, SETTLED_WITHIN_S, step_s=0.5
            )

    def measure(self) -> tuple[Spent, dict[str, int]]:
        """What Redis spends in a window, and what the workers do in it."""
        time.sleep(SETTLE_S)
        before, done = Reading.now(self.redis.client), self.tell(self.awake)
        time.sleep(WINDOW_S)
        after = self.tell(self.awake)
        return Reading.now(self.redis.client).since(before), {name: after[name] - done[name] for name in done}

    def shares(self) -> dict[str, dict[str, float]]:
        """Of each kind of command that clients send: how many a second, microseconds for one, its share of all."""
        found = redis_cost.kinds(self.redis.client, self.prefix, SAMPLE_S)
        n = sum(calls for calls, _ in found.values())
        return {
            kind: {
                "a second": round(calls / SAMPLE_S, 1),
                "us": round(micros / calls, 1),
                "share of commands": round(calls / n, 4),
            }
            for kind, (calls, micros) in list(found.items())[:20]
        }


def run(n_workers: int, n_tasks: int) -> dict[str, Any]:
    """All phases; the figures."""
    steps = [n_workers // 4, n_workers // 2, n_workers]
    with tempfile.TemporaryDirectory(prefix="bench-fleet-") as name, ExitStack() as stack:
        fleet = Fleet(Path(name), n_workers, stack)
        figures: dict[str, Any] = {"workers": n_workers, "load before": round(os.getloadavg()[0], 1)}
        figures["idle"] = {n: idle(fleet, n) for n in steps}
        jobs, figures["queued"] = fill(fleet, n_tasks)
        with reading(fleet.web, jobs[:50]) as latencies:
            figures["status read beside a queue that rests, ms"] = latencies
            time.sleep(5.0)
        figures["busy"] = {n: busy(fleet, n, LONG_S, jobs) for n in steps}
        figures["short tasks"] = busy(fleet, n_workers, 0.0, jobs)
        figures["clients of Redis"] = fleet.redis.client.info("clients")["connected_clients"]
    return figures


def idle(fleet: Fleet, n: int) -> dict[str, Any]:
    """So many workers that have nothing to do."""
    fleet.tell(n)
    fleet.await_heard(n)
    spent, done = fleet.measure()
    return {**_per_second(spent, n), "pace": _pace(fleet, done, spent)}


def fill(fleet: Fleet, n_tasks: int) -> tuple[list[str], dict[str, Any]]:
    """Submit jobs until so many parts wait, while only those work who hand jobs on."""
    fleet.tell(0)
    redis = fleet.redis.client
    time.sleep(3.0)  # until a question for a message that somebody has asked is answered
    client = JobClient(fleet.settings, store_for(fleet.settings))
    request = ClipRequest(source=MediaPath(path="/no/such.mp4", name="such.mp4"), options=ClipOptions())
    memory, began, before = redis.info("memory")["used_memory"], time.monotonic(), Reading.now(redis)
    jobs = [str(uuid4()) for _ in range(n_tasks // N_CHUNKS)]
    for job in jobs:
        client.submit(job, request)
    submitted_s = time.monotonic() - began
    until(
        lambda: _waiting(fleet, jobs) >= len(jobs) * N_CHUNKS,
        FILLED_WITHIN_S,
        lambda: f"{_waiting(fleet, jobs)} wait",
        1.0,
    )
    spent, used = Reading.now(redis).since(before), redis.info("memory")["used_memory"]
    return jobs, {
        "jobs": len(jobs),
        "tasks": len(jobs) * N_CHUNKS,
        "jobs submitted a second": round(len(jobs) / submitted_s, 1),
        "Redis, us of processor to publish a task": round(spent.cpu_s / len(jobs) / N_CHUNKS * 1e6, 1),
        "memory of Redis, MiB": round(used / 2**20, 1),
        "memory of Redis, bytes a queued task": round((used - memory) / len(jobs) / N_CHUNKS),
    }


def busy(fleet: Fleet, n: int, task_s: float, jobs: list[str]) -> dict[str, Any]:
    """So many workers that have parts of this length to do."""
    fleet.tell(n, task_s)
    fleet.await_heard(n)
    fleet.settle(n - N_NODES * CONTROL_WORKERS if task_s else 0)
    with reading(fleet.web, jobs[:50]) as latencies:
        spent, done = fleet.measure()
        at_work = int(fleet.redis.client.hlen(fleet.prefix + "unacked"))
    return {
        **_per_second(spent, n),
        "workers heard of": fleet.heard(),
        "tasks a second": round(done["tasks"] / spent.seconds, 1),
        "deliveries at the end": at_work,
        "still waiting": _waiting(fleet, jobs),
        "pace": _pace(fleet, done, spent),
        "status read, ms": latencies,
        "commands": fleet.shares(),
    }


def _waiting(fleet: Fleet, jobs: list[str]) -> int:
    """Parts of these jobs that nobody has yet."""
    queue = "analyse"
    with fleet.redis.client.pipeline(transaction=False) as pipe:
        pipe.llen(fleet.prefix + queue)
        for job in jobs:
            pipe.llen(f"{fleet.prefix}job:{job}:held:{queue}")
        return sum(pipe.execute())


def _per_second(spent: Spent, n: int) -> dict[str, float]:
    return {
        "Redis, share of a core": round(spent.cpu_s / spent.seconds, 4),
        "Redis, us of processor a worker and second": round(spent.cpu_s / spent.seconds / n * 1e6, 1),
        "commands a second, those in scripts too": round(spent.calls / spent.seconds),
        "scripts a second": round(spent.scripts / spent.seconds),
        "KiB a second in": round(spent.bytes_in / spent.seconds / 1024, 1),
        "KiB a second out": round(spent.bytes_out / spent.seconds / 1024, 1),
    }


def _pace(fleet: Fleet, done: dict[str, int], spent: Spent) -> float:
    """The keepers' rounds to those that were due; those who sleep have theirs at no cost."""
    due = spent.seconds * fleet.n_workers / KEEPER_EVERY_S
    return round(done["keepers"] / due, 3)


@contextmanager
def reading(web: WebContainer, jobs: list[str]) -> Iterator[dict[str, float]]:
    """Read statuses meanwhile, each time another of these jobs; yields what becomes the latencies."""
    over, found, latencies = threading.Event(), list[float](), dict[str, float]()

    def read() -> None:
        with httpx.Client(base_url=web.url, timeout=30) as client:
            while not over.wait(READ_EVERY_S):
                began = time.perf_counter()
                client.get(f"/api/job-status/{random.choice(jobs)}").raise_for_status()
                found.append((time.perf_counter() - began) * 1000)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield latencies
    finally:
        over.set()
        thread.join()
        found.sort()
        latencies |= {"reads": len(found), **{f"p{p}": round(found[len(found) * p // 100], 2) for p in (50, 99)}}
