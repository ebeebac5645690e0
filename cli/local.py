"""`topclip plan` and `topclip clip`: the whole flow, in this process."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import click

from cli.options import attached_options, clip_options
from cli.targets import refuse_source
from cli.workplace import SOURCE, json_flag, local_request, print_document, progress, workplace
from topclip import run_local
from topclip.errors import StorageError
from topclip.exports import KINDS, cut_list
from topclip.first_plan import first_plan
from topclip.model.base import JsonDict
from topclip.model.clip import Plan
from topclip.model.manifest import Manifest
from topclip.model.request import ClipOptions
from topclip.pipeline.context import StageContext
from topclip.pipeline.plan import plan_document
from topclip.pipeline.plot import draw_plan
from topclip.run_analysis import analyse
from topclip.storage.base import drawing_key, job_folder

PARTIAL = 3
PLAN, MANIFEST = "plan.json", "manifest.json"
BESIDE = click.Path(exists=True, dir_okay=False, path_type=Path)


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
    for flag, path in [("--plot", plot), *(("--export", path) for path in exports)]:
        if path and not path.absolute().parent.is_dir():
            raise click.BadParameter(f"no folder {path.absolute().parent}", param_hint=flag)
        if path and flag == "--export" and path.suffix[1:] not in KINDS:
            raise click.BadParameter(f"{path.name} ends as none of: .{', .'.join(KINDS)}", param_hint=flag)
        refuse_source(file, *([path] if path else []))
    request = local_request(file, options, attached)
    with workplace(cache=cache) as ctx, progress() as on_progress:
        if is_first:
            made, info, analysis = first_plan(request, ctx, on_progress)
            content, drawing = plan_document(made), draw_plan(made, analysis).encode()
        else:
            info = analyse(request, ctx, on_progress)
            key = run_local.make_whole_plan(request, info, ctx, on_progress).plan_key
            content, drawing = ctx.store.get_bytes(key), ctx.store.get_bytes(drawing_key(key))
        if plot:
            _write(plot, drawing)
        cuts = cut_list(Plan.model_validate_json(content), info, file.absolute().as_uri())
        for path in exports:
            _write(path, KINDS[path.suffix[1:]].write(cuts).encode())
    print_document(json.loads(content), _describe_plan, as_json=as_json)
    return 0


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
    with workplace(out) as ctx, progress() as on_progress:
        result = run_local.run(local_request(file, options, attached), ctx, on_progress)
        manifest = _deliver(ctx, result, file, out)
    print_document(manifest.to_dict(), lambda d: _describe_manifest(d, out), as_json=as_json)
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
