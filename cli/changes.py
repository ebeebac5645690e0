"""The commands that change an ended job, and the one that hands its plan to other programs."""

import json
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

import click

from cli.options import Seconds, named_options
from cli.remote import OUT, json_flag, to_the_end, with_server
from cli.server import Server
from topclip.errors import InvalidRequest, StorageError
from topclip.exports import KINDS
from topclip.model.base import JsonDict

R = TypeVar("R")
FILE = click.Path(dir_okay=False, path_type=Path)


class Follow(NamedTuple):
    """What is done once the job has begun again."""

    watch: bool
    out: Path | None
    as_json: bool


def followed(command: Callable[..., R]) -> Callable[..., R]:
    """Add the flags that follow a job; the command gets them as `follow`."""

    @click.option("--watch", is_flag=True, help="Follow the job until it ends.")
    @click.option("--out", type=OUT, help="Follow the job, then download its clips and manifest into this folder.")
    @json_flag
    @wraps(command)
    def with_flags(*args: Any, watch: bool, out: Path | None, as_json: bool, **kwargs: Any) -> R:
        return command(*args, follow=Follow(watch, out, as_json), **kwargs)

    return with_flags


@click.command()
@click.argument("job_id")
@with_server
@named_options
@followed
def replan(job_id: str, server: Server, *, asked: JsonDict, follow: Follow) -> int:
    """Plan the ended job JOB_ID again with the options that are given; the others stay.

    Nothing is decoded for it, and only clips that are new are made.
    """
    if not asked:
        raise click.UsageError("give the options that are to change, such as --count 3")
    return _begun(server, server.replan(job_id, asked), follow)


@click.command()
@click.argument("job_id")
@click.argument("n", type=click.IntRange(min=1))
@with_server
@click.option("--start", type=Seconds(), help="First moment of the clip; by default as it is.")
@click.option("--end", type=Seconds(), help="First moment after the clip; by default as it is.")
@click.option(
    "--framing",
    type=click.File("rb"),
    help="Cut it out of the picture along the keyframes in this JSON file, which has them as the plan does.",
)
@click.option("--reset", is_flag=True, help="Back to the range and the framing that were chosen.")
@followed
def recut(
    job_id: str,
    n: int,
    server: Server,
    *,
    start: float | None,
    end: float | None,
    framing: IO[bytes] | None,
    reset: bool,
    follow: Follow,
) -> int:
    """Give clip N of the ended job JOB_ID another range of the source, also a wider one, or another framing, or both.

    The other clips stay.
    """
    given = {"start_s": start, "end_s": end, "framing": None if framing is None else _framing(framing)}
    asked = given if reset else {name: value for name, value in given.items() if value is not None}
    if not asked or (reset and any(value is not None for value in given.values())):
        raise click.UsageError("give --start, --end or --framing, or else --reset")
    return _begun(server, server.recut(job_id, n, asked), follow)


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


def _framing(file: IO[bytes]) -> JsonDict:
    """A file's keyframes: in an object, as the plan has them, or alone. Raises: InvalidRequest."""
    try:
        found = json.load(file)
    except ValueError as err:
        raise InvalidRequest(f"{file.name} is not JSON: {err}", {"field": "framing"}) from err
    keyframes = found.get("keyframes") if isinstance(found, dict) else found
    if not isinstance(keyframes, list):
        hint = "a clip's `framing` in the plan shows how they look"
        raise InvalidRequest(f"{file.name} has no list of keyframes", {"field": "framing", "hint": hint})
    return {"keyframes": keyframes}


def _begun(server: Server, document: JsonDict, follow: Follow) -> int:
    """Tell of a job that was started again, or follow it; the exit code."""
    if follow.watch or follow.out:
        return to_the_end(server, document["id"], follow.out, as_json=follow.as_json)
    click.echo(json.dumps(document) if follow.as_json else str(document.get("state", "")).lower())
    return 0
