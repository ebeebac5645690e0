"""A first plan of an hour of 1080p30 against a null decode of the same, which is timed on a minute of it.

The minute is made here, once as grainy as a camera's film and once without its grain, and stands sixty times in its hour: what
a first plan costs hardly depends on what is in it. Whole processes, sound and digest included.
"""

import os
import tempfile
from pathlib import Path

from bench import cut, record
from topclip.media.binary import find_ffmpeg

KEY_S, MINUTES, ROUNDS = 2, 60, 3
GOAL_S = 30.0


def measure() -> None:
    """Run the bench."""
    load = os.getloadavg()[0]
    figures: dict[str, object] = {"goal, seconds": GOAL_S}
    with tempfile.TemporaryDirectory(prefix="bench-first-") as folder:
        grainy = cut.make_source(Path(folder), KEY_S)
        smooth = grainy.with_name("smooth.mp4")
        code = [
            "-vf",
            "gblur=sigma=2",
            "-c:v",
            "libx264",
            "-preset",
            "veryfast",
            "-crf",
            "25",
            "-g",
            "60",
            "-c:a",
            "copy",
        ]
        cut.run([find_ffmpeg(""), *cut.QUIET, "-i", str(grainy), *code, str(smooth)])
        for name, minute in (("smooth", smooth), ("grainy", grainy)):
            figures[name] = _of_an_hour(minute)
    figures["load before"], figures["machine was calm"] = round(load, 1), load <= cut.CALM_LOAD
    record.write("first", "make bench ARGS=first", figures)


def _of_an_hour(minute: Path) -> dict[str, object]:
    hour, many = minute.with_name("hour.mp4"), minute.with_name("many.txt")
    many.write_text(f"file '{minute}'\n" * MINUTES)
    joined = ["-f", "concat", "-safe", "0", "-i", str(many), "-c", "copy", str(hour)]
    cut.run([find_ffmpeg(""), *cut.QUIET, *joined])
    plan = [str(cut.BIN / "topclip"), "plan", str(hour), "--first", "--json"]
    null = [find_ffmpeg(""), *cut.QUIET, "-i", str(minute), "-map", "0:v", "-f", "null", "-"]
    pairs = [(cut.run(plan), cut.run(null)) for _ in range(ROUNDS)]
    figures = {
        "megabits a second": round(hour.stat().st_size * 8 / (MINUTES * 60e6), 2),
        "seconds": record.spread([ours.wall for ours, _ in pairs]),
        "to null decode, wall": record.spread([ours.wall / (MINUTES * theirs.wall) for ours, theirs in pairs]),
        "to null decode, processor": record.spread([ours.cpu / (MINUTES * theirs.cpu) for ours, theirs in pairs]),
    }
    hour.unlink()
    return figures
