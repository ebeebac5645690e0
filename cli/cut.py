"""`topclip cut`: one frame-exact clip out of a file or a URL, in this process."""

from dataclasses import replace
from pathlib import Path

import click

from cli.options import Seconds
from cli.targets import FileOrUrl, refuse_source
from cli.workplace import json_flag, print_document, progress, report_as, workplace
from topclip.model.base import JsonDict
from topclip.model.job import Stage
from topclip.pipeline.cut import cut_range

MP4 = (".mp4", ".m4v")


@click.command()
@click.argument("file", type=FileOrUrl(exists=True, dir_okay=False, path_type=Path))
@click.option("--start", type=Seconds(), required=True, help="First moment of the clip.")
@click.option("--end", type=Seconds(), required=True, help="First moment after the clip.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The mp4 to be made.")
@click.option(
    "--decode-all",
    "is_all_decoded",
    is_flag=True,
    help="Decode what was copied too, as jobs do: where FILE is damaged, all is encoded. Takes up to twice as long.",
)
@json_flag
def cut(file: Path | str, start: float, end: float, out: Path, *, is_all_decoded: bool, as_json: bool) -> int:
    """Cut the frames of FILE from --start to before --end into an mp4, exact to the frame.

    What needs no encoding is copied. FILE may be an http(s) URL: no more of it is read than the range takes.
    """
    if not out.absolute().parent.is_dir():
        raise click.BadParameter(f"no folder {out.absolute().parent}", param_hint="--out")
    if out.suffix.lower() not in ("", *MP4):
        raise click.BadParameter(f"{out.name}: what is made is an mp4, and to be named so", param_hint="--out")
    refuse_source(file if isinstance(file, Path) else None, out)
    read: JsonDict = {}
    with workplace() as ctx, progress() as on_progress:
        reporting = replace(ctx, report=report_as(Stage.RENDER, on_progress))
        if isinstance(file, Path):
            made = cut_range(file, start, end, out, reporting, is_all_decoded=is_all_decoded)
        else:
            from cli.cut_url import cut_from_url  # noqa: PLC0415 - loads the HTTP client, which a file has no need of

            remote = cut_from_url(file, start, end, out, reporting, is_all_decoded=is_all_decoded)
            made, read = remote.made, {"read_bytes": remote.read_bytes, "source_bytes": remote.source_bytes}
            if remote.note is not None:
                click.echo(f"all of the source was read: {remote.note}", err=True)
    if made.note is not None:
        click.echo(f"all of it was encoded: {made.note}", err=True)
    if made.moved is not None:
        click.echo(made.moved, err=True)
    start_s, end_s = made.range_s
    counts = {"method": made.method, "frames": made.frames, "copied": made.copied}
    document = {**counts, "start_s": start_s, "end_s": end_s, **read}
    print_document(document, lambda d: _describe_cut(d, out), as_json=as_json)
    return 0


def _describe_cut(document: JsonDict, out: Path) -> str:
    made = f"{out}: {document['frames']} frames, {document['copied']} of them copied"
    if "read_bytes" not in document:
        return made
    read_mb, source_mb = document["read_bytes"] / 1e6, document["source_bytes"] / 1e6
    return f"{made}; {read_mb:.1f} of {source_mb:.1f} MB of the source were read"
