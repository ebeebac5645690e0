"""A smart cut of 30 s against encoding them anew by ffmpeg, and against the peers `smartcut`, MoviePy and
auto-editor, whole processes each.

Sources are made here: a moving, grainy picture of 1080p30 with key frames by the clock, each 2 s and each 10 s, both with
closed groups. The range begins and ends between key frames. Wall and processor time, of all processes together; what is cut is
decoded by ffmpeg afterwards, which must say nothing and count 900 frames.
"""

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench import record
from topclip.media.binary import find_ffmpeg

SOURCE_S, START_S, LENGTH_S, RATE = 60, 12.7, 30, 30
GOALS = {2: 0.15, 10: 0.5}
"""Key frame distance in seconds, and the ratio to encoding that is wanted there."""
ROUNDS = 3
CALM_LOAD = 1.0
"""A machine that others use as much makes wall times that mean little; the load before the first run is written down."""
BIN = Path(sys.executable).parent
PEERS = BIN.parent / "peers" / "bin"
"""They want older packages than ours, so they live in an environment of their own; those that are not there are left out."""
SLOW = ("MoviePy", "auto-editor")
MOVIEPY = """
import sys
from moviepy import VideoFileClip
source, out, start, end = sys.argv[1:]
clip = VideoFileClip(source).subclipped(float(start), float(end))
clip.write_videofile(out, preset="veryfast", threads=2, audio_codec="aac", logger=None)
"""


class Cost(NamedTuple):
    """Seconds."""

    wall: float
    cpu: float


def measure() -> None:
    """Run the bench."""
    load, figures = os.getloadavg()[0], {}
    with tempfile.TemporaryDirectory(prefix="bench-cut-") as folder:
        for distance_s, goal in GOALS.items():
            source = make_source(Path(folder), distance_s)
            figures[f"key frames each {distance_s} s"] = compare(source, goal)
    figures["load before"], figures["machine was calm"] = round(load, 1), load <= CALM_LOAD
    record.write("cut", "make bench ARGS=cut", figures)


def make_source(folder: Path, distance_s: int) -> Path:
    """A minute of picture and sound with key frames by the clock."""
    path, n = folder / f"each{distance_s}s.mp4", str(distance_s * RATE)
    picture = (
        f"mandelbrot=s=640x360:r={RATE}:end_pts=1500,scale=1920:1080:flags=bilinear,noise=alls=3:allf=t:all_seed=1"
    )
    sound = "aevalsrc='0.2*sin(2*PI*330*t)*lt(mod(t,3),2)|0.2*sin(2*PI*440*t)':s=48000"
    graph = f"{picture},format=yuv420p[v];{sound}[a]"
    keys = ["-g", n, "-keyint_min", n, "-sc_threshold", "0", "-bf", "3"]
    code = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "24", *keys, "-c:a", "aac", "-t", str(SOURCE_S)]
    run([find_ffmpeg(""), *QUIET, "-filter_complex", graph, "-map", "[v]", "-map", "[a]", *code, str(path)])
    return path


QUIET = ("-v", "error", "-nostdin", "-y")


def compare(source: Path, goal: float) -> dict[str, object]:
    """Time all in turn, after one round that does not count; peers that encode all are slow, so they run once."""
    ours, encoded = (source.with_name(f"{name}.mp4") for name in ("ours", "encoded"))
    cut = [str(BIN / "topclip"), "cut", str(source), "--start", str(START_S), "--end", str(START_S + LENGTH_S)]
    encode = [find_ffmpeg(""), *QUIET, "-ss", str(START_S), "-i", str(source), "-t", str(LENGTH_S)]
    encode += ["-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-c:a", "aac", str(encoded)]
    peers = _peers(source)
    commands = {"smart": [*cut, "--out", str(ours), "--json"], "encoding": encode}
    commands.update({name: peer.command for name, peer in peers.items()})
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for n in range(ROUNDS + 1):
        for name, command in commands.items():
            if n < ROUNDS and name in SLOW:
                continue
            cost = run(command)
            if n:
                costs[name].append(cost)
    figures: dict[str, object] = {"goal, wall": goal, "result": told(commands["smart"]), "frames, ours": frames(ours)}
    for name in list(commands)[1:]:
        figures.update(against(name, costs["smart"][-len(costs[name]) :], costs[name]))
    figures.update({f"frames, {name}": frames(peer.out) for name, peer in peers.items()})
    return figures


class _Peer(NamedTuple):
    """Another program's command for the same range, and the file that it makes."""

    command: list[str]
    out: Path


def _peers(source: Path) -> dict[str, _Peer]:
    """Those that are there."""
    end, outs = START_S + LENGTH_S, {name: source.with_name(f"{name}.mp4") for name in ("smartcut", *SLOW)}
    around = [f"start,{START_S}sec", f"{end}sec,end"]
    found = {
        "smartcut": [str(source), str(outs["smartcut"]), "--keep", f"{START_S},{end}"],
        "MoviePy": ["-c", MOVIEPY, str(source), str(outs["MoviePy"]), str(START_S), str(end)],
        "auto-editor": [
            str(source),
            "--edit",
            "none",
            "--cut-out",
            *around,
            "--no-open",
            "-o",
            str(outs["auto-editor"]),
        ],
    }
    programs = {"MoviePy": "python"} if any(PEERS.parent.glob("lib/python*/site-packages/moviepy")) else {}
    programs.update({name: name for name in ("smartcut", "auto-editor") if shutil.which(name, path=str(PEERS))})
    return {
        name: _Peer([str(PEERS / programs[name]), *args], outs[name])
        for name, args in found.items()
        if name in programs
    }


def against(name: str, ours: Sequence[Cost], theirs: Sequence[Cost]) -> dict[str, object]:
    """The ratios of paired runs."""
    pairs = list(zip(ours, theirs, strict=True))
    return {
        f"to {name}, wall": record.spread([a.wall / b.wall for a, b in pairs]),
        f"to {name}, processor": record.spread([a.cpu / b.cpu for a, b in pairs]),
        f"{name}, seconds of processor": round(statistics.median(b.cpu for _, b in pairs), 2),
    }


def run(command: Sequence[str]) -> Cost:
    """What one command costs, with all that it starts."""
    before, started = _children_s(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return Cost(time.perf_counter() - started, _children_s() - before)


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def told(command: Sequence[str]) -> dict[str, object]:
    """The document that the cut prints."""
    found: dict[str, object] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return found


def frames(path: Path) -> dict[str, object]:
    """How many frames decode, and what the decoder says of them."""
    shown = ["-v", "warning", "-nostdin", "-i", str(path), "-map", "0:v", "-f", "null", "-stats", "-"]
    said = subprocess.run([find_ffmpeg(""), *shown], check=True, capture_output=True, text=True).stderr
    *lines, last = said.strip().replace("\r", "\n").split("\n")
    messages = [line for line in lines if line and not line.startswith("frame=")]
    return {"decoded": int(last.split("frame=")[1].split()[0]), "messages": len(messages)}
