"""Stages that sleep, for the simulated workers of `bench/fleet_node.py`: the tasks around them are the real ones."""

import importlib
import threading
import time
from typing import Any

from topclip.model.analysis import Chunk, ChunkResult
from topclip.model.clip import ClipSpec, RenderedClip
from topclip.model.manifest import Manifest
from topclip.model.request import Aspect, ClipRequest, Fit, Quality
from topclip.model.source import SourceInfo, VideoStream
from topclip.pipeline.context import StageContext
from topclip.pipeline.finalise import FinalResult
from topclip.pipeline.plan import PlanResult
from workers import runtime
from workers.base import ClipTask

N_CHUNKS, N_CLIPS = 200, 10
CHUNK_S, CLIP_S = 60.0, 30.0
STEP_S = 0.3
"""Between two words of a stage that sleeps; what becomes of them is the pulse's to decide."""
CONTROL_WORKERS = 2
"""Of each process: they take from the queue `control` alone, and work whoever else is awake."""

INFO = SourceInfo(
    sha256="0" * 64,
    size_bytes=1 << 30,
    container="mov,mp4",
    duration_s=N_CHUNKS * CHUNK_S,
    video=VideoStream(
        index=0, codec="h264", width=1920, height=1080, display_width=1920, display_height=1080, fps="30/1",
        time_base="1/15360", start_pts=0, pixel_format="yuv420p",
    ),
    audio=None,
    n_streams=1,
)  # fmt: skip


class Node:
    """What the process was told, and what it has done."""

    def __init__(self) -> None:
        self.task_s, self.awake = 0.0, 0
        self.tasks = 0
        self._of_thread = threading.local()

    def sleep(self, ctx: StageContext) -> None:
        """Do what a part does to Redis while it works."""
        began = time.monotonic()
        while (done := time.monotonic() - began) < self.task_s:
            ctx.report(done, self.task_s)
            time.sleep(min(STEP_S, self.task_s))
        ctx.report(self.task_s, self.task_s)

    def pulse_of_thread(self) -> property:
        """In place of the attribute of a task, which its process alone has in a real worker."""
        mine = self._of_thread
        return property(lambda _: mine.pulse, lambda _, pulse: setattr(mine, "pulse", pulse))


NODE = Node()


def analyse_chunk(request: ClipRequest, info: SourceInfo, chunk: Chunk, ctx: StageContext) -> ChunkResult:
    """Sleep."""
    NODE.sleep(ctx)
    return ChunkResult(index=chunk.index, key=f"analysis/{info.sha256}/v/chunk-{chunk.index:04}.npz", n_frames=1800)


def make_plan(request: ClipRequest, info: SourceInfo, ctx: StageContext) -> PlanResult:
    """Clips at equal distances."""
    specs = tuple(
        ClipSpec(
            n=n, start_s=n * CHUNK_S, end_s=n * CHUNK_S + CLIP_S, start_pts=0, end_pts=1, frames=900,
            aspect=Aspect.SOURCE, fit=Fit.CROP, quality=Quality.STANDARD, loudness=-14.0, source_loudness=-20.0,
        )
        for n in range(1, N_CLIPS + 1)
    )  # fmt: skip
    return PlanResult(plan_key=f"jobs/{ctx.job_id}/plan-{'0' * 16}.json", specs=specs)


def render_clip(request: ClipRequest, info: SourceInfo, spec: ClipSpec, ctx: StageContext) -> RenderedClip:
    """Sleep."""
    NODE.sleep(ctx)
    key = f"jobs/{ctx.job_id}/clips/{spec.n}-{'0' * 16}"
    return RenderedClip(
        n=spec.n, start_s=spec.start_s, end_s=spec.end_s, key=f"{key}.mp4", thumbnail_key=f"{key}.jpg", frames=900,
        width=1920, height=1080, duration_s=CLIP_S, size_bytes=1 << 23, sha256="0" * 64, checks=(),
    )  # fmt: skip


def write_manifest(request: ClipRequest, info: SourceInfo, plan_key: str, *_: Any) -> FinalResult:
    """An empty one, written nowhere."""
    return FinalResult(f"{plan_key}.manifest", Manifest(version="1", source={}, options={}, plan="", clips=()))


def replace_stages() -> None:
    """Put what sleeps in the place of the stages; the tasks around them stay as they are."""
    fakes: dict[str, dict[str, Any]] = {
        "probe": {
            "probe_source": lambda *_: INFO,
            "transcribe": lambda *_: None,
            "take_audience": lambda *_: None,
            "is_analysed": lambda *_: False,
        },
        "analyse": {"analyse_chunk": analyse_chunk},
        "select": {"make_plan": make_plan},
        "render": {"render_clip": render_clip},
        "finalise": {"write_manifest": write_manifest},
    }
    for name, stages in fakes.items():
        module = importlib.import_module(f"workers.tasks.{name}")
        for stage, fake in stages.items():
            assert hasattr(module, stage), f"workers.tasks.{name} has no {stage}"
            setattr(module, stage, fake)
    runtime.info_of = lambda _: INFO
    type.__setattr__(ClipTask, "pulse", NODE.pulse_of_thread())
