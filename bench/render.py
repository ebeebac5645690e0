"""Render and check of a 30 s vertical clip against the bare ffmpeg commands for the same, and several clips against one by one.

The bare part is one ffmpeg that crops, scales and encodes the range with the same preset, quality, sound filters and number
of threads, and one that decodes its result and measures the sound (`ebur128=peak=true`). Ours is `render_clip` in a process
that is warm, as a worker's is: from the spec to the published clip, with its checks, its thumbnail and its digest. The source
is made here: 1080p30, moving and grainy. Wall and processor time; processor time is the steadier where others use the machine
too. Where `.venv/peers` has MoviePy, it makes the same clip of 10 s, without checks.
"""

import os
import resource
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bench import cut, record
from topclip import run_local
from topclip.media.binary import find_ffmpeg
from topclip.model.clip import ClipSpec, RenderedClip
from topclip.model.request import ClipOptions, ClipRequest, MediaPath
from topclip.model.source import SourceInfo
from topclip.pipeline.context import StageContext
from topclip.pipeline.plan import make_plan
from topclip.pipeline.render import render_clip
from topclip.run_analysis import analyse
from topclip.storage.local import LocalStore

START_S, LENGTH_S = 12.7, 30.0
KEY_S = 2
CORES = os.cpu_count() or 1
GOAL, GOAL_SIDE_BY_SIDE = 0.97, 1.05
ROUNDS = 5
SHORT_S = 10.0
"""Length of each of several clips, and of the one that MoviePy makes."""
GOAL_MOVIEPY, ROUNDS_MOVIEPY = 1.0, 2
MOVIEPY = """
import sys
from moviepy import VideoFileClip
source, out, start, end, threads = sys.argv[1:]
clip = VideoFileClip(source).subclipped(float(start), float(end)).cropped(x_center=960, width=606)
code = dict(codec="libx264", preset="veryfast", audio_codec="aac", audio_bitrate="160k", ffmpeg_params=["-crf", "22"])
clip.write_videofile(out, threads=int(threads), logger=None, **code)
"""


def measure() -> None:
    """Run the bench."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="bench-render-") as folder:
        source = cut.make_source(Path(folder), KEY_S)
        figures: dict[str, object] = {"goal": GOAL}
        for threads in dict.fromkeys((CORES, 1)):
            figures[f"throughput to the bare commands, {threads} threads"] = _against_bare(source, threads)
        figures["goal, side by side"] = GOAL_SIDE_BY_SIDE
        figures[f"{CORES} clips side by side to one by one"] = _side_by_side(source)
        if any(cut.PEERS.parent.glob("lib/python*/site-packages/moviepy")):
            figures["goal, MoviePy"] = GOAL_MOVIEPY
            figures["throughput to MoviePy's"] = _against_moviepy(source)
    figures["load before"], figures["machine was calm"] = round(load, 1), load <= cut.CALM_LOAD
    record.write("render", "make bench ARGS=render", figures)


def _against_bare(source: Path, threads: int) -> dict[str, object]:
    """Our throughput to that of the bare commands: above 1 we are quicker."""
    request, info, (spec,), ctx = _prepared(source, [[START_S, START_S + LENGTH_S]])
    ctx = replace(ctx, threads=threads)
    out = source.with_name("bare.mp4")

    def ours() -> cut.Cost:
        return _cost(lambda: _render(request, info, spec, ctx))

    def bare() -> cut.Cost:
        encode, decode = _bare_commands(source, spec, out, threads)
        a, b = cut.run(encode), cut.run(decode)
        return cut.Cost(a.wall + b.wall, a.cpu + b.cpu)

    pairs = _pairs(ours, bare)
    return {
        "wall": record.spread([b.wall / a.wall for a, b in pairs]),
        "processor": record.spread([b.cpu / a.cpu for a, b in pairs]),
        "seconds, ours": record.spread([a.wall for a, _ in pairs]),
    }


def _side_by_side(source: Path) -> dict[str, object]:
    """Throughput of as many clips as there are cores, made at once, to that of one after the other with all cores each."""
    ranges = [[START_S + SHORT_S * n % 30, START_S + SHORT_S * n % 30 + SHORT_S] for n in range(CORES)]
    request, info, specs, ctx = _prepared(source, ranges)

    def at_once() -> cut.Cost:
        return _cost(lambda: run_local.render(request, info, specs, _anew(ctx)))

    def in_turn() -> cut.Cost:
        return _cost(lambda: [_render(request, info, spec, ctx) for spec in specs])

    pairs = _pairs(at_once, in_turn)
    return {
        "wall": record.spread([b.wall / a.wall for a, b in pairs]),
        "processor": record.spread([b.cpu / a.cpu for a, b in pairs]),
    }


def _against_moviepy(source: Path) -> dict[str, object]:
    """Our throughput to that of a process of MoviePy's, which has to start first, with all cores each."""
    request, info, (spec,), ctx = _prepared(source, [[START_S, START_S + SHORT_S]])
    out = str(source.with_name("moviepy.mp4"))
    span = [str(START_S), str(START_S + SHORT_S)]
    theirs = [str(cut.PEERS / "python"), "-c", MOVIEPY, str(source), out, *span, str(CORES)]
    pairs = _pairs(lambda: _cost(lambda: _render(request, info, spec, ctx)), lambda: cut.run(theirs), ROUNDS_MOVIEPY)
    return {
        "wall": record.spread([b.wall / a.wall for a, b in pairs]),
        "processor": record.spread([b.cpu / a.cpu for a, b in pairs]),
    }


def _prepared(
    source: Path, ranges: list[list[float]]
) -> tuple[ClipRequest, SourceInfo, tuple[ClipSpec, ...], StageContext]:
    """An analysed source and the specs of vertical clips."""
    options = ClipOptions.model_validate({"mode": "ranges", "ranges": ranges, "aspect": "9:16"})
    request = ClipRequest(source=MediaPath(path=str(source), name=source.name), options=options)
    store = LocalStore(source.with_suffix(".store"))
    ctx = StageContext(str(uuid.uuid4()), store, find_ffmpeg(""), 3600.0, 1 << 24, threads=CORES)
    info = analyse(request, ctx)
    return request, info, make_plan(request, info, ctx).specs, ctx


def _anew(ctx: StageContext) -> StageContext:
    """The context of another job, which finds none of its clips made."""
    return replace(ctx, job_id=str(uuid.uuid4()))


def _render(request: ClipRequest, info: SourceInfo, spec: ClipSpec, ctx: StageContext) -> None:
    made = render_clip(request, info, spec, _anew(ctx))
    assert isinstance(made, RenderedClip), made


def _bare_commands(source: Path, spec: ClipSpec, out: Path, threads: int) -> tuple[list[str], list[str]]:
    gain_db = spec.loudness - (spec.source_loudness or spec.loudness)
    n = ["-threads", str(threads), "-filter_threads", str(threads)]
    picture = ["-vf", "crop=606:1080,scale=606:1080:flags=bicubic,setsar=1,format=yuv420p"]
    sound = ["-af", f"volume={gain_db:.2f}dB,alimiter=limit=0.84:level=0"]
    code = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "22", "-profile:v", "high", "-c:a", "aac", "-b:a", "160k"]
    seek = ["-ss", str(START_S), "-i", str(source), "-t", str(LENGTH_S)]
    ffmpeg = [find_ffmpeg(""), *cut.QUIET]
    encode = [*ffmpeg, *seek, *picture, *sound, *code, *n, "-movflags", "+faststart", str(out)]
    return encode, [*ffmpeg, *n[:2], "-i", str(out), "-af", "ebur128=peak=true", "-f", "null", "-"]


def _cost(work: Callable[[], object]) -> cut.Cost:
    """What work in this process costs, with all that it starts."""
    before, started = _processor_s(), time.perf_counter()
    work()
    return cut.Cost(time.perf_counter() - started, _processor_s() - before)


def _processor_s() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)


def _pairs(
    a: Callable[[], cut.Cost], b: Callable[[], cut.Cost], rounds: int = ROUNDS
) -> list[tuple[cut.Cost, cut.Cost]]:
    """A B A B, after one round that does not count."""
    a(), b()
    return [(a(), b()) for _ in range(rounds)]
