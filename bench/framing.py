"""How well a 9:16 crop keeps its subject, and how calmly, on footage whose subjects' places are known.

The share of frames that show the whole subject, against a crop that stands in the middle, on seeds that nothing was chosen
on; jitter is the mean second difference of the crop's middle, in points of the source, jumps left out. What looking for the
subject costs is its processor time beside that of rendering the same clip, scaled to 1080p.
"""

import resource
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import numpy as np

from bench import record
from bench.walkers import RATE, SCENES, WIDTH, Place, Scene, make
from topclip import run_local
from topclip.media.binary import find_ffmpeg
from topclip.model.clip import Plan
from topclip.model.framing import Framing, Keyframe
from topclip.model.geometry import plan_geometry
from topclip.model.request import Aspect, ClipOptions, ClipRequest, Fit, MediaPath
from topclip.pipeline.context import StageContext
from topclip.pipeline.plan import frame_plan, make_plan
from topclip.pipeline.reframe import look_for_subject
from topclip.pipeline.render import render_clip
from topclip.run_analysis import analyse
from topclip.storage.local import LocalStore

SEEDS = (101, 102, 103)
SLACK = 0.02
"""A subject is shown whole if no more than this share of its width is cut off."""
COST_SCENE, COST_HEIGHT, COST_ROUNDS = "a face that walks", 1080, 3


def measure() -> None:
    """Run the bench."""
    figures: dict[str, object] = {}
    with tempfile.TemporaryDirectory(prefix="bench-framing-") as folder:
        for scene in SCENES:
            found = [one(scene, seed, Path(folder)) for seed in SEEDS]
            figures[scene.name] = {
                "methods": sorted({str(f["method"]) for f in found}),
                **{
                    name: record.spread([float(f[name]) for f in found])  # type: ignore[arg-type]
                    for name in ("subject in frame", "middle crop", "jitter px", "jumps")
                    if name in found[0]
                },
            }
            print(scene.name, figures[scene.name], flush=True)
        figures["processor time of looking / of rendering"] = record.spread(cost(Path(folder)))
    record.write("framing", "make bench ARGS=framing", figures)


def one(scene: Scene, seed: int, folder: Path) -> dict[str, float | str]:
    """What comes of one scene made from one seed."""
    path = folder / f"{seed}.mp4"
    make(scene, path, seed)
    framing, window = framed(path, folder, scene.length_s)
    truth = scene.truth()
    if framing.method == "blur" or not truth[0]:
        return {"method": framing.method} | ({"subject in frame": 1.0} if truth[0] else {})
    way = [place_at(framing.keyframes, n / RATE) for n in range(len(truth))]
    steps = np.abs(np.diff(np.array(way) * WIDTH, n=2))
    cuts = {round(k.time_s * RATE) for k in framing.keyframes if k.cut}
    calm = [step for n, step in enumerate(steps) if not cuts & {n + 1, n + 2}]
    return {
        "method": framing.method,
        "subject in frame": shown(truth, way, window),
        "middle crop": shown(truth, [0.5] * len(truth), window),
        "jitter px": float(np.mean(calm)),
        "jumps": len(cuts),
    }


def framed(path: Path, folder: Path, length_s: float) -> tuple[Framing, float]:
    """The framing of a whole file as 9:16, and the share of its width that is shown."""
    request, ctx = _request(path, length_s), _context(folder)
    info = analyse(request, ctx)
    plan = Plan.model_validate_json(ctx.store.get_bytes(run_local.make_whole_plan(request, info, ctx).plan_key))
    framing = plan.highlights[0].framing
    assert framing is not None
    return framing, plan_geometry(info.video, Aspect.VERTICAL, Fit.CROP).crop.width / info.video.display_width


def _request(path: Path, length_s: float) -> ClipRequest:
    options = {"mode": "ranges", "ranges": [[0.0, length_s]], "aspect": "9:16"}
    return ClipRequest(source=MediaPath(path=str(path), name=path.name), options=ClipOptions.model_validate(options))


def _context(folder: Path) -> StageContext:
    return StageContext(str(uuid4()), LocalStore(folder / str(uuid4())), find_ffmpeg(""), 1e5, 10**9, threads=1)


def place_at(keyframes: Sequence[Keyframe], time_s: float) -> float:
    """Where the middle of the crop is."""
    before = [k for k in keyframes if k.time_s <= time_s + 1e-5]
    if not before:
        return keyframes[0].x
    a = before[-1]
    b = keyframes[len(before)] if len(before) < len(keyframes) else a
    if b.cut or b is a:
        return a.x
    return a.x + (b.x - a.x) * (time_s - a.time_s) / (b.time_s - a.time_s)


def shown(truth: Sequence[Sequence[Place]], way: Sequence[float], window: float) -> float:
    """Share of the frames that show a subject whole: the first one, or another that they hold on to."""
    whole = [
        any(abs(place.x - at) + place.width * (1 - SLACK) / 2 <= window / 2 for place in places)
        for places, at in zip(truth, way, strict=True)
    ]
    return sum(whole) / len(whole)


def cost(folder: Path) -> list[float]:
    """Processor time of looking for a subject against that of rendering the same clip."""
    scene = next(scene for scene in SCENES if scene.name == COST_SCENE)
    small, path = folder / "small.mp4", folder / "large.mp4"
    make(scene, small)
    scaled = ["-i", str(small), "-vf", f"scale=-2:{COST_HEIGHT},noise=alls=3:allf=t", "-c:v", "libx264", "-crf", "20"]
    subprocess.run([find_ffmpeg(""), "-v", "error", *scaled, "-preset", "veryfast", str(path)], check=True)
    request, ratios = _request(path, scene.length_s), []
    for _ in range(COST_ROUNDS + 1):
        ctx = _context(folder)
        info = analyse(request, ctx)
        chosen = make_plan(request, info, ctx)
        began = _cpu_s()
        seen = [look_for_subject(request, info, chosen.outlooks[0], ctx)]
        looked = _cpu_s()
        (spec,) = frame_plan(request, info, chosen, seen, ctx).specs
        begun = _cpu_s()
        render_clip(request, info, spec, ctx)
        ratios.append((looked - began) / (_cpu_s() - begun))
    return ratios[1:]


def _cpu_s() -> float:
    """Processor time of this process and of those that it ran: others on the machine change it little."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
