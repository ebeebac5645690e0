"""What the commands that need no server share: a store of their own, bars of progress, how a document is printed."""

import contextlib
import json
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from cli.targets import LocalFile
from topclip.config import Settings
from topclip.media.binary import find_ffmpeg
from topclip.media.limits import cap_memory, memory_limit
from topclip.model.base import JsonDict
from topclip.model.job import Stage
from topclip.model.request import ClipOptions, ClipRequest, MediaPath
from topclip.pipeline.context import StageContext
from topclip.storage.base import job_folder
from topclip.storage.local import LocalStore

OnProgress = Callable[[Stage, float, float], None]
SOURCE = LocalFile(exists=True, dir_okay=False, path_type=Path)

json_flag = click.option("--json", "as_json", is_flag=True, help="Print the document as JSON.")


def local_request(file: Path, options: ClipOptions, attached: dict[str, Path] | None = None) -> ClipRequest:
    """A request for a file of this machine. attached: files that come with it, by their fields."""
    beside = {name: _here(path) for name, path in (attached or {}).items()}
    return ClipRequest.model_validate({"source": _here(file), "options": options, **beside})


def _here(file: Path) -> MediaPath:
    return MediaPath(path=str(file.absolute()), name=file.name)


@contextlib.contextmanager
def workplace(beside: Path | None = None, cache: Path | None = None) -> Iterator[StageContext]:
    """A context with a store of its own that is gone afterwards; on the disk of a folder, where one is given.

    cache: a folder for the store, of which all stays but what belongs to this run alone.
    """
    settings = Settings.from_env()
    memory_bytes = memory_limit(settings.task_memory_mb)
    cap_memory(memory_bytes)
    job_id, folder = str(uuid.uuid4()), cache or Path(tempfile.mkdtemp(prefix=".topclip-", dir=beside))
    store = LocalStore(folder)
    try:
        yield StageContext(
            job_id=job_id,
            store=store,
            ffmpeg=find_ffmpeg(settings.ffmpeg),
            max_duration_s=settings.max_duration_s,
            max_pixels=settings.max_pixels,
            memory_bytes=memory_bytes,
            threads=settings.concurrency or len(os.sched_getaffinity(0)),
            fonts=settings.fonts,
            whisper_model=settings.whisper_model,
            whisper_download=settings.whisper_download,
        )
    finally:
        if cache:
            store.delete(job_folder(job_id))
        else:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def progress() -> Iterator[OnProgress]:
    """Bars on standard error, one for each stage, where somebody looks."""
    if not sys.stderr.isatty():  # what draws them takes longer to load than a cut may
        yield lambda *_: None
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (
        TextColumn("{task.description:8}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        known = {stage: bars.add_task(stage.value, total=1.0, visible=False) for stage in Stage}

        def on_progress(stage: Stage, done_s: float, total_s: float) -> None:
            bars.update(known[stage], completed=done_s, total=max(total_s, 1e-9), visible=True)

        yield on_progress


def report_as(stage: Stage, on_progress: OnProgress) -> Callable[[float, float], None]:
    """What a context reports to, for a stage that has one part."""
    return lambda done_s, total_s: on_progress(stage, done_s, total_s)


def print_document(document: JsonDict, describe: Callable[[JsonDict], str], *, as_json: bool) -> None:
    """To standard output: the document itself, or told in words."""
    click.echo(json.dumps(document, ensure_ascii=False) if as_json else describe(document))
