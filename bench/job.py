"""A whole job, through Redis and one worker, against the sum of what it must do at least.

The limit is one null decode of the source by ffmpeg, one bare encode of each clip's range with the job's own ffmpeg command
line's encoder settings, and one decode of each result: that is what analysis, rendering and the check cost at least. The parts
are run one after the other with as many threads as the machine has cores; the job spreads its tasks over as many processes.
"""

import json
import os
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
from topclip.model.request import ClipOptions, ClipRequest, MediaPath
from topclip.storage.factory import store_for
from workers.client import JobClient

FOOTAGE = ROOT / "demo/footage.mp4"
OPTIONS = {"count": 4, "min_length": 8, "max_length": 15}
ROUNDS = 3


def measure() -> None:
    """Run the bench."""
    whole, parts = [], []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            seconds, clips = run_job(Path(folder))
            whole.append(seconds)
            parts.append(bare_parts(Path(folder), clips))
    sums = [sum(p.values()) for p in parts]
    figures = {
        "job, seconds": record.spread(whole),
        **{f"{name}, seconds": record.spread([p[name] for p in parts]) for name in parts[0]},
        "job to the sum of its bare parts": record.spread([a / b for a, b in zip(whole, sums, strict=True)]),
    }
    record.write("job", "make bench ARGS=job", figures)


def run_job(folder: Path) -> tuple[float, list[tuple[float, float]]]:
    """Seconds from submission to the end, and the clips' ranges."""
    redis = RedisContainer(folder)
    assert redis.ready()
    settings = Settings(redis_url=redis.url, data_dir=folder)
    worker = WorkerContainer(folder, "bench", settings.to_env(), concurrency=os.cpu_count() or 1)
    try:
        assert worker.ready()
        client, job_id = JobClient(settings, store_for(settings)), str(uuid4())
        source = MediaPath(path=str(FOOTAGE), name=FOOTAGE.name)
        started = time.perf_counter()
        client.submit(job_id, ClipRequest(source=source, options=ClipOptions.model_validate(OPTIONS)))
        until(lambda: client.read(job_id).state.is_terminal, 300)
        seconds = time.perf_counter() - started
        status = client.read(job_id)
        assert status.state == "SUCCEEDED", json.dumps(status.to_dict())
        return seconds, [(clip.start_s, clip.end_s) for clip in status.clips]
    finally:
        worker.teardown()
        redis.teardown()


def bare_parts(folder: Path, clips: list[tuple[float, float]]) -> dict[str, float]:
    """Seconds of each bare part."""
    found = {"null decode of the source": ffmpeg("-i", str(FOOTAGE), "-f", "null", "-")}
    outs = [folder / f"bare-{n}.mp4" for n in range(len(clips))]
    encode = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-c:a", "aac", "-movflags", "+faststart"]
    found["bare encodes of the clips"] = sum(
        ffmpeg("-ss", str(start), "-i", str(FOOTAGE), "-t", str(end - start), *encode, str(out))
        for (start, end), out in zip(clips, outs, strict=True)
    )
    found["decodes of the results"] = sum(ffmpeg("-i", str(out), "-f", "null", "-") for out in outs)
    return found


def ffmpeg(*args: str) -> float:
    """Seconds that one ffmpeg took."""
    started = time.perf_counter()
    subprocess.run([find_ffmpeg(""), "-v", "error", "-nostdin", "-y", *args], check=True)
    return time.perf_counter() - started
