"""The commands that need no server: shots, plan, cut and clip, in this process."""

import contextlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from cli.options import Seconds, attached_options, clip_options
from cli.targets import FileOrUrl, LocalFile, refuse_source
from topclip import run_local
from topclip.config import Settings
from topclip.errors import StorageError
from topclip.exports import KINDS, cut_list
from topclip.first_plan import first_plan
from topclip.media.binary import find_ffmpeg
from topclip.media.limits import cap_memory, memory_limit
from topclip.model.analysis import Analysis, Cut
from topclip.model.base import JsonDict
from topclip.model.clip import Plan
from topclip.model.job import Stage
from topclip.model.manifest import Manifest
from topclip.model.request import ClipOptions, ClipRequest, MediaPath
from topclip.outbound.http import Outbound
from topclip.pipeline.context import StageContext
from topclip.pipeline.cut import cut_range
from topclip.pipeline.fetch import FetchLimits
from topclip.pipeline.remote_cut import RemoteCut, cut_url
from topclip.pipeline.whole import load_analysis
from topclip.storage.base import drawing_key, job_folder
from topclip.storage.local import LocalStore

PARTIAL = 3
PLAN, MANIFEST = "plan.json", "manifest.json"
SOURCE = LocalFile(exists=True, dir_okay=False, path_type=Path)
BESIDE = click.Path(exists=True, dir_okay=False, path_type=Path)

json_flag = click.option("--json", "as_json", is_flag=True, help="Print the document as JSON.")


@click.command()
@click.argument("file", type=SOURCE)
@json_flag
def shots(file: Path, *, as_json: bool) -> int:
    """Find the shot boundaries of FILE: the first frame of each new shot."""
    with _workplace() as ctx, _progress() as on_progress:
        info = run_local.analyse(_request(file, ClipOptions()), ctx, on_progress, has_sound=False)
        analysis = load_analysis(info, ctx)
    document = {"fps": info.video.fps, "cuts": [cut.to_dict() for cut in _cuts(analysis)]}
    _print(document, _describe_shots, as_json=as_json)
    return 0


def _cuts(analysis: Analysis) -> Iterator[Cut]:
    for shot in analysis.shots[1:]:
        yield Cut(frame=shot.start_frame, time_s=shot.start_s)


@click.command()
@click.argument("file", type=SOURCE)
@clip_options
@attached_options(BESIDE)
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw the plan into this SVG file too.")
@click.option("--first", "is_first", is_flag=True, help="By a first look: in seconds, though some may be missed.")
@click.option(
    "--export",
    "exports",
    type=click.Path(dir_okay=False, path_type=Path),
    multiple=True,
    help=f"Write it for another program, by the file's suffix: {', '.join(KINDS)}; may be repeated.",
)
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the analysis in this folder: the same file is planned again in a moment. By default nothing is kept.",
)
@json_flag
def plan(
    file: Path,
    options: ClipOptions,
    *,
    attached: dict[str, Path],
    plot: Path | None,
    is_first: bool,
    exports: tuple[Path, ...],
    cache: Path | None,
    as_json: bool,
) -> int:
    """Show the highlights of FILE, and why they are."""
    if is_first and (plot or exports):
        raise click.UsageError("--plot and --export are of the full plan: leave out --first")
    for flag, path in [("--plot", plot), *(("--export", path) for path in exports)]:
        if path and not path.absolute().parent.is_dir():
            raise click.BadParameter(f"no folder {path.absolute().parent}", param_hint=flag)
        if path and flag == "--export" and path.suffix[1:] not in KINDS:
            raise click.BadParameter(f"{path.name} ends as none of: .{', .'.join(KINDS)}", param_hint=flag)
        refuse_source(file, *([path] if path else []))
    request = _request(file, options, attached)
    with _workplace(cache=cache) as ctx, _progress() as on_progress:
        if is_first:
            found = first_plan(request, ctx, on_progress)
            _print(found.to_dict(), _describe_plan, as_json=as_json)
            return 0
        info = run_local.analyse(request, ctx, on_progress)
        key = run_local.make_whole_plan(request, info, ctx, on_progress).plan_key
        content = ctx.store.get_bytes(key)
        if plot:
            _write(plot, ctx.store.get_bytes(drawing_key(key)))
        cuts = cut_list(Plan.model_validate_json(content), info, file.absolute().as_uri())
        for path in exports:
            _write(path, KINDS[path.suffix[1:]].write(cuts).encode())
    _print(json.loads(content), _describe_plan, as_json=as_json)
    return 0


@click.command()
@click.argument("file", type=FileOrUrl(exists=True, dir_okay=False, path_type=Path))
@click.option("--start", type=Seconds(), required=True, help="First moment of the clip.")
@click.option("--end", type=Seconds(), required=True, help="First moment after the clip.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The mp4 to be made.")
@json_flag
def cut(file: Path | str, start: float, end: float, out: Path, *, as_json: bool) -> int:
    """Cut the frames of FILE from --start to before --end into an mp4, exact to the frame.

    What needs no encoding is copied. FILE may be an http(s) URL: no more of it is read than the range takes.
    """
    if not out.absolute().parent.is_dir():
        raise click.BadParameter(f"no folder {out.absolute().parent}", param_hint="--out")
    refuse_source(file if isinstance(file, Path) else None, out)
    read: JsonDict = {}
    with _workplace() as ctx, _progress() as on_progress:
        reporting = replace(ctx, report=_report_as(Stage.RENDER, on_progress))
        if isinstance(file, Path):
            made = cut_range(file, start, end, out, reporting)
        else:
            remote = _cut_url(file, start, end, out, reporting)
            made, read = remote.made, {"read_bytes": remote.read_bytes, "source_bytes": remote.source_bytes}
            if remote.note is not None:
                click.echo(f"all of the source was read: {remote.note}", err=True)
    if made.note is not None:
        click.echo(f"all of it was encoded: {made.note}", err=True)
    document = {"method": made.method, "frames": made.frames, "copied": made.copied, **read}
    _print(document, lambda d: _describe_cut(d, out), as_json=as_json)
    return 0


def _cut_url(url: str, start: float, end: float, out: Path, ctx: StageContext) -> RemoteCut:
    settings = Settings.from_env()
    outbound = Outbound(settings.private_networks)
    outbound.check(url, "source")
    limits = FetchLimits(settings.max_upload_mb << 20, min_free_bytes=settings.min_free_mb << 20)
    return cut_url(url, start, end, out, ctx, outbound=outbound, limits=limits)


def _describe_cut(document: JsonDict, out: Path) -> str:
    made = f"{out}: {document['frames']} frames, {document['copied']} of them copied"
    if "read_bytes" not in document:
        return made
    read_mb, source_mb = document["read_bytes"] / 1e6, document["source_bytes"] / 1e6
    return f"{made}; {read_mb:.1f} of {source_mb:.1f} MB of the source were read"


@click.command()
@click.argument("file", type=SOURCE)
@clip_options
@attached_options(BESIDE)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for the clips.")
@json_flag
def clip(file: Path, options: ClipOptions, out: Path, *, attached: dict[str, Path], as_json: bool) -> int:
    """Make the clips of FILE into a folder: clips, plan.json and, written last, manifest.json."""
    refuse_source(file, out / PLAN, out / MANIFEST)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise StorageError(f"cannot write into {out}: {err.strerror or err}", {"field": "out"}) from err
    with _workplace(out) as ctx, _progress() as on_progress:
        result = run_local.run(_request(file, options, attached), ctx, on_progress)
        manifest = _deliver(ctx, result, file, out)
    _print(manifest.to_dict(), lambda d: _describe_manifest(d, out), as_json=as_json)
    return PARTIAL if manifest.failed else 0


def _deliver(ctx: StageContext, result: run_local.LocalResult, source: Path, out: Path) -> Manifest:
    """Move what a run made from the store into the user's folder, which is on the same disk; the manifest comes last."""
    manifest = result.manifest.model_copy(update={"plan": PLAN})
    names = [name for made in manifest.clips for name in made.files]
    refuse_source(source, *(out / name for name in names))
    for name in names:
        target = out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with ctx.store.local_path(f"{job_folder(ctx.job_id)}/{name}") as path:
            path.replace(target)
    _write(out / PLAN, ctx.store.get_bytes(result.plan_key))
    _write(out / MANIFEST, manifest.model_dump_json(indent=1).encode() + b"\n")
    return manifest


def _write(path: Path, content: bytes) -> None:
    scratch = path.with_name(f".{path.name}-{os.getpid()}")
    scratch.write_bytes(content)
    scratch.replace(path)


def _request(file: Path, options: ClipOptions, attached: dict[str, Path] | None = None) -> ClipRequest:
    beside = {name: _here(path) for name, path in (attached or {}).items()}
    return ClipRequest.model_validate({"source": _here(file), "options": options, **beside})


def _here(file: Path) -> MediaPath:
    return MediaPath(path=str(file.absolute()), name=file.name)


@contextlib.contextmanager
def _workplace(beside: Path | None = None, cache: Path | None = None) -> Iterator[StageContext]:
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
def _progress() -> Iterator[run_local.OnProgress]:
    """Bars on standard error, one for each stage, where somebody looks."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:8}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        known = {stage: bars.add_task(stage.value, total=1.0, visible=False) for stage in Stage}

        def on_progress(stage: Stage, done_s: float, total_s: float) -> None:
            bars.update(known[stage], completed=done_s, total=max(total_s, 1e-9), visible=True)

        yield on_progress


def _report_as(stage: Stage, on_progress: run_local.OnProgress) -> Callable[[float, float], None]:
    return lambda done_s, total_s: on_progress(stage, done_s, total_s)


def _print(document: JsonDict, describe: Callable[[JsonDict], str], *, as_json: bool) -> None:
    click.echo(json.dumps(document, ensure_ascii=False) if as_json else describe(document))


def _describe_shots(document: JsonDict) -> str:
    lines = [f"{cut['time_s']:10.3f} s  frame {cut['frame']}" for cut in document["cuts"]]
    return "\n".join([f"{len(lines)} cuts at {document['fps']} frames a second", *lines])


def _describe_plan(document: JsonDict) -> str:
    lines = [line for h in document["highlights"] for line in _highlight_lines(h)]
    lines += [f"  - {_span(m)}  score {m['score']:.3f}  {m['reason']}" for m in document["near_misses"]]
    return "\n".join(lines)


def _highlight_lines(highlight: JsonDict) -> Iterator[str]:
    yield f"{highlight['n']:3} {_span(highlight)}  score {highlight['score']:.3f}  {_parts(highlight)}"
    if framing := highlight["framing"]:
        yield f"    framed by {framing['method']}: {framing['reason']}"


def _parts(highlight: JsonDict) -> str:
    return ", ".join(f"{p['name']} {p['contribution']:.3f}" for p in highlight["signals"])


def _describe_manifest(document: JsonDict, out: Path) -> str:
    lines = [f"{out / c['file']}  {_span(c)}  {c['width']}x{c['height']}" for c in document["clips"]]
    lines += [f"clip {c['n']}: {warning}" for c in document["clips"] for warning in c["warnings"]]
    lines += [f"clip {f['n']} failed: {f['message']}" for f in document["failed"]]
    return "\n".join([*lines, str(out / MANIFEST)])


def _span(item: JsonDict) -> str:
    return f"{item['start_s']:9.3f} - {item['end_s']:9.3f} s"
