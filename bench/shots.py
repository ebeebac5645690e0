"""Shot boundaries of a whole file against a null decode by ffmpeg and against PySceneDetect, whole processes each.

The source is made here, from a seed: three minutes of 1080p30 with hard cuts, dissolves and fades through black between moving,
grainy pictures, and flashes that are none. Wall and processor time, and how many boundaries each finds: hard ones at one frame,
the others within the length of the passage.
"""

import json
import os
import random
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

from bench import record
from bench.cut import BIN, CALM_LOAD, PEERS, QUIET, Cost, against, run
from topclip.media.binary import find_ffmpeg

SEED, N_SHOTS, RATE, ROUNDS = 2, 36, 30, 3
SHOT_S = (3.0, 7.0)
DISSOLVE_FRAMES, FADE_FRAMES = (12, 16, 24, 30), (10, 15)
GOALS = {"null decode": 0.5, "PySceneDetect": 0.35}
PLAN = "a plan of it with sound, all signals"
"""What analysis costs a worker: more than boundaries alone."""
PEER = "scenedetect"
"""It lives in the environment of peers, `.venv/peers`, and is left out where there is none."""


class Boundary(NamedTuple):
    """The frame in its middle, and how far from it is still right."""

    frame: int
    tolerance: int


def measure() -> None:
    """Run the bench."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="bench-shots-") as name:
        source = Path(name) / "source.mp4"
        truth = make_source(source)
        found = source.with_name("shots.json")
        sounding = with_sound(source)
        ours, plan = (
            ["sh", "-c", f'"$0" {what} "$1" --json > "$2"', str(BIN / "topclip"), str(film), str(found.with_stem(what))]
            for what, film in (("shots", source), ("plan", sounding))
        )
        null = [find_ffmpeg(""), *QUIET, "-i", str(source), "-map", "0:v", "-f", "null", "-"]
        references = [
            *null[: null.index("-i")],
            "-skip_frame",
            "noref",
            "-skip_loop_filter",
            "all",
            *null[null.index("-i") :],
        ]
        commands = {"ours": ours, PLAN: plan, "null decode": null, "decode of reference pictures": references}
        if (peer := shutil.which(PEER, path=str(PEERS))) is not None:
            listed = ["list-scenes", "-o", name, "-f", "scenes.csv", "-s"]
            commands["PySceneDetect"] = [peer, "-q", "-i", str(source), "detect-content", *listed]
        costs: dict[str, list[Cost]] = {key: [] for key in commands}
        for n in range(ROUNDS + 1):
            for key, command in commands.items():
                cost = run(command)
                if n:
                    costs[key].append(cost)
        figures: dict[str, object] = {"seed": SEED, "boundaries": len(truth), "goals, wall": GOALS}
        for key in list(commands)[1:]:
            figures.update(against(key, costs["ours"], costs[key]))
        figures["ours"] = judged(truth, [cut["frame"] for cut in json.loads(found.read_text())["cuts"]])
        if "PySceneDetect" in commands:
            figures["PySceneDetect"] = judged(truth, read_scenes(source.with_name("scenes.csv")))
    figures["load before"], figures["machine was calm"] = round(load, 1), load <= CALM_LOAD
    record.write("shots", "make bench ARGS=shots", figures)


def with_sound(source: Path) -> Path:
    """The same film with sound, which a plan listens to."""
    path = source.with_name("sounding.mp4")
    noise = ["-f", "lavfi", "-i", "anoisesrc=c=pink:a=0.2:seed=1:r=48000"]
    run([find_ffmpeg(""), *QUIET, "-i", str(source), *noise, "-c:v", "copy", "-c:a", "aac", "-shortest", str(path)])
    return path


def make_source(path: Path) -> list[Boundary]:
    """Render the source; its boundaries."""
    draw = random.Random(SEED)
    inputs, graph, truth, length = [], "", [], 0
    for n in range(N_SHOTS):
        frames = round(draw.uniform(*SHOT_S) * RATE)
        inputs += ["-f", "lavfi", "-t", f"{(frames + 2) / RATE:.3f}", "-i", picture(draw)]
        kind = draw.choice(["hard", "hard", "hard", "dissolve", "fade"]) if n else "first"
        fade = draw.choice(FADE_FRAMES)
        begin = f",fade=in:0:{fade}" if kind == "fade" else ""
        grain = f"noise=alls=4:allf=t:all_seed={n}"
        graph += f"[{n}]scale=1920:1080:flags=bilinear,{grain},trim=end_frame={frames}{begin},setpts=N/{RATE}/TB[p{n}];"
        if kind == "first":
            graph, length = graph.replace("[p0];", "[s0];"), frames
        elif kind == "dissolve":
            passing = draw.choice(DISSOLVE_FRAMES)
            offset = length - passing
            graph += f"[s{n - 1}][p{n}]xfade=duration={passing / RATE}:offset={offset / RATE}[s{n}];"
            truth.append(Boundary(offset + passing // 2, passing // 2))
            length = offset + frames
        else:
            end = f"fade=out:{length - fade}:{fade}" if kind == "fade" else "null"
            graph += f"[s{n - 1}]{end}[e{n}];[e{n}][p{n}]concat=n=2,settb=1/{RATE},fps={RATE}[s{n}];"
            truth.append(Boundary(length, fade if kind == "fade" else 1))
            length += frames
    last = f"[s{N_SHOTS - 1}]format=yuv420p[v]"
    code = ["-map", "[v]", "-c:v", "libx264", "-preset", "veryfast", "-crf", "24", "-g", "300", "-bf", "3", str(path)]
    run([find_ffmpeg(""), *QUIET, *inputs, "-filter_complex", graph + last, *code])
    return truth


def picture(draw: random.Random) -> str:
    """A moving picture as one of ffmpeg's own sources."""
    colours = ":".join(f"c{i}=#{draw.randrange(1 << 24):06x}" for i in range(4))
    x, y = draw.choice([(-0.743643, -0.131825), (-0.1011, -0.9563), (-1.25066, -0.02012), (0.2925755, -0.0149977)])
    start = f"start_x={x}:start_y={y}:start_scale={draw.choice([3, 1, 0.4])}"
    return draw.choice(
        [
            f"gradients=s=320x180:r={RATE}:n=4:seed={draw.randrange(10**6)}:speed=0.01:{colours}",
            f"mandelbrot=s=320x180:r={RATE}:{start}:end_pts=1200,hue=h={draw.randrange(360)}",
            f"testsrc2=s=320x180:r={RATE},hue=h={draw.randrange(360)}:b={draw.uniform(-2, 2):.1f}",
        ]
    )


def judged(truth: list[Boundary], found: list[int]) -> dict[str, float]:
    """Recall and precision; each found frame counts for one boundary."""
    left, hits = sorted(found), 0
    for boundary in truth:
        near = [frame for frame in left if abs(frame - boundary.frame) <= boundary.tolerance]
        if near:
            left.remove(min(near, key=lambda frame: abs(frame - boundary.frame)))
            hits += 1
    return {"recall": round(hits / len(truth), 3), "precision": round(hits / max(1, len(found)), 3)}


def read_scenes(path: Path) -> list[int]:
    """The first frames of PySceneDetect's scenes but the first, counted from 0."""
    rows = [line.split(",") for line in path.read_text().splitlines()]
    column = rows[0].index("Start Frame")
    return [int(row[column]) - 1 for row in rows[2:]]
