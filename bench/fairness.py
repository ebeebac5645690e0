"""A two-minute video behind a ten-hour one, and the ten-hour one under steady two-minute ones, on two workers.

The long source is real, with ten hours of small pictures and sound: its six hundred chunks are real tasks, only short ones, so
that the bench ends. The figure is how much longer the short job takes behind the long one than alone, and whether the long one
ends while short ones keep coming.
"""

import subprocess
import tempfile
import time
from pathlib import Path
from uuid import uuid4

from bench import record
from tests.nodes import ROOT, RedisContainer, WorkerContainer
from tests.waiting import until
from topclip.config import Settings
from topclip.media.binary import find_ffmpeg
from topclip.model.job import JobStatus, Stage
from topclip.model.request import ClipOptions, ClipRequest, MediaPath
from topclip.storage.factory import store_for
from workers.client import JobClient

HOURS = 10
SHORT = ROOT / "demo/footage.mp4"
OPTIONS = {"count": 4, "min_length": 8, "max_length": 15}
ROUNDS = 3


class Bench:
    """Redis, two workers of one process each, and the sources."""

    def __init__(self, folder: Path) -> None:
        self.redis = RedisContainer(folder)
        assert self.redis.ready()
        self._settings = Settings(redis_url=self.redis.url, data_dir=folder, max_duration_s=1e6)
        self.workers = [WorkerContainer(folder, f"w{i}", self._settings.to_env(), concurrency=1) for i in range(2)]
        for worker in self.workers:
            assert worker.ready()
        self._client = JobClient(self._settings, store_for(self._settings))
        self.folder = folder

    def submit(self, path: Path) -> str:
        """Submit a source."""
        job_id = str(uuid4())
        source = MediaPath(path=str(path), name=path.name)
        self._client.submit(job_id, ClipRequest(source=source, options=ClipOptions.model_validate(OPTIONS)))
        return job_id

    def short(self, n: int) -> float:
        """Seconds that a short job takes; each has a source of its own, so that none finds its analysis done."""
        path = self.folder / f"short-{n}.mp4"
        note = ["-metadata", f"comment={n}"]
        subprocess.run([find_ffmpeg(""), "-v", "error", "-i", str(SHORT), "-c", "copy", *note, str(path)], check=True)
        started = time.perf_counter()
        job_id = self.submit(path)
        until(lambda: self.status(job_id).state.is_terminal, 600)
        assert self.status(job_id).state == "SUCCEEDED", self.status(job_id)
        return time.perf_counter() - started

    def status(self, job_id: str) -> JobStatus:
        """A job's status."""
        return self._client.read(job_id)

    def cancel(self, job_id: str) -> None:
        """Cancel a job and wait for its end."""
        self._client.cancel(job_id)
        until(lambda: self.status(job_id).state.is_terminal, 60)

    def end(self) -> None:
        """Stop everything."""
        self._client.close()
        for worker in self.workers:
            worker.teardown()
        self.redis.teardown()


def measure() -> None:
    """Run the bench."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        long = make_long(folder / "long.mkv")
        bench = Bench(folder)
        try:
            figures = run(bench, long)
        finally:
            bench.end()
    record.write("fairness", "make bench ARGS=fairness", figures)


def run(bench: Bench, long: Path) -> dict[str, object]:
    """The figures."""
    bench.short(0)  # decoders, caches
    alone = [bench.short(1 + i) for i in range(ROUNDS)]
    job_id = bench.submit(long)
    until(lambda: bench.status(job_id).stage is Stage.ANALYSE, 600)
    behind = [bench.short(10 + i) for i in range(ROUNDS)]
    still = bench.status(job_id)
    assert still.stage is Stage.ANALYSE, "the long job is too short to say anything"
    started, n_short = time.perf_counter(), 0
    while not bench.status(job_id).state.is_terminal:
        bench.short(100 + n_short)
        n_short += 1
    return {
        "short job alone, seconds": record.spread(alone),
        "short job behind a ten-hour one, seconds": record.spread(behind),
        "behind to alone": record.spread([a / b for a, b in zip(behind, alone, strict=True)]),
        "short jobs, one after the other, until the long one ended": n_short,
        "seconds of that": round(time.perf_counter() - started),
        "the long one ended": bench.status(job_id).state,
    }


def make_long(path: Path) -> Path:
    """A source of ten hours: small pictures, one a second, and a tone that swells now and then."""
    length = ["-t", str(HOURS * 3600)]
    picture = ["-f", "lavfi", "-i", "testsrc2=s=160x90:r=1"]
    sound = ["-f", "lavfi", "-i", "aevalsrc='0.2*sin(500*t)*(0.3+0.7*lt(mod(t,400),20))':s=8000"]
    encode = [
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-g",
        "30",
        "-pix_fmt",
        "yuv420p",
        "-c:a",
        "aac",
        "-b:a",
        "16k",
    ]
    subprocess.run([find_ffmpeg(""), "-v", "error", *picture, *sound, *length, *encode, str(path)], check=True)
    return path
