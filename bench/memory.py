"""No speed: the most memory that a process takes of a source of ten minutes, and of one of ten hours, stage by stage.

The source is small to decode and as long as it says: what grows with length is its index, and what is kept of each frame. Each
stage runs in a process of its own, as a worker's task would if it were the process's first: there some 20 MB of Celery and its
clients come on top.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import cut, record
from topclip.media.binary import find_ffmpeg

MINUTES = (10, 600)
SIDE_BY_SIDE = 2
GOAL_MB = 300

STAGE = """
import json, sys
from pathlib import Path
from topclip.media.binary import find_ffmpeg
from topclip.model.request import ClipOptions, ClipRequest, MediaPath
from topclip.pipeline.analyse import analyse_chunk
from topclip.pipeline.chunk import plan_chunks
from topclip.pipeline.context import StageContext
from topclip.pipeline.plan import make_plan
from topclip.pipeline.probe import probe_source
from topclip.storage.local import LocalStore
stage, path, folder, part, parts = sys.argv[1:]
store = LocalStore(Path(folder))
ctx = StageContext("bench", store, find_ffmpeg(""), max_duration_s=1e6, max_pixels=10**8)
request = ClipRequest(source=MediaPath(path=path, name="source.mp4"), options=ClipOptions())
info = probe_source(request, ctx)
if stage == "analyse":
    for chunk in plan_chunks(info)[int(part)::int(parts)]:
        analyse_chunk(request, info, chunk, ctx)
if stage == "select":
    make_plan(request, info, ctx)
# not ru_maxrss, which begins with what the process held that started this one
most = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(json.dumps(int(most.split()[1]) / 1024))
"""


def measure() -> None:
    """Run the bench."""
    figures: dict[str, object] = {"goal, MB at most": GOAL_MB}
    with tempfile.TemporaryDirectory(prefix="bench-memory-") as name:
        folder = Path(name)
        minute = folder / "minute.mp4"
        seen, heard = "testsrc2=s=320x180:r=30:d=60", "sine=300:r=48000:d=60"
        code = ["-c:v", "libx264", "-preset", "veryfast", "-g", "60", "-c:a", "aac", "-ac", "2"]
        made = ["-f", "lavfi", "-i", seen, "-f", "lavfi", "-i", heard, *code, str(minute)]
        cut.run([find_ffmpeg(""), *cut.QUIET, *made])
        for minutes in MINUTES:
            figures[f"{minutes} minutes, MB"] = _of(minute, minutes, folder / str(minutes))
    record.write("memory", "make bench ARGS=memory", figures)


def _of(minute: Path, minutes: int, folder: Path) -> dict[str, int]:
    folder.mkdir()
    source, many = folder / "source.mp4", folder / "many.txt"
    many.write_text(f"file '{minute}'\n" * minutes)
    cut.run([find_ffmpeg(""), *cut.QUIET, "-f", "concat", "-safe", "0", "-i", str(many), "-c", "copy", str(source)])
    found = {"probe": _peak_mb("probe", source, folder, 1)}
    found["analyse, all chunks by two processes"] = _peak_mb("analyse", source, folder, SIDE_BY_SIDE)
    found["select"] = _peak_mb("select", source, folder, 1)
    source.unlink()
    return found


def _peak_mb(stage: str, source: Path, folder: Path, n: int) -> int:
    """The largest of n processes that share a stage."""
    command = [sys.executable, "-c", STAGE, stage, str(source), str(folder / "store")]
    running = [subprocess.Popen([*command, str(part), str(n)], stdout=subprocess.PIPE) for part in range(n)]
    peaks = [json.loads(one.communicate()[0]) for one in running]
    if any(one.returncode for one in running):
        raise RuntimeError(f"{stage} failed")
    return round(max(peaks))
