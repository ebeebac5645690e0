"""Small jobs by the thousand while web servers, workers and Redis are killed and frozen: what is lost, stuck or made twice?

`python -m bench soak --jobs 10000 --seed 1`. Real processes on loopback: Redis with AOF, two web servers, three workers.
Clients submit by HTTP with an idempotency key until they get their 202, and ask for the status as pages do; meanwhile every
few seconds somebody gets SIGKILL (and is started again) or SIGSTOP (and SIGCONT). The seed decides who, what and when; what
the machine makes of it differs from run to run.
"""

import argparse
import hashlib
import itertools
import json
import random
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from bench import record
from tests.nodes import ProcessContainer, RedisContainer, WebContainer, WorkerContainer
from tests.waiting import until
from topclip.config import Settings
from topclip.media.binary import find_ffmpeg
from topclip.model.job import JobState

LEASE_S = 4.0
CLIENTS = 6
LIVE_AT_ONCE = 150
PAUSE_S = (1.0, 5.0)
"""Between two faults."""
FREEZE_S = (0.3, 9.0)
"""Also for longer than a lease."""
DOWN_S = (0.1, 4.0)
"""From a kill to the next start."""
END_S = 300.0
"""Longest time without any job's end before what is left counts as stuck: poison counts, backoff and leases fit in often."""
KINDS: list[dict[str, Any]] = [
    {"mode": "plan", "count": 1, "min_length": 1, "max_length": 2},
    {"mode": "ranges", "ranges": [[0.2, 1.2]], "quality": "draft"},
    {"mode": "ranges", "ranges": [[0.0, 1.0], [1.0, 2.0]], "quality": "draft"},
]
WEIGHTS = (2, 2, 1)


@dataclass
class Seen:
    """What the clients saw."""

    accepted: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Options by job id."""
    ended: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Last status by job id."""
    faults: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    last_end_at: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def complain(self, text: str) -> None:
        """Note something that must not happen."""
        with self.lock:
            self.wrong.append(text)


class Stack:
    """The processes, and who of them is down or frozen now."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("redis", "logs", "media", "data"):
            (folder / name).mkdir()
        self.redis = RedisContainer(folder / "redis")
        assert self.redis.ready()
        self.settings = Settings(
            redis_url=self.redis.url,
            data_dir=folder / "data",
            media_root=folder / "media",
            lease_s=LEASE_S,
            web_threads=32,
        )
        self.webs = [WebContainer(folder / "logs", self.settings, f"web{i}") for i in range(2)]
        self.workers = [WorkerContainer(folder / "logs", f"worker{i}", self.settings.to_env(), 1) for i in range(3)]
        for node in (*self.webs, *self.workers):
            assert node.ready()

    def victim(self, rng: random.Random) -> ProcessContainer:
        """Whom it hits."""
        return rng.choice([self.redis, *self.webs, *self.workers, *self.workers])

    def end(self) -> None:
        """Stop everything."""
        for node in (*self.webs, *self.workers, self.redis):
            node.teardown()


def main(argv: list[str]) -> None:
    """Run the soak and record it."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        figures = run(Path(folder), args.jobs, args.seed)
    record.write("soak", f'make bench ARGS="soak --jobs {args.jobs} --seed {args.seed}"', figures)


def run(folder: Path, n_jobs: int, seed: int, least_faults: int = 0) -> dict[str, Any]:
    """Run it in an empty folder; the figures, of which `wrong` lists whatever must not happen.

    least_faults: more jobs than n_jobs are submitted until so many faults have struck: a fast machine has none to spare.
    """
    started = time.monotonic()
    stack, seen = Stack(folder), Seen()
    try:
        make_footage(folder / "media")
        with faults(stack, seen, random.Random(seed)):
            submit_all(stack, seen, n_jobs, seed, least_faults)
            wait_for_the_end(stack, seen, END_S / 4)
        wait_for_the_end(stack, seen, END_S)
        check_jobs(stack, seen)
        check_nothing_left(stack, seen)
        return {
            "jobs accepted": len(seen.accepted),
            "states": dict(Counter(status["state"] for status in seen.ended.values())),
            "lost": len(seen.accepted) - len(seen.ended),
            "attempts": dict(sorted(Counter(status["attempts"] for status in seen.ended.values()).items())),
            "faults": dict(sorted(seen.faults.items())),
            "answers to submissions": dict(sorted(seen.answers.items())),
            "seconds": round(time.monotonic() - started),
            "wrong": seen.wrong,
        }
    finally:
        stack.end()


def make_footage(folder: Path) -> None:
    """A source of two and a half seconds with picture and sound."""
    source = ["-f", "lavfi", "-i", "testsrc2=s=160x90:r=25:d=2.5", "-f", "lavfi", "-i", "sine=f=440:d=2.5"]
    encode = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "25", "-c:a", "aac", "-shortest"]
    subprocess.run([find_ffmpeg(""), "-v", "error", *source, *encode, str(folder / "small.mp4")], check=True)


@contextmanager
def faults(stack: Stack, seen: Seen, rng: random.Random) -> Iterator[None]:
    """Faults for as long as the context lasts; at its end everybody runs."""
    is_over = threading.Event()

    def hit() -> None:
        while not is_over.wait(rng.uniform(*PAUSE_S)):
            node, kind = stack.victim(rng), rng.choice(["SIGKILL", "SIGSTOP"])
            seen.faults[f"{kind} {node.name.rstrip('0123456789')}"] += 1
            if kind == "SIGKILL":
                node.kill()
                is_over.wait(rng.uniform(*DOWN_S))
                node.restart()
            else:
                node.kill("SIGSTOP")
                is_over.wait(rng.uniform(*FREEZE_S))
                node.kill("SIGCONT")

    thread = threading.Thread(target=hit)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def submit_all(stack: Stack, seen: Seen, n_jobs: int, seed: int, least_faults: int) -> None:
    """Have the clients submit all jobs, each until it is accepted."""
    numbers = itertools.count()
    lock = threading.Lock()

    def take() -> int | None:
        with lock:
            n = next(numbers)
        return n if n < n_jobs or seen.faults.total() < least_faults else None

    def client() -> None:
        with httpx.Client(timeout=15) as http:
            while (n := take()) is not None:
                rng = random.Random(f"{seed}-{n}")
                while len(seen.accepted) - len(seen.ended) >= LIVE_AT_ONCE:
                    look(stack, seen, http, rng)
                submit(stack, seen, http, rng)
                look(stack, seen, http, rng)

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def submit(stack: Stack, seen: Seen, http: httpx.Client, rng: random.Random) -> None:
    """Submit one job under one key, again and again until it is taken."""
    options = rng.choices(KINDS, WEIGHTS)[0]
    key = str(UUID(int=rng.getrandbits(128)))
    body = {"source": "small.mp4", "options": options}
    while True:
        try:
            answer = http.post(f"{rng.choice(stack.webs).url}/api/jobs", json=body, headers={"Idempotency-Key": key})
        except httpx.TransportError as err:
            seen.answers[type(err).__name__] += 1
            time.sleep(0.2)
            continue
        seen.answers[str(answer.status_code)] += 1
        if answer.status_code == 202:
            with seen.lock:
                if answer.json()["id"] in seen.accepted:
                    seen.wrong.append(f"job {answer.json()['id']} was given to two clients")
                seen.accepted[answer.json()["id"]] = options
            return
        if answer.status_code not in (409, 429, 503):
            seen.complain(f"submission answered {answer.status_code}: {answer.text[:300]}")
            return
        time.sleep(0.2)


def look(stack: Stack, seen: Seen, http: httpx.Client, rng: random.Random) -> None:
    """Ask for a job that has not ended."""
    with seen.lock:
        live = [job for job in seen.accepted if job not in seen.ended]
    if not live:
        return
    job = rng.choice(live[:40])
    try:
        answer = http.get(f"{rng.choice(stack.webs).url}/api/job-status/{job}")
    except httpx.TransportError:
        time.sleep(0.05)
        return
    if answer.status_code == 503:
        return
    if answer.status_code != 200:
        seen.complain(f"status of accepted job {job} answered {answer.status_code}: {answer.text[:300]}")
        return
    document = answer.json()
    if JobState(document["state"]).is_terminal:
        with seen.lock:
            seen.ended[job] = document
            seen.last_end_at = time.monotonic()


def wait_for_the_end(stack: Stack, seen: Seen, patience_s: float) -> None:
    """Wait until every job has ended, or none has for so long."""
    seen.last_end_at = time.monotonic()
    rng = random.Random(0)
    with httpx.Client(timeout=15) as http:
        while len(seen.ended) < len(seen.accepted) and time.monotonic() - seen.last_end_at < patience_s:
            look(stack, seen, http, rng)


def check_jobs(stack: Stack, seen: Seen) -> None:
    """Every job has ended well, and made each clip once."""
    until(lambda: _answers(stack.webs[0]), 60)  # the last fault may just have killed it
    with httpx.Client(timeout=15) as http:
        for job in seen.accepted:
            status = http.get(f"{stack.webs[0].url}/api/job-status/{job}").json()
            if status.get("state") != "SUCCEEDED":
                seen.complain(f"job {job}: {json.dumps(status)[:600]}")
                continue
            if job in seen.ended and seen.ended[job]["epoch"] > status["epoch"]:
                seen.complain(f"job {job} was seen at epoch {seen.ended[job]['epoch']}, and ended at {status['epoch']}")
            seen.ended[job] = status
            check_clips(stack, seen, job, http.get(f"{stack.webs[0].url}/api/jobs/{job}/manifest").json())


def _answers(web: WebContainer) -> bool:
    try:
        return web.get("/health/ready").is_success
    except httpx.TransportError:
        return False


def check_clips(stack: Stack, seen: Seen, job: str, manifest: dict[str, Any]) -> None:
    """The manifest names as many clips as were asked for, and there is one file for each."""
    wanted = len(seen.accepted[job].get("ranges", []))
    files = sorted((stack.settings.store_dir / "jobs" / job / "clips").glob("*.mp4"))
    if not len(manifest["clips"]) == len(files) == wanted:
        seen.complain(f"job {job}: {wanted} clips wanted, {len(manifest['clips'])} named, {len(files)} published")
    for file, clip in zip(files, manifest["clips"], strict=False):
        if hashlib.sha256(file.read_bytes()).hexdigest() != clip["sha256"]:
            seen.complain(f"job {job}: clip {clip['n']} is not the file that the manifest means")


def check_nothing_left(stack: Stack, seen: Seen) -> None:
    """No message, no delivery, no held part, no file in staging."""
    prefix, redis = stack.settings.key_prefix, stack.redis.client

    def left() -> list[str]:
        names = (
            "unacked",
            "unacked_index",
            "unacked_lease",
            "control",
            "analyse",
            "render",
            "turns:analyse",
            "turns:render",
        )
        found = [f"{name}: {redis.type(prefix + name)}" for name in names if redis.exists(prefix + name)]
        found += list(redis.scan_iter(f"{prefix}job:*:held:*", count=1000))
        return found + [str(path) for path in (stack.settings.store_dir / ".staging").glob("*")]

    try:
        until(lambda: not left(), 60)
    except AssertionError:
        seen.complain(f"left behind: {left()[:20]}")
