"""The commands that change an ended job, and the one that hands its plan to other programs."""

import json
from pathlib import Path

import click

from cli.options import Seconds, named_options
from cli.remote import OUT, json_flag, to_the_end, with_server
from cli.server import Server
from topclip.errors import StorageError
from topclip.exports import KINDS
from topclip.model.base import JsonDict

FILE = click.Path(dir_okay=False, path_type=Path)
watch_flag = click.option("--watch", is_flag=True, help="Follow the job until it ends.")
out_flag = click.option(
    "--out", type=OUT, help="Follow the job, then download its clips and manifest into this folder."
)


@click.command()
@click.argument("job_id")
@with_server
@named_options
@watch_flag
@out_flag
@json_flag
def replan(job_id: str, server: Server, *, asked: JsonDict, watch: bool, out: Path | None, as_json: bool) -> int:
    """Plan the ended job JOB_ID again with the options that are given; the others stay.

    Nothing is decoded for it, and only clips that are new are made.
    """
    if not asked:
        raise click.UsageError("give the options that are to change, such as --count 3")
    return _begun(server, server.replan(job_id, asked), watch=watch, out=out, as_json=as_json)


@click.command()
@click.argument("job_id")
@click.argument("n", type=click.IntRange(min=1))
@with_server
@click.option("--start", type=Seconds(), help="First moment of the clip; by default as it is.")
@click.option("--end", type=Seconds(), help="First moment after the clip; by default as it is.")
@watch_flag
@out_flag
@json_flag
def recut(
    job_id: str,
    n: int,
    server: Server,
    *,
    start: float | None,
    end: float | None,
    watch: bool,
    out: Path | None,
    as_json: bool,
) -> int:
    """Give clip N of the ended job JOB_ID another range of the source, also a wider one. The other clips stay."""
    asked = {name: value for name, value in (("start_s", start), ("end_s", end)) if value is not None}
    if not asked:
        raise click.UsageError("give --start or --end, or both")
    return _begun(server, server.recut(job_id, n, asked), watch=watch, out=out, as_json=as_json)


@click.command()
@click.argument("job_id")
@with_server
@click.option("--format", "kind", type=click.Choice(list(KINDS)), required=True, help="Which program it is for.")
@click.option("--out", type=FILE, help="Write into this file; by default to standard output.")
def export(job_id: str, server: Server, *, kind: str, out: Path | None) -> None:
    """Write the plan of the job JOB_ID as an editing program, a spreadsheet or a player reads it."""
    content = server.export(job_id, kind)
    if out is None:
        click.echo(content, nl=False)
        return
    try:
        out.write_bytes(content)
    except OSError as err:
        raise StorageError(f"cannot write {out}: {err.strerror or err}", {"field": "out"}) from err


def _begun(server: Server, document: JsonDict, *, watch: bool, out: Path | None, as_json: bool) -> int:
    """Tell of a job that was started again, or follow it; the exit code."""
    if watch or out:
        return to_the_end(server, document["id"], out, as_json=as_json)
    click.echo(json.dumps(document) if as_json else str(document.get("state", "")).lower())
    return 0
